#include <penstock/oip_json.hpp>

#include <cstddef>
#include <limits>
#include <string_view>
#include <utility>
#include <vector>

#include "json_reader.hpp"
#include "oip_json_data.hpp"

namespace penstock {
namespace {

using namespace json;

constexpr std::size_t kMaxOutputs = 1024;
constexpr std::size_t kKeptParser = 1024 * 1024;  ///< text bytes a thread's parser stays ready for

/// Thrown within this file when an input turns out to be no tensor.
struct NotProtocol {};

/// Reads the inputs of one document.
class InputReader {
 public:
  explicit InputReader(std::size_t text_size) : most_(text_size / 2 + 1) {}

  Tensor read(od::object object) {
    Tensor tensor;
    Keys keys;
    bool has_name = false, has_shape = false, has_type = false, has_data = false, deferred = false;
    std::size_t data_at = 0, at = 0;
    try {
      for (auto entry : object) {
        od::field field = taken(std::move(entry));
        const std::string_view key = field.unescaped_key().value();
        keys.add(key);
        if (key == "name") {
          tensor.name = read_string(field.value(), "name");
          has_name = true;
        } else if (key == "shape") {
          tensor.shape = read_shape(field.value());
          has_shape = true;
        } else if (key == "datatype") {
          tensor.type = read_type(field.value());
          has_type = true;
        } else if (key == "parameters") {
          read_object_text(field.value(), 4, "parameters");
        } else if (key == "data") {
          has_data = true;
          if (has_shape && has_type) {
            read_data(field.value(), tensor, most_);
          } else {
            deferred = true;  // what it means comes later: pass over it and return
            data_at = at;
          }
        } else {
          check_value(field.value(), 4);
        }
        ++at;
      }
      if (!has_name || !has_shape || !has_type) throw NotProtocol{};
      keys.check();
      if (!has_data) refuse("it has no data");
      if (deferred) read_deferred(object, data_at, tensor);
    } catch (const BadRequest& wrong) {
      refuse((has_name ? "input " + in_quotes(tensor.name) : std::string("an input")) + ": " + wrong.what());
    }
    return tensor;
  }

 private:
  static DataType read_type(od::value value) {
    const std::string name = read_string(value, "datatype");
    const std::optional<DataType> type = data_type_from(name);
    if (!type) refuse("unknown datatype " + in_quotes(name));
    return *type;
  }

  /// Goes to the field by its place: a key must not be unescaped twice, the parser has room for one.
  void read_deferred(od::object& object, std::size_t data_at, Tensor& tensor) const {
    object.reset().value();
    for (auto entry : object) {
      od::field field = taken(std::move(entry));
      if (data_at-- == 0) read_data(field.value(), tensor, most_);
      if (data_at == std::numeric_limits<std::size_t>::max()) break;
    }
    // leaves the object half read; iteration of what encloses it skips the rest
  }

  const std::size_t most_;
};

std::vector<std::string> read_outputs(od::value value) {
  if (value.type().value() != od::json_type::array) refuse("outputs must be an array");
  std::vector<std::string> names;
  od::array elements = value.get_array().value();
  for (auto item : elements) {
    od::value output = item.value();
    if (output.type().value() != od::json_type::object) refuse("outputs must hold objects with a name");
    if (names.size() == kMaxOutputs) refuse("more than " + std::to_string(kMaxOutputs) + " outputs are asked for");
    Keys keys;
    std::optional<std::string> name;
    od::object members = output.get_object().value();
    for (auto entry : members) {
      od::field field = taken(std::move(entry));
      const std::string_view key = field.unescaped_key().value();
      keys.add(key);
      if (key == "name") {
        name = read_string(field.value(), "an output's name");
      } else {
        check_value(field.value(), 4);
      }
    }
    keys.check();
    if (!name) refuse("outputs must hold objects with a name");
    names.push_back(std::move(*name));
  }
  return names;
}

std::vector<Tensor> read_inputs(od::value value, std::size_t text_size) {
  if (value.type().value() != od::json_type::array) throw NotProtocol{};
  std::vector<Tensor> inputs;
  InputReader reader(text_size);
  od::array elements = value.get_array().value();
  for (auto item : elements) {
    od::value input = item.value();
    if (input.type().value() != od::json_type::object) throw NotProtocol{};
    inputs.push_back(reader.read(input.get_object().value()));
  }
  if (inputs.empty()) throw NotProtocol{};
  return inputs;
}

InferRequest read_request(od::document& document, std::size_t text_size) {
  if (document.type().value() != od::json_type::object) throw NotProtocol{};
  InferRequest request;
  Keys keys;
  bool has_inputs = false;
  od::object members = document.get_object().value();
  for (auto entry : members) {
    od::field field = taken(std::move(entry));
    const std::string_view key = field.unescaped_key().value();
    keys.add(key);
    if (key == "inputs") {
      request.inputs = read_inputs(field.value(), text_size);
      has_inputs = true;
    } else if (key == "id") {
      request.id = read_string(field.value(), "id");
    } else if (key == "parameters") {
      request.parameters = read_object_text(field.value(), 2, "parameters");
    } else if (key == "outputs") {
      request.outputs = read_outputs(field.value());
    } else {
      check_value(field.value(), 2);
    }
  }
  if (!has_inputs) throw NotProtocol{};
  keys.check();
  if (document.current_location().error() != simdjson::OUT_OF_BOUNDS)
    refuse("invalid JSON: something follows the object");
  return request;
}

bool is_tensor(od::value value) {
  if (value.type().value() != od::json_type::object) return false;
  int found = 0;
  od::object members = value.get_object().value();
  for (auto entry : members) {
    od::field field = taken(std::move(entry));
    const std::string_view key = field.unescaped_key().value();
    found |= key == "name" ? 1 : key == "shape" ? 2 : key == "datatype" ? 4 : 0;
  }
  return found == 7;
}

/// Whether the request looks like the protocol's; asked only when something in it is wrong.
bool is_protocol_shaped(od::document& document) {
  if (document.type().value() != od::json_type::object) return false;
  bool shaped = false;
  od::object members = document.get_object().value();
  for (auto entry : members) {
    od::field field = taken(std::move(entry));
    if (field.unescaped_key().value() != "inputs") continue;
    od::value inputs = field.value();
    if (inputs.type().value() != od::json_type::array) return false;
    od::array elements = inputs.get_array().value();
    for (auto item : elements) {
      if (!is_tensor(item.value())) return false;
      shaped = true;
    }
  }
  return shaped;
}

}  // namespace

std::optional<InferRequest> decode_infer_request(std::string& body) {
  thread_local od::parser parser;
  if (body.capacity() < body.size() + simdjson::SIMDJSON_PADDING)
    body.reserve(body.size() + simdjson::SIMDJSON_PADDING);
  struct Shrink {
    ~Shrink() {
      if (parser.capacity() > kKeptParser) parser = od::parser();
    }
  };
  const Shrink shrink;
  try {
    try {
      od::document document = parser.iterate(body).value();
      return read_request(document, body.size());
    } catch (const BadRequest&) {
      od::document document = parser.iterate(body).value();
      if (is_protocol_shaped(document)) throw;
      return std::nullopt;
    }
  } catch (const NotProtocol&) {
    return std::nullopt;
  } catch (const simdjson::simdjson_error& error) {
    refuse(std::string("invalid JSON: ") + error.what());
  }
}

}  // namespace penstock
