#pragma once

#include <string>

#include <penstock/object.hpp>

namespace penstock {

/// Why an event failed. `status` is an HTTP status: 4xx is the client's fault, 5xx ours.
struct Failure {
  std::string step;  ///< the name of the step it failed in; empty if it was in none
  int status = 500;
  std::string kind;  ///< such as "KeyError"
  std::string message;
  Object cause;         ///< the host's exception, if it was one
  int retry_after = 1;  ///< seconds, for a caller that is told to come again (429, 503)

  /// "KeyError: 'x'": what `event.error` holds.
  [[nodiscard]] std::string text() const { return kind.empty() ? message : kind + ": " + message; }
};

}  // namespace penstock
