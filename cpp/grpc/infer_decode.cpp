#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include <protozero/pbf_reader.hpp>

#include <grpc/infer.hpp>
#include <penstock/json_text.hpp>
#include <penstock/oip_json.hpp>
#include <src/oip_json_parameters.hpp>

namespace penstock::grpc {
namespace {

using protozero::pbf_reader;
using protozero::pbf_wire_type;
using protozero::tag_and_type;

constexpr auto kText = pbf_wire_type::length_delimited;
constexpr auto kVarint = pbf_wire_type::varint;
constexpr auto kFixed64 = pbf_wire_type::fixed64;
constexpr std::size_t kMaxRank = 32;
constexpr std::size_t kMaxNames = 4096;  ///< of inputs, of outputs and of parameters

[[noreturn]] void refuse(const std::string& text) { throw BadRequest(text); }

std::string_view view_of(pbf_reader& field) {
  const protozero::data_view view = field.get_view();
  return {view.data(), view.size()};
}

std::string text_of(pbf_reader& field, const char* what) {
  const std::string_view text = view_of(field);
  if (!is_utf8(text)) refuse(std::string(what) + " is not UTF-8 text");
  return std::string(text);
}

/// Appends an InferParameter as JSON.
void append_parameter(std::string& out, std::string_view data) {
  pbf_reader field(data.data(), data.size());
  std::string text = "null";
  while (field.next()) {
    switch (field.tag_and_type()) {
      case tag_and_type(1, kVarint):
        text = field.get_bool() ? "true" : "false";
        break;
      case tag_and_type(2, kVarint):
        text = std::to_string(field.get_int64());
        break;
      case tag_and_type(3, kText):
        text.clear();
        append_json_string(text, view_of(field));
        break;
      case tag_and_type(4, kFixed64): {
        const double value = field.get_double();
        std::array<char, 32> digits;
        if (std::isfinite(value))
          text.assign(digits.data(), std::to_chars(digits.data(), digits.data() + digits.size(), value).ptr);
        break;
      }
      case tag_and_type(5, kVarint):
        text = std::to_string(field.get_uint64());
        break;
      default:
        field.skip();
    }
  }
  out += text;
}

/// Appends one entry of a map<string, InferParameter> to a JSON object under way.
void append_entry(std::string& object, std::string_view data) {
  pbf_reader field(data.data(), data.size());
  std::string key;
  std::string_view value;
  while (field.next()) {
    switch (field.tag_and_type()) {
      case tag_and_type(1, kText):
        key = text_of(field, "a parameter's name");
        break;
      case tag_and_type(2, kText):
        value = view_of(field);
        break;
      default:
        field.skip();
    }
  }
  object += object.empty() ? '{' : ',';
  append_json_string(object, key);
  object += ':';
  append_parameter(object, value);
}

/// What a map of parameters says, of which `object` is the beginning as JSON.
json::Parameters parameters_of(std::string&& object, json::Whose whose) {
  if (object.empty()) return {};
  object += '}';
  return json::read_parameters(object, whose);
}

void add_dimension(Tensor& tensor, std::int64_t size) {
  if (size < 0) refuse("shape must hold integers that are not negative");
  if (tensor.shape.size() == kMaxRank) refuse("shape has more than " + std::to_string(kMaxRank) + " dimensions");
  tensor.shape.push_back(size);
}

struct Input {
  Tensor tensor;
  std::optional<std::string_view> contents;
};

Input read_input(std::string_view data) {
  Input input;
  Tensor& tensor = input.tensor;
  std::string type, parameters;
  pbf_reader field(data.data(), data.size());
  while (field.next()) {
    switch (field.tag_and_type()) {
      case tag_and_type(1, kText):
        tensor.name = text_of(field, "an input's name");
        break;
      case tag_and_type(2, kText):
        type = text_of(field, "a datatype");
        break;
      case tag_and_type(3, kText):
        for (const std::int64_t size : field.get_packed_int64()) add_dimension(tensor, size);
        break;
      case tag_and_type(3, kVarint):
        add_dimension(tensor, field.get_int64());
        break;
      case tag_and_type(4, kText):
        append_entry(parameters, view_of(field));
        break;
      case tag_and_type(5, kText):
        input.contents = view_of(field);
        break;
      default:
        field.skip();
    }
  }
  if (tensor.name.empty()) refuse("an input has no name");
  const std::optional<DataType> known = data_type_from(type);
  if (!known) refuse("input '" + tensor.name + "': unknown datatype '" + type + "'");
  tensor.type = *known;
  try {
    tensor.parameters = parameters_of(std::move(parameters), json::Whose::kInput).text;
  } catch (const BadRequest& wrong) {
    refuse("input '" + tensor.name + "': " + wrong.what());
  }
  return input;
}

OutputTerms read_output(std::string_view data) {
  pbf_reader field(data.data(), data.size());
  OutputTerms output;
  std::string parameters;
  while (field.next()) {
    switch (field.tag_and_type()) {
      case tag_and_type(1, kText):
        output.name = text_of(field, "an output's name");
        break;
      case tag_and_type(2, kText):
        append_entry(parameters, view_of(field));
        break;
      default:
        field.skip();
    }
  }
  if (output.name.empty()) refuse("an output is asked for that has no name");
  output.classes = parameters_of(std::move(parameters), json::Whose::kOutput).classification.value_or(0);
  return output;
}

void check_names(const std::vector<Input>& inputs) {
  if (inputs.empty()) refuse("the request has no inputs");
  std::vector<std::string_view> names;
  names.reserve(inputs.size());
  for (const Input& input : inputs) names.push_back(input.tensor.name);
  std::sort(names.begin(), names.end());
  const auto twice = std::adjacent_find(names.begin(), names.end());
  if (twice != names.end()) refuse("two inputs have the name '" + std::string(*twice) + "'");
}

void fill(std::vector<Input>& inputs, const std::vector<std::string_view>& raw, const Message& message,
          InferRequest& request) {
  if (!raw.empty() && raw.size() != inputs.size())
    refuse("there are " + std::to_string(inputs.size()) + " inputs, but " + std::to_string(raw.size()) +
           " raw_input_contents");
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    Tensor& tensor = inputs[i].tensor;
    try {
      if (!raw.empty()) {
        if (inputs[i].contents) refuse("contents and raw_input_contents exclude each other");
        read_raw(raw[i], message.storage, tensor);
      } else {
        read_contents(inputs[i].contents.value_or(std::string_view()), tensor);
      }
    } catch (const BadRequest& wrong) {
      refuse("input '" + tensor.name + "': " + wrong.what());
    }
    request.inputs.push_back(std::move(tensor));
  }
}

void limit(std::size_t count, const char* what) {
  if (count >= kMaxNames) refuse("more than " + std::to_string(kMaxNames) + " " + what);
}

InferCall read_call(const Message& message) {
  InferCall call;
  std::vector<Input> inputs;
  std::vector<std::string_view> raw;
  std::string parameters;
  std::size_t named = 0;
  pbf_reader field(message.bytes.data(), message.bytes.size());
  while (field.next()) {
    switch (field.tag_and_type()) {
      case tag_and_type(1, kText):
        call.model_name = text_of(field, "model_name");
        break;
      case tag_and_type(2, kText):
        call.model_version = text_of(field, "model_version");
        break;
      case tag_and_type(3, kText):
        call.request.id = text_of(field, "id");
        break;
      case tag_and_type(4, kText):
        limit(named++, "parameters");
        append_entry(parameters, view_of(field));
        break;
      case tag_and_type(5, kText):
        limit(inputs.size(), "inputs");
        inputs.push_back(read_input(view_of(field)));
        break;
      case tag_and_type(6, kText):
        limit(call.outputs.size(), "outputs");
        call.request.outputs.push_back(call.outputs.emplace_back(read_output(view_of(field))).name);
        break;
      case tag_and_type(7, kText):
        limit(raw.size(), "raw_input_contents");
        raw.push_back(view_of(field));
        break;
      default:
        field.skip();
    }
  }
  json::Parameters read = parameters_of(std::move(parameters), json::Whose::kRequest);
  call.request.parameters = std::move(read.text);
  call.empty_final = read.empty_final;
  if (read.timeout.value_or(0) > 0) call.timeout = json::timeout_of(*read.timeout);
  check_names(inputs);
  fill(inputs, raw, message, call.request);
  return call;
}

}  // namespace

std::string request_id(std::string_view message) noexcept {
  std::string_view id;
  try {
    pbf_reader field(message.data(), message.size());
    while (field.next()) {
      if (field.tag_and_type() == tag_and_type(3, kText))
        id = view_of(field);
      else
        field.skip();
    }
  } catch (const protozero::exception&) {  // NOLINT(bugprone-empty-catch): what was found before counts
  }
  return is_utf8(id) ? std::string(id) : std::string();
}

InferCall decode_infer(const Message& message) {
  try {
    return read_call(message);
  } catch (const protozero::exception& error) {
    refuse(std::string("malformed message: ") + error.what());
  }
}

}  // namespace penstock::grpc
