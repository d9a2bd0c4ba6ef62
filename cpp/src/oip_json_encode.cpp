#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <type_traits>

#include <penstock/halves.hpp>
#include <penstock/json_text.hpp>
#include <penstock/oip_json.hpp>

#include "oip_classes.hpp"

namespace penstock {
namespace {

constexpr std::size_t kWidest = 32;  ///< characters of a number and its comma, at most

struct AsItIs {
  template <class T>
  T operator()(T number) const {
    return number;
  }
};

/// Writes numbers through a block on the stack, so that the text grows by many at a time.
template <class T, class Read = AsItIs>
void append_numbers(std::string& out, const Tensor& tensor, Read read = {}) {
  std::array<char, 4096> block;
  char* const end = block.data() + block.size();
  char* at = block.data();
  const std::size_t count = tensor.size / sizeof(T);
  for (std::size_t i = 0; i < count; ++i) {
    T held;
    std::memcpy(&held, tensor.data + i * sizeof(T), sizeof(T));
    const auto number = read(held);
    if (end - at < static_cast<std::ptrdiff_t>(kWidest)) {
      out.append(block.data(), at);
      at = block.data();
    }
    if (i != 0) *at++ = ',';
    if constexpr (std::is_floating_point_v<decltype(read(held))>) {
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
      throw EncodeError("output '" + tensor.name + "': element " + std::to_string(i) +
                        " is not UTF-8 text, ask for binary_data");
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
      return append_numbers<std::uint16_t>(out, tensor, half_to_float);
    case DataType::kBf16:
      return append_numbers<std::uint16_t>(out, tensor, bfloat_to_float);
  }
}

/// The type that values go by in JSON, which has no halves.
DataType type_in_json(DataType type) {
  return type == DataType::kFp16 || type == DataType::kBf16 ? DataType::kFp32 : type;
}

void append_number(std::string& out, std::int64_t number) {
  std::array<char, kWidest> text;
  out.append(text.data(), std::to_chars(text.data(), text.data() + text.size(), number).ptr);
}

/// The tensor's parameters, which are JSON text, with the number of its bytes.
void append_parameters(std::string& out, const Tensor& tensor, bool binary) {
  if (!binary && tensor.parameters.empty()) return;
  out += ",\"parameters\":";
  if (!binary) {
    out += tensor.parameters;
    return;
  }
  out += "{\"binary_data_size\":";
  append_number(out, static_cast<std::int64_t>(raw_size(tensor)));
  const std::size_t first = tensor.parameters.find_first_not_of(" \t\r\n", 1);
  if (first == std::string::npos || tensor.parameters[first] == '}') {
    out += '}';
  } else {
    out += ',';
    out.append(tensor.parameters, first);
  }
}

void append_tensor(std::string& out, const Tensor& tensor, bool binary) {
  out += "{\"name\":";
  append_json_string(out, tensor.name);
  out += ",\"shape\":[";
  for (std::size_t i = 0; i < tensor.shape.size(); ++i) {
    if (i != 0) out += ',';
    append_number(out, tensor.shape[i]);
  }
  out += "],\"datatype\":\"";
  out += name_of(binary ? tensor.type : type_in_json(tensor.type));
  out += '"';
  append_parameters(out, tensor, binary);
  if (!binary) {
    out += ",\"data\":[";
    append_data(out, tensor);
    out += ']';
  }
  out += '}';
}

/// An output on its way out.
struct Chosen {
  const Tensor* tensor;
  bool binary;
};

/// The outputs that are asked for; `made` keeps those that are made for it.
std::vector<Chosen> choose(const InferResponse& response, const AnswerTerms& terms, std::vector<Tensor>& made) {
  std::vector<Chosen> chosen;
  if (terms.outputs.empty())
    for (const Tensor& tensor : response.outputs) chosen.push_back({&tensor, terms.binary});
  made.reserve(terms.outputs.size());
  for (const OutputTerms& output : terms.outputs) {
    const Tensor* tensor = &output_named(response, output.name);
    if (output.classes > 0) tensor = &made.emplace_back(classes_of(*tensor, output.classes));
    chosen.push_back({tensor, output.binary.value_or(terms.binary)});
  }
  return chosen;
}

void append_json(std::string& out, const InferResponse& response, const std::vector<Chosen>& outputs) {
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
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    if (i != 0) out += ',';
    append_tensor(out, *outputs[i].tensor, outputs[i].binary);
  }
  out += "]}";
}

}  // namespace

const Tensor& output_named(const InferResponse& response, const std::string& name) {
  const auto found = std::find_if(response.outputs.begin(), response.outputs.end(),
                                  [&name](const Tensor& tensor) { return tensor.name == name; });
  if (found != response.outputs.end()) return *found;
  std::string known;
  for (const Tensor& tensor : response.outputs) known += (known.empty() ? "'" : ", '") + tensor.name + "'";
  throw BadRequest("the model has no output '" + name + "', it has " + (known.empty() ? "none" : known));
}

std::string encode_infer_response(const InferResponse& response) { return encode_infer_response(response, {}).body; }

EncodedResponse encode_infer_response(const InferResponse& response, const AnswerTerms& terms) {
  std::vector<Tensor> made;
  const std::vector<Chosen> outputs = choose(response, terms, made);
  EncodedResponse encoded;
  std::size_t size = 256;
  for (const Chosen& output : outputs)
    size += 160 + (output.binary ? raw_size(*output.tensor) : output.tensor->size * 3);
  encoded.body.reserve(size);
  append_json(encoded.body, response, outputs);
  if (std::none_of(outputs.begin(), outputs.end(), [](const Chosen& output) { return output.binary; })) return encoded;
  encoded.json_size = encoded.body.size();
  for (const Chosen& output : outputs)
    if (output.binary) append_raw(encoded.body, *output.tensor);
  return encoded;
}

}  // namespace penstock
