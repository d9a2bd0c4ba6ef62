#include <grpc/metadata.hpp>

#include <array>
#include <cstdint>
#include <optional>

#include <simdjson.h>
#include <protozero/pbf_reader.hpp>
#include <protozero/pbf_writer.hpp>

#include <penstock/json_text.hpp>
#include <penstock/oip_json.hpp>
#include <penstock/tensor.hpp>

namespace penstock::grpc {
namespace {

using protozero::pbf_writer;
using Element = simdjson::dom::element;
using Tag = protozero::pbf_tag_type;

std::string_view text_at(Element object, std::string_view key) {
  std::string_view text;
  return object.at_key(key).get(text) == simdjson::SUCCESS ? text : std::string_view();
}

std::uint64_t count_at(Element object, std::string_view key) {
  std::uint64_t count = 0;
  return object.at_key(key).get(count) == simdjson::SUCCESS ? count : 0;
}

void add_text(pbf_writer& writer, Tag tag, Element object, std::string_view key) {
  if (const std::string_view text = text_at(object, key); !text.empty())
    writer.add_string(tag, text.data(), text.size());
}

void add_count(pbf_writer& writer, Tag tag, Element object, std::string_view key) {
  if (const std::uint64_t count = count_at(object, key); count != 0) writer.add_uint64(tag, count);
}

/// The elements of an array; none if there is no array of that name.
simdjson::dom::array items_at(Element object, std::string_view key, simdjson::dom::parser& spare) {
  simdjson::dom::array items;
  if (object.at_key(key).get(items) == simdjson::SUCCESS) return items;
  return spare.parse(std::string_view("[]")).get_array().value();
}

void add_texts(pbf_writer& writer, Tag tag, Element object, std::string_view key) {
  simdjson::dom::parser spare;
  for (const Element item : items_at(object, key, spare)) {
    const std::string_view text = item.get_string().value();
    writer.add_string(tag, text.data(), text.size());
  }
}

std::vector<std::int64_t> shape_of(Element tensor) {
  std::vector<std::int64_t> shape;
  simdjson::dom::parser spare;
  for (const Element size : items_at(tensor, "shape", spare)) shape.push_back(size.get_int64().value());
  return shape;
}

void add_tensors(pbf_writer& writer, Tag tag, Element object, std::string_view key) {
  simdjson::dom::parser spare;
  for (const Element item : items_at(object, key, spare)) {
    pbf_writer tensor(writer, tag);
    add_text(tensor, 1, item, "name");
    add_text(tensor, 2, item, "datatype");
    const std::vector<std::int64_t> shape = shape_of(item);
    tensor.add_packed_int64(3, shape.begin(), shape.end());
  }
}

/// The numbers that model configurations have for the types.
std::int32_t config_type(std::string_view name) {
  const std::optional<DataType> type = data_type_from(name);
  if (!type) return 0;
  if (*type == DataType::kBytes) return 13;
  if (*type == DataType::kBf16) return 14;
  return static_cast<std::int32_t>(*type) + 1;
}

void add_config_tensors(pbf_writer& writer, Tag tag, Tag dimensions, Element object, std::string_view key) {
  simdjson::dom::parser spare;
  for (const Element item : items_at(object, key, spare)) {
    pbf_writer tensor(writer, tag);
    add_text(tensor, 1, item, "name");
    tensor.add_enum(2, config_type(text_at(item, "datatype")));
    const std::vector<std::int64_t> shape = shape_of(item);
    tensor.add_packed_int64(dimensions, shape.begin(), shape.end());
  }
}

void add_duration(pbf_writer& writer, Tag tag, Element object, std::string_view key) {
  Element duration;
  if (object.at_key(key).get(duration) != simdjson::SUCCESS) return;
  pbf_writer message(writer, tag);
  add_count(message, 1, duration, "count");
  add_count(message, 2, duration, "ns");
}

void add_inference_stats(pbf_writer& writer, Element model) {
  constexpr std::array<std::string_view, 8> kNames{"success",       "fail",           "queue",     "compute_input",
                                                   "compute_infer", "compute_output", "cache_hit", "cache_miss"};
  Element stats;
  if (model.at_key("inference_stats").get(stats) != simdjson::SUCCESS) return;
  pbf_writer message(writer, 6);
  for (std::size_t i = 0; i < kNames.size(); ++i) add_duration(message, static_cast<Tag>(i + 1), stats, kNames[i]);
}

void add_batch_stats(pbf_writer& writer, Element model) {
  simdjson::dom::parser spare;
  for (const Element item : items_at(model, "batch_stats", spare)) {
    pbf_writer batch(writer, 7);
    add_count(batch, 1, item, "batch_size");
    add_duration(batch, 2, item, "compute_input");
    add_duration(batch, 3, item, "compute_infer");
    add_duration(batch, 4, item, "compute_output");
  }
}

void add_response_stats(pbf_writer& writer, Element model) {
  constexpr std::array<std::string_view, 6> kNames{"compute_infer", "compute_output", "success",
                                                   "fail",          "empty_response", "cancel"};
  simdjson::dom::object responses;
  if (model.at_key("response_stats").get(responses) != simdjson::SUCCESS) return;
  for (const auto& [number, stats] : responses) {
    pbf_writer entry(writer, 9);
    entry.add_string(1, number.data(), number.size());
    pbf_writer message(entry, 2);
    for (std::size_t i = 0; i < kNames.size(); ++i) add_duration(message, static_cast<Tag>(i + 1), stats, kNames[i]);
  }
}

/// Parses an answer and writes a message from it.
template <class Write>
std::string translated(std::string_view json, Write write) {
  simdjson::dom::parser parser;
  std::string out;
  try {
    const simdjson::padded_string padded(json);
    pbf_writer writer(out);
    write(writer, parser.parse(padded).value());
  } catch (const simdjson::simdjson_error& error) {
    throw EncodeError(std::string("the answer is not what the call asks for: ") + error.what());
  }
  return out;
}

}  // namespace

ModelKey read_model_key(std::string_view message, unsigned name_tag, unsigned version_tag) {
  ModelKey key;
  try {
    protozero::pbf_reader field(message.data(), message.size());
    while (field.next()) {
      const bool is_text = field.wire_type() == protozero::pbf_wire_type::length_delimited;
      if (is_text && field.tag() == name_tag)
        key.name = field.get_string();
      else if (is_text && field.tag() == version_tag)
        key.version = field.get_string();
      else
        field.skip();
    }
  } catch (const protozero::exception& error) {
    throw BadRequest(std::string("malformed message: ") + error.what());
  }
  if (!is_utf8(key.name) || !is_utf8(key.version)) throw BadRequest("a name is not UTF-8 text");
  return key;
}

std::string server_metadata(std::string_view json) {
  return translated(json, [](pbf_writer& writer, Element answer) {
    add_text(writer, 1, answer, "name");
    add_text(writer, 2, answer, "version");
    add_texts(writer, 3, answer, "extensions");
  });
}

std::string model_metadata(std::string_view json) {
  return translated(json, [](pbf_writer& writer, Element answer) {
    add_text(writer, 1, answer, "name");
    add_texts(writer, 2, answer, "versions");
    add_text(writer, 3, answer, "platform");
    add_tensors(writer, 4, answer, "inputs");
    add_tensors(writer, 5, answer, "outputs");
  });
}

std::string model_ready(std::string_view json) {
  return translated(
      json, [](pbf_writer& writer, Element answer) { writer.add_bool(1, answer.at_key("ready").get_bool().value()); });
}

std::string model_config(std::string_view json) {
  return translated(json, [](pbf_writer& writer, Element answer) {
    pbf_writer config(writer, 1);
    add_text(config, 1, answer, "name");
    add_text(config, 2, answer, "platform");
    add_config_tensors(config, 5, 4, answer, "inputs");
    add_config_tensors(config, 6, 3, answer, "outputs");
  });
}

std::string model_statistics(std::string_view json) {
  return translated(json, [](pbf_writer& writer, Element answer) {
    simdjson::dom::parser spare;
    for (const Element item : items_at(answer, "model_stats", spare)) {
      pbf_writer model(writer, 1);
      add_text(model, 1, item, "name");
      add_text(model, 2, item, "version");
      add_count(model, 3, item, "last_inference");
      add_count(model, 4, item, "inference_count");
      add_count(model, 5, item, "execution_count");
      add_inference_stats(model, item);
      add_batch_stats(model, item);
      add_response_stats(model, item);
    }
  });
}

std::string repository_index(std::string_view json, bool ready_only) {
  return translated(json, [ready_only](pbf_writer& writer, Element answer) {
    const simdjson::dom::array items = answer.get_array().value();
    for (const Element item : items) {
      if (ready_only && text_at(item, "state") != "READY") continue;
      pbf_writer model(writer, 1);
      add_text(model, 1, item, "name");
      add_text(model, 2, item, "version");
      add_text(model, 3, item, "state");
      add_text(model, 4, item, "reason");
    }
  });
}

std::string flag_message(bool value) {
  std::string out;
  pbf_writer(out).add_bool(1, value);
  return out;
}

std::string error_text(std::string_view json) {
  simdjson::dom::parser parser;
  const simdjson::padded_string padded(json);
  std::string_view text;
  if (parser.parse(padded).at_key("error").get(text) == simdjson::SUCCESS) return std::string(text);
  return std::string(json);
}

}  // namespace penstock::grpc
