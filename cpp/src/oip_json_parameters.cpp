#include "oip_json_parameters.hpp"

#include <algorithm>

#include <penstock/json_text.hpp>

namespace penstock::json {
namespace {

using Element = simdjson::dom::element;

std::uint64_t whole_number(std::string_view name, Element value) {
  std::uint64_t number = 0;
  if (value.get(number) != simdjson::SUCCESS)
    refuse("parameter " + in_quotes(name) + " must be a whole number that is not negative");
  return number;
}

bool truth(std::string_view name, Element value) {
  bool answer = false;
  if (value.get(answer) != simdjson::SUCCESS) refuse("parameter " + in_quotes(name) + " must be true or false");
  return answer;
}

void check_request_parameter(std::string_view name, Element value, Parameters& read) {
  if (name == "timeout") {
    read.timeout = whole_number(name, value);
  } else if (name == "priority") {
    whole_number(name, value);
  } else if (name == "sequence_start" || name == "sequence_end") {
    truth(name, value);
  } else if (name == "sequence_id") {
    if (!value.is_string() && !value.is_uint64())
      refuse("parameter 'sequence_id' must be a string or a whole number that is not negative");
  }
}

/// Whether the parameter is about the wire alone, so that nobody behind it needs to see it.
bool take(std::string_view name, Element value, Whose whose, Parameters& read) {
  switch (whose) {
    case Whose::kRequest:
      if (name == "binary_data_output") {
        read.binary = truth(name, value);
        return true;
      }
      if (name == "triton_enable_empty_final_response") {
        read.empty_final = truth(name, value);
        return true;
      }
      check_request_parameter(name, value, read);
      return false;
    case Whose::kInput:
      if (name == "binary_data_size") {
        read.binary_data_size = whole_number(name, value);
        return true;
      }
      break;
    case Whose::kOutput:
      if (name == "binary_data") {
        read.binary = truth(name, value);
        return true;
      }
      if (name == "classification") {
        read.classification = whole_number(name, value);
        return true;
      }
      break;
  }
  if (name.substr(0, 14) == "shared_memory_") refuse("shared memory is not offered, send the data");
  return false;
}

}  // namespace

std::chrono::microseconds timeout_of(std::uint64_t microseconds) noexcept {
  constexpr std::chrono::microseconds kMost = std::chrono::hours(24);
  return std::chrono::microseconds(std::min<std::uint64_t>(microseconds, kMost.count()));
}

Parameters read_parameters(od::value value, std::size_t depth, Whose whose) {
  if (is_left_out(value)) return {};
  return read_parameters(read_object_text(value, depth, "parameters"), whose);
}

Parameters read_parameters(const std::string& text, Whose whose) {
  Parameters read;
  thread_local simdjson::dom::parser parser;
  simdjson::dom::object members;
  if (const auto error = parser.parse(text).get_object().get(members)) throw simdjson::simdjson_error(error);
  for (const auto& [name, member] : members) {
    if (take(name, member, whose, read)) continue;
    read.text += read.text.empty() ? '{' : ',';
    append_json_string(read.text, name);
    read.text += ':';
    read.text += simdjson::minify(member);
  }
  if (!read.text.empty()) read.text += '}';
  return read;
}

}  // namespace penstock::json
