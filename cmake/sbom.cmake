# What the extension is made of, as CycloneDX: goes into the wheel's metadata, where PEP 770 looks for it.
file(STRINGS ${nghttp2_include}/nghttp2/nghttp2ver.h nghttp2_line REGEX "define NGHTTP2_VERSION \"")
string(REGEX MATCH "[0-9]+\\.[0-9]+\\.[0-9]+" nghttp2_version "${nghttp2_line}")
file(STRINGS ${protozero_include}/protozero/version.hpp protozero_line REGEX "define PROTOZERO_VERSION_STRING")
string(REGEX MATCH "[0-9]+\\.[0-9]+\\.[0-9]+" protozero_version "${protozero_line}")

set(sbom_components)
function(add_component name version license)
  string(
    CONCAT component
    "    {\"type\": \"library\", \"bom-ref\": \"${name}@${version}\", \"name\": \"${name}\", "
    "\"version\": \"${version}\", \"purl\": \"pkg:generic/${name}@${version}\", "
    "\"licenses\": [{\"expression\": \"${license}\"}]}"
  )
  list(APPEND sbom_components "${component}")
  set(sbom_components "${sbom_components}" PARENT_SCOPE)
endfunction()

add_component(boost "${Boost_VERSION}" "BSL-1.0")
add_component(nghttp2 "${nghttp2_version}" "MIT")
add_component(openssl "${OPENSSL_VERSION}" "Apache-2.0")
add_component(protozero "${protozero_version}" "BSD-2-Clause AND Apache-2.0")
add_component(pybind11 "${pybind11_VERSION}" "BSD-3-Clause")
add_component(simdjson "${simdjson_VERSION}" "Apache-2.0")
add_component(zlib "${ZLIB_VERSION_STRING}" "Zlib")
list(JOIN sbom_components ",\n" sbom_components)

configure_file(cmake/penstock.cdx.json.in penstock.cdx.json @ONLY)
if(SKBUILD)
  install(FILES ${CMAKE_CURRENT_BINARY_DIR}/penstock.cdx.json DESTINATION ${SKBUILD_METADATA_DIR}/sboms)
endif()
