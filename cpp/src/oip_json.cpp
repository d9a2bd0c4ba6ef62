#include <penstock/oip_json.hpp>

#include <algorithm>
#include <cstddef>
#include <limits>
#include <string_view>
#include <utility>
#include <vector>

#include "json_reader.hpp"
#include "oip_json_data.hpp"
#include "oip_json_parameters.hpp"

namespace penstock {
namespace {

using namespace json;

constexpr std::size_t kMaxOutputs = 1024;
constexpr std::size_t kKeptParser = 1024 * 1024;  ///< text bytes a thread's parser stays ready for

/// Thrown within this file when an input turns out to be no tensor.
struct NotProtocol {};

/// What follows the JSON of a request.
struct Tail {
  std::shared_ptr<const std::string> body;
  std::string_view rest;
};

/// Reads the inputs of one document, of which some may lie in its tail.
class InputReader {
 public:
  InputReader(std::size_t text_size, Tail* tail) : most_(text_size / 2 + 1), tail_(tail) {}

  Tensor read(od::object object) {
    Tensor tensor;
    std::optional<std::uint64_t> binary_size;
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
          Parameters parameters = read_parameters(field.value(), 4, Whose::kInput);
          tensor.parameters = std::move(parameters.text);
          binary_size = parameters.binary_data_size;
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
      if (binary_size) {
        if (has_data) refuse("data and binary_data_size exclude each other");
        read_tail(*binary_size, tensor);
      } else if (!has_data) {
        refuse("it has no data");
      }
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

  void read_tail(std::uint64_t size, Tensor& tensor) const {
    if (tail_ == nullptr)
      refuse("it has a binary_data_size, but the request no header Inference-Header-Content-Length");
    if (size > tail_->rest.size())
      refuse("its binary_data_size is " + std::to_string(size) + ", but only " + std::to_string(tail_->rest.size()) +
             " bytes are left");
    read_raw(tail_->rest.substr(0, size), tail_->body, tensor);
    tail_->rest.remove_prefix(size);
  }

  const std::size_t most_;
  Tail* const tail_;
};

OutputTerms read_output(od::object members) {
  OutputTerms output;
  Keys keys;
  bool has_name = false;
  for (auto entry : members) {
    od::field field = taken(std::move(entry));
    const std::string_view key = field.unescaped_key().value();
    keys.add(key);
    if (key == "name") {
      output.name = read_string(field.value(), "an output's name");
      has_name = true;
    } else if (key == "parameters") {
      const Parameters parameters = read_parameters(field.value(), 5, Whose::kOutput);
      output.binary = parameters.binary;
      output.classes = parameters.classification.value_or(0);
    } else {
      check_value(field.value(), 4);
    }
  }
  keys.check();
  if (!has_name) refuse("outputs must hold objects with a name");
  return output;
}

std::vector<OutputTerms> read_outputs(od::value value) {
  if (is_left_out(value)) return {};
  if (value.type().value() != od::json_type::array) refuse("outputs must be an array");
  std::vector<OutputTerms> outputs;
  od::array elements = value.get_array().value();
  for (auto item : elements) {
    od::value output = item.value();
    if (output.type().value() != od::json_type::object) refuse("outputs must hold objects with a name");
    if (outputs.size() == kMaxOutputs) refuse("more than " + std::to_string(kMaxOutputs) + " outputs are asked for");
    outputs.push_back(read_output(output.get_object().value()));
  }
  return outputs;
}

std::vector<Tensor> read_inputs(od::value value, std::size_t text_size, Tail* tail) {
  if (value.type().value() != od::json_type::array) throw NotProtocol{};
  std::vector<Tensor> inputs;
  InputReader reader(text_size, tail);
  od::array elements = value.get_array().value();
  for (auto item : elements) {
    od::value input = item.value();
    if (input.type().value() != od::json_type::object) throw NotProtocol{};
    inputs.push_back(reader.read(input.get_object().value()));
  }
  if (inputs.empty()) throw NotProtocol{};
  return inputs;
}

/// No two of a name, for a dict of them is what the model gets.
void check_names(const std::vector<Tensor>& inputs) {
  Keys names;
  for (const Tensor& input : inputs) names.note(input.name);
  if (const auto twice = names.repeated()) refuse("two inputs have the name " + in_quotes(*twice));
}

InferRequest read_request(od::document& document, std::size_t text_size, AnswerTerms& terms, Tail* tail) {
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
      request.inputs = read_inputs(field.value(), text_size, tail);
      has_inputs = true;
    } else if (key == "id") {
      if (od::value id = field.value(); !is_left_out(id)) request.id = read_string(id, "id");
    } else if (key == "parameters") {
      Parameters parameters = read_parameters(field.value(), 2, Whose::kRequest);
      request.parameters = std::move(parameters.text);
      terms.binary = parameters.binary.value_or(false);
      if (parameters.timeout.value_or(0) > 0) terms.timeout = timeout_of(*parameters.timeout);
    } else if (key == "outputs") {
      terms.outputs = read_outputs(field.value());
    } else {
      check_value(field.value(), 2);
    }
  }
  if (!has_inputs) throw NotProtocol{};
  keys.check();
  if (document.current_location().error() != simdjson::OUT_OF_BOUNDS)
    refuse("invalid JSON: something follows the object");
  check_names(request.inputs);
  for (const OutputTerms& output : terms.outputs) request.outputs.push_back(output.name);
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

/// A thread's parser, which lets go of what a large text has made it take.
class Parser {
 public:
  Parser() = default;
  ~Parser() {
    if (parser().capacity() > kKeptParser) parser() = od::parser();
  }
  Parser(const Parser&) = delete;
  Parser& operator=(const Parser&) = delete;
  od::document read(const std::string& text, std::size_t size) {
    return parser().iterate(text.data(), size, text.capacity()).value();
  }

 private:
  static od::parser& parser() {
    thread_local od::parser kept;
    return kept;
  }
};

void make_room(std::string& body) {
  if (body.capacity() < body.size() + simdjson::SIMDJSON_PADDING)
    body.reserve(body.size() + simdjson::SIMDJSON_PADDING);
}

[[noreturn]] void refuse_json(const simdjson::simdjson_error& error) {
  refuse(std::string("invalid JSON: ") + error.what());
}

}  // namespace

std::optional<InferRequest> decode_infer_request(std::string& body, AnswerTerms* terms) {
  make_room(body);
  Parser parser;
  AnswerTerms read;
  try {
    try {
      od::document document = parser.read(body, body.size());
      InferRequest request = read_request(document, body.size(), read, nullptr);
      if (terms != nullptr) *terms = std::move(read);
      return request;
    } catch (const BadRequest&) {
      od::document document = parser.read(body, body.size());
      if (is_protocol_shaped(document)) throw;
      return std::nullopt;
    }
  } catch (const NotProtocol&) {
    return std::nullopt;
  } catch (const simdjson::simdjson_error& error) {
    refuse_json(error);
  }
}

InferRequest decode_binary_request(std::string&& body, std::size_t json_size, AnswerTerms& terms) {
  if (json_size > body.size())
    refuse("Inference-Header-Content-Length is " + std::to_string(json_size) + ", but the body has " +
           std::to_string(body.size()) + " bytes");
  // Spaces behind the JSON move the tensors to where they can be used in place.
  const std::size_t gap = (alignof(std::uint64_t) - json_size % alignof(std::uint64_t)) % alignof(std::uint64_t);
  if (gap != 0) body.insert(json_size, gap, ' ');
  make_room(body);
  const auto whole = std::make_shared<std::string>(std::move(body));
  Tail tail{whole, std::string_view(*whole).substr(json_size + gap)};
  Parser parser;
  try {
    od::document document = parser.read(*whole, json_size);
    InferRequest request = read_request(document, json_size, terms, &tail);
    if (!tail.rest.empty())
      refuse(std::to_string(tail.rest.size()) + " bytes follow those of the inputs' binary_data_size");
    return request;
  } catch (const NotProtocol&) {
    refuse("inputs must be tensors with name, shape and datatype");
  } catch (const simdjson::simdjson_error& error) {
    refuse_json(error);
  }
}

}  // namespace penstock
