#pragma once

#include <cstddef>
#include <utility>

#include <sys/types.h>

#include <http/tls.hpp>

struct iovec;

namespace penstock::http {

/// How a connection's bytes go over its socket: as they are, or encrypted. Never waits. Does not own the
/// descriptor. Not thread-safe if encrypted: reading and writing touch the same state.
class Transport {
 public:
  explicit Transport(int descriptor, Ssl&& ssl = {}) noexcept : descriptor_(descriptor), ssl_(std::move(ssl)) {}

  [[nodiscard]] bool encrypted() const noexcept { return ssl_ != nullptr; }

  /// Like recv and sendmsg: how many bytes; 0 at the end of what the client sends; -1 with errno, EAGAIN if it would
  /// have to wait. After EAGAIN the next write has to begin with the same bytes, and at least as many.
  ssize_t read(char* to, std::size_t size);
  ssize_t write(const iovec* parts, std::size_t count);
  /// Whether bytes may have come that the socket no longer shows as readable. A handshake may leave some, too.
  [[nodiscard]] bool holds_bytes() const noexcept;

  /// Nothing more is written; the client is told.
  void end() noexcept;
  /// Both directions are over at once. Whoever waits to read finds the end.
  void cut() noexcept;

  /// The beginning of an encrypted connection, to be called until it is none of the first two.
  enum class Handshake { kWantsRead, kWantsWrite, kDone, kFailed, kPlain };
  Handshake shake_hands();
  /// Whether the client chose HTTP/2.
  [[nodiscard]] bool chose_http2() const noexcept;
  Ssl release() noexcept { return std::move(ssl_); }

 private:
  ssize_t failed(int outcome, int waits) noexcept;

  int descriptor_;
  Ssl ssl_;
};

}  // namespace penstock::http
