# Compiler and linker flags of everything in this project: `penstock_flags`.
add_library(penstock_flags INTERFACE)

target_compile_options(
  penstock_flags
  INTERFACE -Wall -Wextra -Wshadow -Wnon-virtual-dtor $<$<BOOL:${PENSTOCK_WERROR}>:-Werror>
)

if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  # GCC 12 sees overlapping copies in `"text" + string` (its bug 105651).
  target_compile_options(penstock_flags INTERFACE -Wno-restrict)
endif()

if(PENSTOCK_SANITIZE STREQUAL "")
  target_compile_options(
    penstock_flags
    INTERFACE
      -fstack-protector-strong
      # Needs the optimiser. Undefined first, because some distributions predefine a lower level.
      $<$<NOT:$<CONFIG:Debug>>:-U_FORTIFY_SOURCE>
      $<$<NOT:$<CONFIG:Debug>>:-D_FORTIFY_SOURCE=3>
  )
  if(CMAKE_SYSTEM_NAME STREQUAL "Linux")
    target_link_options(penstock_flags INTERFACE -Wl,-z,relro,-z,now)
  endif()
elseif(PENSTOCK_SANITIZE STREQUAL "thread")
  target_compile_options(penstock_flags INTERFACE -fsanitize=thread -fno-omit-frame-pointer)
  target_link_options(penstock_flags INTERFACE -fsanitize=thread)
  # ThreadSanitizer does not understand the fences that Asio uses.
  target_compile_definitions(
    penstock_flags
    INTERFACE BOOST_ASIO_DISABLE_FENCED_BLOCK _GLIBCXX_ASSERTIONS
  )
elseif(PENSTOCK_SANITIZE STREQUAL "address")
  set(sanitizers -fsanitize=address,undefined -fno-sanitize-recover=all)
  target_compile_options(penstock_flags INTERFACE ${sanitizers} -fno-omit-frame-pointer)
  target_link_options(penstock_flags INTERFACE ${sanitizers})
  target_compile_definitions(penstock_flags INTERFACE _GLIBCXX_ASSERTIONS)
else()
  message(FATAL_ERROR "PENSTOCK_SANITIZE is '${PENSTOCK_SANITIZE}'; it may be empty, thread or address")
endif()
