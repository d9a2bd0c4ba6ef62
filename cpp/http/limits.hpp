#pragma once

#include <chrono>
#include <cstddef>

namespace penstock::http {

/// What a call to load or unload a model may take.
inline constexpr std::chrono::minutes kLoadDeadline{10};

/// What a client may ask of the server. Sizes in bytes.
struct Limits {
  std::size_t header_bytes = 16 * 1024;       ///< of one header line; more: 431
  std::size_t headers = 64;                   ///< of one request; more: 431
  std::size_t url_bytes = 8 * 1024;           ///< more: 414
  std::size_t body_bytes = 16 * 1024 * 1024;  ///< more: 413, before the body is read
  std::size_t chunks = 65536;                 ///< of one chunked body; more: 413
  std::size_t connections = 1024;             ///< more: 503 and close
  std::size_t streams = 256;                  ///< calls at once on one HTTP/2 connection; more wait at the client
  std::size_t pipelined = 32;                 ///< unanswered requests of a connection before it is no longer read

  std::chrono::milliseconds header_timeout{10'000};  ///< from the first byte of a head to its end, else 408
  /// A body that is not there after this time, and has come at less than `body_rate` on average: 408.
  std::chrono::milliseconds body_timeout{30'000};
  std::size_t body_rate = 1024;                     ///< bytes per second
  std::chrono::milliseconds idle_timeout{60'000};   ///< between requests, or while an answer is not taken: close
  std::chrono::milliseconds linger_timeout{2'000};  ///< for the client to close after the last answer
  std::chrono::milliseconds drain_grace{2'000};     ///< for a request that has begun to arrive whole, in a drain
};

}  // namespace penstock::http
