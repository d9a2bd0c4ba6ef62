#include <grpc/repository.hpp>

#include <protozero/pbf_reader.hpp>
#include <protozero/pbf_writer.hpp>

#include <penstock/json_text.hpp>
#include <penstock/oip_json.hpp>

namespace penstock::grpc {
namespace {

void append_value(std::string& json, protozero::pbf_reader value) {
  const std::size_t before = json.size();
  while (value.next()) {
    json.resize(before);  // of several the last one counts
    switch (value.tag_and_type()) {
      case protozero::tag_and_type(1, protozero::pbf_wire_type::varint):
        json += value.get_bool() ? "true" : "false";
        break;
      case protozero::tag_and_type(2, protozero::pbf_wire_type::varint):
        json += std::to_string(value.get_int64());
        break;
      case protozero::tag_and_type(3, protozero::pbf_wire_type::length_delimited):
        append_json_string(json, value.get_string());
        break;
      default:
        value.skip();
    }
  }
  if (json.size() == before) json += "null";
}

void append_parameter(std::string& json, protozero::pbf_reader entry) {
  std::string key;
  std::string value;
  while (entry.next()) {
    const bool whole = entry.wire_type() == protozero::pbf_wire_type::length_delimited;
    if (whole && entry.tag() == 1)
      key = entry.get_string();
    else if (whole && entry.tag() == 2)
      append_value(value, entry.get_message());
    else
      entry.skip();
  }
  if (json.back() != '{') json += ',';
  append_json_string(json, key);
  json.append(":").append(value.empty() ? "null" : value);
}

}  // namespace

RepositoryChange read_change(std::string_view message) {
  RepositoryChange change;
  std::string first;
  change.json = R"({"parameters":{)";
  try {
    protozero::pbf_reader field(message.data(), message.size());
    while (field.next()) {
      const bool whole = field.wire_type() == protozero::pbf_wire_type::length_delimited;
      if (whole && field.tag() == 1)
        first = field.get_string();
      else if (whole && field.tag() == 2)
        change.model = field.get_string();
      else if (whole && field.tag() == 3)
        append_parameter(change.json, field.get_message());
      else
        field.skip();
    }
  } catch (const protozero::exception& error) {
    throw BadRequest(std::string("malformed message: ") + error.what());
  }
  change.json += "}}";
  change.kserve = change.model.empty();
  if (change.kserve) change.model = std::move(first);
  if (!is_utf8(change.model)) throw BadRequest("a name is not UTF-8 text");
  return change;
}

std::string change_message(const RepositoryChange& change) {
  std::string out;
  if (!change.kserve) return out;
  protozero::pbf_writer writer(out);
  writer.add_string(1, change.model);
  writer.add_bool(2, true);
  return out;
}

}  // namespace penstock::grpc
