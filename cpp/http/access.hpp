#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <http/message.hpp>

namespace penstock::http {

/// Who may ask: callers with a token, and pages of which origins. Judged by the head alone, before
/// the body is read. Health is open to all.
struct Access {
  std::vector<std::string> tokens;   ///< any of them will do; none: everybody may ask
  std::vector<std::string> origins;  ///< as browsers send them, "https://example.org"

  [[nodiscard]] bool open() const noexcept { return tokens.empty() && origins.empty(); }
  /// The answer to a request that goes no further: 401, 403, or a browser's question whether a page may ask.
  [[nodiscard]] std::optional<Response> judge(const Request& head) const;
  /// The origin of the page that asks, if its answer may be read there, else an empty one; null if origins do not
  /// matter here. It lives as long as this does.
  [[nodiscard]] const std::string* origin_of(const Request& head) const noexcept;
};

/// Lets pages of this origin read the answer; of an empty one, says only that origins matter to it.
void allow(Response& response, const std::string& origin);

/// Whether both are the same, in a time that depends on the length of `given` alone.
[[nodiscard]] bool same_secret(std::string_view secret, std::string_view given) noexcept;

}  // namespace penstock::http
