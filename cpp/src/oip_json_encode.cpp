#include <array>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include <penstock/json_text.hpp>
#include <penstock/oip_json.hpp>

namespace penstock {
namespace {

constexpr std::size_t kWidest = 32;  ///< characters of a number and its comma, at most

/// Writes numbers through a block on the stack, so that the text grows by many at a time.
template <class T>
void append_numbers(std::string& out, const Tensor& tensor) {
  std::array<char, 4096> block;
  char* const end = block.data() + block.size();
  char* at = block.data();
  const std::size_t count = tensor.size / sizeof(T);
  for (std::size_t i = 0; i < count; ++i) {
    T number;
    std::memcpy(&number, tensor.data + i * sizeof(T), sizeof(T));
    if (end - at < static_cast<std::ptrdiff_t>(kWidest)) {
      out.append(block.data(), at);
      at = block.data();
    }
    if (i != 0) *at++ = ',';
    if constexpr (std::is_floating_point_v<T>) {
      if (!std::isfinite(number)) {
        std::memcpy(at, "null", 4);
        at += 4;
        continue;
      }
    }
    at = std::to_chars(at, end, number).ptr;
  }
  out.append(block.data(), at);
}

void append_booleans(std::string& out, const Tensor& tensor) {
  for (std::size_t i = 0; i < tensor.size; ++i) {
    if (i != 0) out += ',';
    out += tensor.data[i] == std::byte{0} ? "false" : "true";
  }
}

void append_strings(std::string& out, const Tensor& tensor) {
  for (std::size_t i = 0; i < tensor.strings.size(); ++i) {
    if (!is_utf8(tensor.strings[i]))
      throw EncodeError("output '" + tensor.name + "': element " + std::to_string(i) + " is not UTF-8 text");
    if (i != 0) out += ',';
    append_json_string(out, tensor.strings[i]);
  }
}

void append_data(std::string& out, const Tensor& tensor) {
  switch (tensor.type) {
    case DataType::kBool:
      return append_booleans(out, tensor);
    case DataType::kUint8:
      return append_numbers<std::uint8_t>(out, tensor);
    case DataType::kUint16:
      return append_numbers<std::uint16_t>(out, tensor);
    case DataType::kUint32:
      return append_numbers<std::uint32_t>(out, tensor);
    case DataType::kUint64:
      return append_numbers<std::uint64_t>(out, tensor);
    case DataType::kInt8:
      return append_numbers<std::int8_t>(out, tensor);
    case DataType::kInt16:
      return append_numbers<std::int16_t>(out, tensor);
    case DataType::kInt32:
      return append_numbers<std::int32_t>(out, tensor);
    case DataType::kInt64:
      return append_numbers<std::int64_t>(out, tensor);
    case DataType::kFp32:
      return append_numbers<float>(out, tensor);
    case DataType::kFp64:
      return append_numbers<double>(out, tensor);
    case DataType::kBytes:
      return append_strings(out, tensor);
    case DataType::kFp16:
    case DataType::kBf16:
      throw EncodeError("output '" + tensor.name + "': " + std::string(name_of(tensor.type)) +
                        " cannot be sent as JSON");
  }
}

void append_tensor(std::string& out, const Tensor& tensor) {
  out += "{\"name\":";
  append_json_string(out, tensor.name);
  out += ",\"shape\":[";
  for (std::size_t i = 0; i < tensor.shape.size(); ++i) {
    if (i != 0) out += ',';
    std::array<char, kWidest> text;
    out.append(text.data(), std::to_chars(text.data(), text.data() + text.size(), tensor.shape[i]).ptr);
  }
  out += "],\"datatype\":\"";
  out += name_of(tensor.type);
  out += "\",\"data\":[";
  append_data(out, tensor);
  out += "]}";
}

}  // namespace

std::string encode_infer_response(const InferResponse& response) {
  std::size_t size = 256;
  for (const Tensor& tensor : response.outputs) size += 128 + tensor.size * 3;
  std::string out;
  out.reserve(size);
  out += "{\"model_name\":";
  append_json_string(out, response.model_name);
  if (!response.model_version.empty()) {
    out += ",\"model_version\":";
    append_json_string(out, response.model_version);
  }
  if (!response.id.empty()) {
    out += ",\"id\":";
    append_json_string(out, response.id);
  }
  if (!response.parameters.empty()) {
    out += ",\"parameters\":";
    out += response.parameters;
  }
  out += ",\"outputs\":[";
  for (std::size_t i = 0; i < response.outputs.size(); ++i) {
    if (i != 0) out += ',';
    append_tensor(out, response.outputs[i]);
  }
  out += "]}";
  return out;
}

}  // namespace penstock
