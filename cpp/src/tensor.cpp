#include <penstock/tensor.hpp>

#include <algorithm>
#include <array>
#include <limits>

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

std::optional<std::size_t> element_count(const std::vector<std::int64_t>& shape) noexcept {
  std::size_t count = 1;
  bool none = false;
  for (const std::int64_t size : shape) {
    none = none || size == 0;
    if (size < 0 || (size > 0 && __builtin_mul_overflow(count, static_cast<std::size_t>(size), &count)))
      return std::nullopt;
  }
  // Empty or not: arrays of the host do not come with sizes that cannot be counted.
  if (count > static_cast<std::size_t>(std::numeric_limits<std::ptrdiff_t>::max()) / sizeof(double))
    return std::nullopt;
  return none ? 0 : count;
}

std::string shape_text(const std::vector<std::int64_t>& shape) {
  std::string text(1, '[');
  for (const std::int64_t size : shape) {
    if (text.size() > 1) text += ',';
    text += std::to_string(size);
  }
  text += ']';
  return text;
}

}  // namespace penstock
