#include <algorithm>
#include <optional>
#include <type_traits>
#include <utility>

#include <protozero/pbf_reader.hpp>

#include <grpc/infer.hpp>
#include <penstock/oip_json.hpp>

namespace penstock::grpc {
namespace {

using protozero::pbf_reader;
using protozero::pbf_wire_type;

[[noreturn]] void refuse(const std::string& text) { throw BadRequest(text); }

/// Number of elements of the tensor's shape, so few that their bytes can be counted.
std::size_t count_of(const Tensor& tensor) {
  const std::optional<std::size_t> count = element_count(tensor.shape);
  if (!count) refuse("shape " + shape_text(tensor.shape) + " is too large");
  return *count;
}

/// The field of an InferTensorContents that holds the elements of a type.
struct Place {
  protozero::pbf_tag_type tag;
  const char* name;
};

Place place_of(DataType type) {
  switch (type) {
    case DataType::kBool:
      return {1, "bool_contents"};
    case DataType::kInt8:
    case DataType::kInt16:
    case DataType::kInt32:
      return {2, "int_contents"};
    case DataType::kInt64:
      return {3, "int64_contents"};
    case DataType::kUint8:
    case DataType::kUint16:
    case DataType::kUint32:
      return {4, "uint_contents"};
    case DataType::kUint64:
      return {5, "uint64_contents"};
    case DataType::kFp32:
      return {6, "fp32_contents"};
    case DataType::kFp64:
      return {7, "fp64_contents"};
    case DataType::kBytes:
      return {8, "bytes_contents"};
    case DataType::kFp16:
    case DataType::kBf16:
      break;
  }
  refuse(std::string(name_of(type)) + " can only be sent in raw_input_contents");
}

/// Puts elements of T into the tensor's memory, refusing what is out of its range.
template <class T>
class Putter {
 public:
  Putter(Tensor& tensor, std::size_t room)
      : tensor_(tensor), room_(room), memory_(std::make_shared_for_overwrite<T[]>(std::max<std::size_t>(room, 1))) {}

  template <class Wide>
  void put(Wide value) {
    const T element = static_cast<T>(value);
    if constexpr (std::is_integral_v<T>) {
      if (static_cast<Wide>(element) != value)
        refuse("element " + std::to_string(count_) + " is not a valid " + std::string(name_of(tensor_.type)));
    }
    if (count_ < room_) memory_[count_] = element;
    ++count_;
  }
  void finish() {
    if (count_ != room_) refuse(std::to_string(count_) + " values for shape " + shape_text(tensor_.shape));
    tensor_.data = reinterpret_cast<const std::byte*>(memory_.get());
    tensor_.size = room_ * sizeof(T);
    tensor_.storage = memory_;
  }

 private:
  Tensor& tensor_;
  const std::size_t room_;
  std::shared_ptr<T[]> memory_;
  std::size_t count_ = 0;
};

/// Reads the repeated field `tag`, packed or not. `one` reads an element, `all` a packed range.
template <class T, class One, class All>
void read_numbers(std::string_view contents, Tensor& tensor, Place place, pbf_wire_type type, One one, All all) {
  // Each element takes at least a byte of the message, whatever the shape claims.
  const std::size_t count = count_of(tensor);
  if (count > contents.size())
    refuse("there is too little in " + std::string(place.name) + " for shape " + shape_text(tensor.shape));
  Putter<T> putter(tensor, count);
  pbf_reader field(contents.data(), contents.size());
  while (field.next()) {
    if (field.tag() != place.tag) refuse("its values must be in " + std::string(place.name));
    if (field.wire_type() == pbf_wire_type::length_delimited) {
      for (const auto value : (field.*all)()) putter.put(value);
    } else if (field.wire_type() == type) {
      putter.put((field.*one)());
    } else {
      refuse("malformed " + std::string(place.name));
    }
  }
  putter.finish();
}

template <class T>
void read_signed(std::string_view contents, Tensor& tensor, Place place) {
  read_numbers<T>(contents, tensor, place, pbf_wire_type::varint, &pbf_reader::get_int64,
                  &pbf_reader::get_packed_int64);
}
template <class T>
void read_unsigned(std::string_view contents, Tensor& tensor, Place place) {
  read_numbers<T>(contents, tensor, place, pbf_wire_type::varint, &pbf_reader::get_uint64,
                  &pbf_reader::get_packed_uint64);
}

void read_strings(std::string_view contents, Tensor& tensor, Place place) {
  pbf_reader field(contents.data(), contents.size());
  while (field.next()) {
    if (field.tag() != place.tag) refuse("its values must be in " + std::string(place.name));
    const protozero::data_view element = field.get_view();
    tensor.strings.emplace_back(element.data(), element.size());
  }
  if (tensor.strings.size() != count_of(tensor))
    refuse(std::to_string(tensor.strings.size()) + " values for shape " + shape_text(tensor.shape));
}

}  // namespace

void read_contents(std::string_view contents, Tensor& tensor) {
  const Place place = place_of(tensor.type);
  switch (tensor.type) {
    case DataType::kBool:
      return read_numbers<bool>(contents, tensor, place, pbf_wire_type::varint, &pbf_reader::get_bool,
                                &pbf_reader::get_packed_bool);
    case DataType::kInt8:
      return read_signed<std::int8_t>(contents, tensor, place);
    case DataType::kInt16:
      return read_signed<std::int16_t>(contents, tensor, place);
    case DataType::kInt32:
      return read_signed<std::int32_t>(contents, tensor, place);
    case DataType::kInt64:
      return read_signed<std::int64_t>(contents, tensor, place);
    case DataType::kUint8:
      return read_unsigned<std::uint8_t>(contents, tensor, place);
    case DataType::kUint16:
      return read_unsigned<std::uint16_t>(contents, tensor, place);
    case DataType::kUint32:
      return read_unsigned<std::uint32_t>(contents, tensor, place);
    case DataType::kUint64:
      return read_unsigned<std::uint64_t>(contents, tensor, place);
    case DataType::kFp32:
      return read_numbers<float>(contents, tensor, place, pbf_wire_type::fixed32, &pbf_reader::get_float,
                                 &pbf_reader::get_packed_float);
    case DataType::kFp64:
      return read_numbers<double>(contents, tensor, place, pbf_wire_type::fixed64, &pbf_reader::get_double,
                                  &pbf_reader::get_packed_double);
    case DataType::kBytes:
      return read_strings(contents, tensor, place);
    case DataType::kFp16:
    case DataType::kBf16:
      return;  // place_of has refused
  }
}

}  // namespace penstock::grpc
