#pragma once

#include <string>
#include <string_view>

namespace penstock {

/// Appends `text` as a JSON string, quotes included. What is not UTF-8 becomes U+FFFD, so that the
/// result is always valid JSON. Thread-safe.
void append_json_string(std::string& out, std::string_view text);

/// True if `text` is valid UTF-8.
bool is_utf8(std::string_view text) noexcept;

}  // namespace penstock
