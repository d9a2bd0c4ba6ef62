#include "oip_json_data.hpp"

#include <algorithm>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>

namespace penstock::json {
namespace {

constexpr std::size_t kMaxRank = 32;

/// Reads one element; false if it is none of the type.
template <class T>
bool read_element(od::value& value, T& element) {
  if constexpr (std::is_same_v<T, bool>) {
    return value.get_bool().get(element) == simdjson::SUCCESS;
  } else if constexpr (std::is_same_v<T, std::string>) {
    std::string_view text;
    if (value.get_string().get(text) != simdjson::SUCCESS) return false;
    element = text;
    return true;
  } else if constexpr (std::is_floating_point_v<T>) {
    double number = 0;
    if (value.get_double().get(number) != simdjson::SUCCESS) {
      if (value.type().value() != od::json_type::null || !value.is_null()) return false;
      number = std::numeric_limits<double>::quiet_NaN();
    }
    element = static_cast<T>(number);
    return !(element > std::numeric_limits<T>::max() || element < std::numeric_limits<T>::lowest());
  } else {
    using Wide = std::conditional_t<std::is_signed_v<T>, std::int64_t, std::uint64_t>;
    simdjson::simdjson_result<Wide> read = [&value] {
      if constexpr (std::is_signed_v<T>)
        return value.get_int64();
      else
        return value.get_uint64();
    }();
    Wide number = 0;
    if (std::move(read).get(number) != simdjson::SUCCESS) return false;
    element = static_cast<T>(number);
    return static_cast<Wide>(element) == number;
  }
}

/// Reads `data`, flat or nested as the shape says; `put` gets the first `room` elements.
template <class T, class Put>
class DataReader {
 public:
  DataReader(const Tensor& tensor, std::size_t room, Put put) : tensor_(tensor), room_(room), put_(put) {}

  /// Returns the number of elements, which may be more than there was room for.
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
    if (nested_ && rows_ != tensor_.shape[0]) ragged();
    return count_;
  }

 private:
  void read_rows(od::value& value, std::size_t depth) {
    if (depth >= tensor_.shape.size() || value.type().value() != od::json_type::array) ragged();
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
    if (rows != tensor_.shape[depth]) ragged();
  }

  void read_one(od::value& value) {
    T element{};
    if (!read_element(value, element))
      refuse("element " + std::to_string(count_) + " of data is not a valid " + std::string(name_of(tensor_.type)));
    if (count_ < room_) put_(count_, std::move(element));
    ++count_;
  }

  [[noreturn]] void ragged() const { refuse("the nesting of data does not match shape " + shape_text(tensor_.shape)); }

  const Tensor& tensor_;
  const std::size_t room_;
  Put put_;
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

template <class T, class Put>
void read_elements(od::array array, const Tensor& tensor, std::size_t room, Put put) {
  const std::size_t count = DataReader<T, Put>(tensor, room, put).read(array);
  if (count != *element_count(tensor.shape))
    refuse(std::to_string(count) + " values for shape " + shape_text(tensor.shape));
}

template <class T>
void read_numbers(od::array array, Tensor& tensor, std::size_t most) {
  const std::size_t room = room_for(tensor, most);
  const std::shared_ptr<T[]> memory = std::make_shared_for_overwrite<T[]>(std::max<std::size_t>(room, 1));
  read_elements<T>(array, tensor, room, [elements = memory.get()](std::size_t i, T element) { elements[i] = element; });
  tensor.data = reinterpret_cast<const std::byte*>(memory.get());
  tensor.size = room * sizeof(T);
  tensor.storage = memory;
}

/// Memory grows with what is there: a string takes more of it than of the text.
void read_strings(od::array array, Tensor& tensor, std::size_t most) {
  read_elements<std::string>(array, tensor, room_for(tensor, most), [&tensor](std::size_t, std::string&& element) {
    tensor.strings.push_back(std::move(element));
  });
}

}  // namespace

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
  const od::array array = value.get_array().value();
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
