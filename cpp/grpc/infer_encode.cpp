#include <algorithm>
#include <cstring>
#include <utility>

#include <simdjson.h>
#include <protozero/pbf_writer.hpp>

#include <grpc/infer.hpp>
#include <penstock/oip_json.hpp>
#include <src/oip_classes.hpp>

namespace penstock::grpc {
namespace {

using protozero::pbf_writer;

constexpr std::size_t kCopied = 4096;  ///< bytes of a tensor up to which a copy costs less than a piece

void write_parameter(pbf_writer& entry, simdjson::dom::element value) {
  pbf_writer parameter(entry, 2);
  using Type = simdjson::dom::element_type;
  switch (value.type()) {
    case Type::BOOL:
      return parameter.add_bool(1, value.get_bool().value());
    case Type::INT64:
      return parameter.add_int64(2, value.get_int64().value());
    case Type::STRING: {
      const std::string_view text = value.get_string().value();
      return parameter.add_string(3, text.data(), text.size());
    }
    case Type::DOUBLE:
      return parameter.add_double(4, value.get_double().value());
    case Type::UINT64:
      return parameter.add_uint64(5, value.get_uint64().value());
    default:  // no parameter of the protocol can hold it
      return parameter.add_string(3, simdjson::minify(value));
  }
}

void write_parameters(pbf_writer& writer, const std::string& json) {
  if (json.empty()) return;
  simdjson::dom::parser parser;
  const simdjson::dom::object members = parser.parse(json).get_object().value();
  for (const auto& [key, value] : members) {
    pbf_writer entry(writer, 4);
    entry.add_string(1, key.data(), key.size());
    write_parameter(entry, value);
  }
}

void write_output(pbf_writer& writer, const Tensor& tensor) {
  pbf_writer output(writer, 5);
  output.add_string(1, tensor.name);
  const std::string_view type = name_of(tensor.type);
  output.add_string(2, type.data(), type.size());
  output.add_packed_int64(3, tensor.shape.begin(), tensor.shape.end());
}

/// The outputs that are asked for; `made` keeps those that are made for it.
std::vector<const Tensor*> chosen(const InferResponse& response, const std::vector<OutputTerms>& asked,
                                  std::vector<Tensor>& made) {
  std::vector<const Tensor*> tensors;
  if (asked.empty())
    for (const Tensor& tensor : response.outputs) tensors.push_back(&tensor);
  made.reserve(asked.size());
  for (const OutputTerms& output : asked) {
    const Tensor& found = output_named(response, output.name);
    tensors.push_back(output.classes == 0 ? &found : &made.emplace_back(classes_of(found, output.classes)));
  }
  return tensors;
}

void write_flag(pbf_writer& writer, const char* name, bool value) {
  pbf_writer entry(writer, 4);
  entry.add_string(1, name);
  pbf_writer parameter(entry, 2);
  parameter.add_bool(1, value);
}

void append_head(std::string& out, protozero::pbf_tag_type tag, std::size_t size) {
  protozero::add_varint_to_buffer(&out, (tag << 3) | 2U);
  protozero::add_varint_to_buffer(&out, size);
}

}  // namespace

Pieces encode_infer(const std::shared_ptr<const InferResponse>& response, const Wanted& wanted, Position position) {
  Pieces pieces;
  std::string text;
  pbf_writer writer(text);
  const auto or_else = [](const std::string& given, const std::string& other) { return given.empty() ? other : given; };
  writer.add_string(1, or_else(response->model_name, wanted.model_name));
  if (const std::string version = or_else(response->model_version, wanted.model_version); !version.empty())
    writer.add_string(2, version);
  if (const std::string id = or_else(response->id, wanted.id); !id.empty()) writer.add_string(3, id);
  write_parameters(writer, response->parameters);
  if (wanted.streamed) write_flag(writer, "triton_final_response", position != Position::kPart);
  std::vector<Tensor> made;
  // An event that was filtered out before its responder has no outputs, not even those asked for; nor has an end.
  const bool none = response->outputs.empty() || position == Position::kEmptyFinal;
  const std::vector<const Tensor*> tensors =
      none ? std::vector<const Tensor*>() : chosen(*response, wanted.outputs, made);
  for (const Tensor* tensor : tensors) write_output(writer, *tensor);
  for (const Tensor* tensor : tensors) {
    if (tensor->type == DataType::kBytes) {
      std::string raw;
      append_raw(raw, *tensor);
      writer.add_bytes(6, raw);
    } else if (tensor->size <= kCopied) {
      writer.add_bytes(6, reinterpret_cast<const char*>(tensor->data), tensor->size);
    } else {
      append_head(text, 6, tensor->size);
      pieces.add(std::exchange(text, std::string()));
      pieces.add(http::Body(response, {reinterpret_cast<const char*>(tensor->data), tensor->size}));
    }
  }
  if (!text.empty()) pieces.add(std::move(text));
  return pieces;
}

void wrap_streamed(Pieces& response) {
  std::string head;
  append_head(head, 2, response.size);
  response.size += head.size();
  response.bodies.insert(response.bodies.begin(), http::Body(std::move(head)));
}

Pieces streamed_error(std::string_view text, std::string_view id) {
  std::string out;
  {
    pbf_writer writer(out);
    writer.add_string(1, text.data(), text.size());
    pbf_writer response(writer, 2);
    if (!id.empty()) response.add_string(3, id.data(), id.size());
  }
  Pieces pieces;
  pieces.add(std::move(out));
  return pieces;
}

}  // namespace penstock::grpc
