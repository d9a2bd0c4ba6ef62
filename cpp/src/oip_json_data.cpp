#include "oip_json_data.hpp"

#include <algorithm>
#include <charconv>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "oip_json_numbers.hpp"

namespace penstock::json {
namespace {

constexpr std::size_t kMaxRank = 32;

/// Reads the strings of a tensor's `data`, flat or nested as its shape says; keeps as many as there is room for.
class StringReader {
 public:
  StringReader(Tensor& tensor, std::size_t room) : tensor_(tensor), room_(room) {}

  /// Returns their number, which may be more than there was room for.
  std::size_t read(od::array array) {
    bool first = true;
    for (auto item : array) {
      od::value value = item.value();
      if (std::exchange(first, false) && value.type().value() == od::json_type::array) nested_ = true;
      if (nested_) {
        read_rows(value, 1);
      } else {
        read_one(value);
      }
      ++rows_;
    }
    if (nested_ && rows_ != tensor_.shape[0]) refuse_nesting(tensor_);
    return count_;
  }

 private:
  void read_rows(od::value& value, std::size_t depth) {
    if (depth >= tensor_.shape.size() || value.type().value() != od::json_type::array) refuse_nesting(tensor_);
    const bool innermost = depth + 1 == tensor_.shape.size();
    std::int64_t rows = 0;
    od::array elements = value.get_array().value();
    for (auto item : elements) {
      od::value row = item.value();
      if (innermost) {
        read_one(row);
      } else {
        read_rows(row, depth + 1);
      }
      ++rows;
    }
    if (rows != tensor_.shape[depth]) refuse_nesting(tensor_);
  }

  void read_one(od::value& value) {
    std::string_view text;
    if (value.get_string().get(text) != simdjson::SUCCESS) refuse_element(count_, tensor_);
    if (count_ < room_) tensor_.strings.emplace_back(text);  // memory grows with what is there: more than of the text
    ++count_;
  }

  Tensor& tensor_;
  const std::size_t room_;
  std::size_t count_ = 0;
  std::int64_t rows_ = 0;
  bool nested_ = false;
};

/// A text cannot hold more elements than half its length, whatever the shape claims.
std::size_t room_for(const Tensor& tensor, std::size_t most) {
  const std::optional<std::size_t> count = element_count(tensor.shape);
  if (!count) refuse("shape " + shape_text(tensor.shape) + " is too large");
  return std::min(*count, most);
}

void check_count(std::size_t count, const Tensor& tensor) {
  if (count != *element_count(tensor.shape))
    refuse(std::to_string(count) + " values for shape " + shape_text(tensor.shape));
}

template <class T>
void read_numbers(od::array array, Tensor& tensor, std::size_t most) {
  const std::size_t room = room_for(tensor, most);
  const std::shared_ptr<T[]> memory = std::make_shared_for_overwrite<T[]>(std::max<std::size_t>(room, 1));
  check_count(NumberReader<T>(tensor, array.raw_json().value(), memory.get(), room).read(), tensor);
  tensor.data = reinterpret_cast<const std::byte*>(memory.get());
  tensor.size = room * sizeof(T);
  tensor.storage = memory;
}

void read_strings(od::array array, Tensor& tensor, std::size_t most) {
  check_count(StringReader(tensor, room_for(tensor, most)).read(array), tensor);
}

}  // namespace

bool read_double(std::string_view text, double& number) {
#if defined(__cpp_lib_to_chars)
  const std::size_t point = text.find('.');  // JSON wants a digit behind it
  const bool whole = point == std::string_view::npos || (point + 1 < text.size() && is_digit(text[point + 1]));
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error == std::errc()) return whole && end == text.data() + text.size();
#endif
  thread_local simdjson::dom::parser parser;
  return parser.parse(text.data(), text.size()).get_double().get(number) == simdjson::SUCCESS;
}

void refuse_element(std::size_t index, const Tensor& tensor) {
  refuse("element " + std::to_string(index) + " of data is not a valid " + std::string(name_of(tensor.type)));
}

void refuse_nesting(const Tensor& tensor) {
  refuse("the nesting of data does not match shape " + shape_text(tensor.shape));
}

std::vector<std::int64_t> read_shape(od::value value) {
  if (value.type().value() != od::json_type::array) refuse("shape must be an array of integers");
  std::vector<std::int64_t> shape;
  od::array elements = value.get_array().value();
  for (auto item : elements) {
    std::int64_t size = 0;
    if (item.value().get_int64().get(size) != simdjson::SUCCESS || size < 0)
      refuse("shape must hold integers that are not negative");
    if (shape.size() == kMaxRank) refuse("shape has more than " + std::to_string(kMaxRank) + " dimensions");
    shape.push_back(size);
  }
  return shape;
}

void read_data(od::value value, Tensor& tensor, std::size_t most) {
  if (value.type().value() != od::json_type::array) refuse("data must be an array");
  od::array array = value.get_array().value();
  switch (tensor.type) {
    case DataType::kBool:
      return read_numbers<bool>(array, tensor, most);
    case DataType::kUint8:
      return read_numbers<std::uint8_t>(array, tensor, most);
    case DataType::kUint16:
      return read_numbers<std::uint16_t>(array, tensor, most);
    case DataType::kUint32:
      return read_numbers<std::uint32_t>(array, tensor, most);
    case DataType::kUint64:
      return read_numbers<std::uint64_t>(array, tensor, most);
    case DataType::kInt8:
      return read_numbers<std::int8_t>(array, tensor, most);
    case DataType::kInt16:
      return read_numbers<std::int16_t>(array, tensor, most);
    case DataType::kInt32:
      return read_numbers<std::int32_t>(array, tensor, most);
    case DataType::kInt64:
      return read_numbers<std::int64_t>(array, tensor, most);
    case DataType::kFp32:
      return read_numbers<float>(array, tensor, most);
    case DataType::kFp64:
      return read_numbers<double>(array, tensor, most);
    case DataType::kBytes:
      return read_strings(array, tensor, most);
    case DataType::kFp16:
    case DataType::kBf16:
      refuse(std::string(name_of(tensor.type)) + " cannot be sent as JSON");
  }
}

}  // namespace penstock::json
