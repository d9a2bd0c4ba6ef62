#include "json_reader.hpp"

#include <algorithm>

#include <penstock/oip_json.hpp>

namespace penstock::json {
namespace {

constexpr std::size_t kMaxDepth = 100;
constexpr std::size_t kFew = 16;  ///< keys that are compared one by one

[[noreturn]] void appears_twice(std::string_view key) {
  refuse("key " + in_quotes(key) + " appears twice in an object");
}

}  // namespace

void refuse(const std::string& text) { throw BadRequest(text); }

std::string in_quotes(std::string_view name) {
  std::string quoted(1, '\'');
  quoted += name;
  quoted += '\'';
  return quoted;
}

void Keys::add(std::string_view key) {
  if (names_.size() < kFew && std::find(names_.begin(), names_.end(), key) != names_.end()) appears_twice(key);
  names_.push_back(key);
}

void Keys::check() {
  if (names_.size() <= kFew) return;
  if (const auto found = repeated()) appears_twice(*found);
}

std::optional<std::string_view> Keys::repeated() {
  std::sort(names_.begin(), names_.end());
  const auto found = std::adjacent_find(names_.begin(), names_.end());
  if (found == names_.end()) return std::nullopt;
  return *found;
}

namespace {

void check_object(od::object object, std::size_t depth) {
  Keys keys;
  for (auto entry : object) {
    od::field field = taken(std::move(entry));
    keys.add(field.unescaped_key().value());
    check_value(field.value(), depth + 1);
  }
  keys.check();
}

}  // namespace

void check_value(od::value value, std::size_t depth) {
  if (depth > kMaxDepth) refuse("the JSON is nested more than " + std::to_string(kMaxDepth) + " deep");
  switch (value.type().value()) {
    case od::json_type::object:
      return check_object(value.get_object().value(), depth);
    case od::json_type::array: {
      od::array elements = value.get_array().value();
      for (auto item : elements) check_value(item.value(), depth + 1);
      return;
    }
    case od::json_type::string:
      static_cast<void>(value.get_string().value());
      return;
    case od::json_type::number:
      static_cast<void>(value.get_double().value());
      return;
    case od::json_type::boolean:
      static_cast<void>(value.get_bool().value());
      return;
    case od::json_type::null:
      if (!value.is_null()) refuse("invalid JSON");
      return;
  }
}

std::string read_object_text(od::value value, std::size_t depth, std::string_view what) {
  if (value.type().value() != od::json_type::object) refuse(std::string(what) + " must be an object");
  od::object object = value.get_object().value();
  std::string_view text = object.raw_json().value();
  while (!text.empty() && text.back() != '}') text.remove_suffix(1);
  object.reset().value();
  check_object(object, depth);
  return std::string(text);
}

bool is_left_out(od::value value) {
  if (value.type().value() != od::json_type::null) return false;
  if (!value.is_null()) refuse("invalid JSON");
  return true;
}

std::string read_string(od::value value, std::string_view what) {
  if (value.type().value() != od::json_type::string) refuse(std::string(what) + " must be a string");
  return std::string(value.get_string().value());
}

}  // namespace penstock::json
