#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <simdjson.h>

namespace penstock::json {

namespace od = simdjson::ondemand;

/// Throws BadRequest.
[[noreturn]] void refuse(const std::string& text);

std::string in_quotes(std::string_view name);

/// What a result holds; throws what it holds instead. For fields, whose result's own `value` is
/// the value of the field.
template <class T>
T taken(simdjson::simdjson_result<T>&& result) {
  T content;
  if (const auto error = std::move(result).get(content)) throw simdjson::simdjson_error(error);
  return content;
}

/// The keys of one object; refuses the second of a name. The names must outlive it, as those in
/// the parser's memory do until the next document.
class Keys {
 public:
  void add(std::string_view key);
  /// To be called at the object's end: many keys are compared by sorting them.
  void check();
  /// Adds a name without a look; `repeated` is one that was added twice.
  void note(std::string_view name) { names_.push_back(name); }
  std::optional<std::string_view> repeated();

 private:
  std::vector<std::string_view> names_;
};

/// Looks at everything in `value`, which is `depth` deep: what nobody reads must be valid all the same.
void check_value(od::value value, std::size_t depth);

/// The text of an object whose members are `depth` deep, checked. `what` names it in the refusal.
std::string read_object_text(od::value value, std::size_t depth, std::string_view what);

/// Whether it is null, and reads it then: what may be left out may be that, too, as many clients have it.
bool is_left_out(od::value value);

std::string read_string(od::value value, std::string_view what);

}  // namespace penstock::json
