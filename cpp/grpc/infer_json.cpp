#include <optional>
#include <string>
#include <utility>

#include <grpc/infer.hpp>
#include <penstock/oip_json.hpp>
#include <src/json_reader.hpp>
#include <src/oip_json_data.hpp>

namespace penstock::grpc {
namespace {

namespace od = simdjson::ondemand;

[[noreturn]] void refuse(const std::string& text) { throw EncodeError("the answer " + text); }

std::string text_at(od::object& object, std::string_view key) {
  od::value value;
  if (object.find_field_unordered(key).get(value) != simdjson::SUCCESS || value.is_null()) return {};
  return json::read_string(value, key);
}

Tensor read_output(od::value value, std::size_t text_size) {
  if (value.type().value() != od::json_type::object) refuse("has outputs that are no tensors");
  od::object object = value.get_object().value();
  Tensor tensor;
  tensor.name = text_at(object, "name");
  const std::string type = text_at(object, "datatype");
  const std::optional<DataType> known = data_type_from(type);
  if (!known) refuse("has an output '" + tensor.name + "' of the unknown datatype '" + type + "'");
  tensor.type = *known;
  tensor.shape = json::read_shape(object.find_field_unordered("shape").value());
  json::read_data(object.find_field_unordered("data").value(), tensor, text_size / 2 + 1);
  return tensor;
}

}  // namespace

InferResponse infer_from_json(std::string_view text) {
  od::parser parser;
  const simdjson::padded_string padded(text);
  try {
    od::document document = parser.iterate(padded).value();
    if (document.type().value() != od::json_type::object) refuse("is no inference response");
    od::object object = document.get_object().value();
    InferResponse response;
    response.model_name = text_at(object, "model_name");
    response.model_version = text_at(object, "model_version");
    response.id = text_at(object, "id");
    od::value found;
    if (object.find_field_unordered("parameters").get(found) == simdjson::SUCCESS && !found.is_null())
      response.parameters = json::read_object_text(found, 2, "parameters");
    if (object.find_field_unordered("outputs").get(found) != simdjson::SUCCESS ||
        found.type().value() != od::json_type::array)
      refuse("is no inference response: it has no outputs");
    od::array outputs = found.get_array().value();
    for (auto item : outputs) response.outputs.push_back(read_output(item.value(), text.size()));
    return response;
  } catch (const BadRequest& wrong) {
    refuse(std::string("is no inference response: ") + wrong.what());
  } catch (const simdjson::simdjson_error& error) {
    refuse(std::string("is no inference response: ") + error.what());
  }
}

}  // namespace penstock::grpc
