#include <penstock/tensor.hpp>

#include <algorithm>
#include <array>

namespace penstock {
namespace {

struct TypeFacts {
  std::string_view name;
  std::size_t size;
};

/// In the order of DataType.
constexpr std::array<TypeFacts, 14> kTypes{{
    {"BOOL", 1},
    {"UINT8", 1},
    {"UINT16", 2},
    {"UINT32", 4},
    {"UINT64", 8},
    {"INT8", 1},
    {"INT16", 2},
    {"INT32", 4},
    {"INT64", 8},
    {"FP16", 2},
    {"FP32", 4},
    {"FP64", 8},
    {"BF16", 2},
    {"BYTES", 0},
}};

}  // namespace

std::string_view name_of(DataType type) noexcept { return kTypes[static_cast<std::size_t>(type)].name; }

std::optional<DataType> data_type_from(std::string_view name) noexcept {
  const auto* found =
      std::find_if(kTypes.begin(), kTypes.end(), [name](const TypeFacts& facts) { return facts.name == name; });
  if (found == kTypes.end()) return std::nullopt;
  return static_cast<DataType>(found - kTypes.begin());
}

std::size_t size_of(DataType type) noexcept { return kTypes[static_cast<std::size_t>(type)].size; }

}  // namespace penstock
