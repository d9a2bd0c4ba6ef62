#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace penstock {

/// Decodes percent signs once; nothing if one is malformed or hides a control character.
std::optional<std::string> percent_decoded(std::string_view text);

/// `name` as a part of a path: what would end it there, or be decoded, is written as %XX.
std::string as_path_part(std::string_view name);

}  // namespace penstock
