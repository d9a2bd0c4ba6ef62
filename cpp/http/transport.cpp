#include <http/transport.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <string_view>

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/socket.h>
#include <sys/uio.h>

namespace penstock::http {
namespace {

constexpr std::size_t kRecord = 16 * 1024;  ///< bytes that TLS encrypts at once

std::string_view view(const iovec& part) noexcept { return {static_cast<const char*>(part.iov_base), part.iov_len}; }

}  // namespace

ssize_t Transport::read(char* to, std::size_t size) {
  if (!ssl_) return ::recv(descriptor_, to, size, MSG_DONTWAIT);
  std::size_t got = 0;
  while (got < size) {
    ERR_clear_error();
    const int some = SSL_read(ssl_.get(), to + got, static_cast<int>(std::min<std::size_t>(size - got, INT_MAX)));
    if (some <= 0) return got > 0 ? static_cast<ssize_t>(got) : failed(some, SSL_ERROR_WANT_READ);
    got += static_cast<std::size_t>(some);
  }
  return static_cast<ssize_t>(got);
}

ssize_t Transport::write(const iovec* parts, std::size_t count) {
  if (!ssl_) {
    msghdr message{};
    message.msg_iov = const_cast<iovec*>(parts);  // sendmsg takes what it only reads as a pointer to non-const
    message.msg_iovlen = count;
    return ::sendmsg(descriptor_, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
  }
  // A record at a time; small parts share one.
  thread_local std::array<char, kRecord> record;
  std::string_view bytes = view(parts[0]);
  if (bytes.size() < kRecord && count > 1) {
    std::size_t size = 0;
    for (std::size_t i = 0; i < count && size < kRecord; ++i)
      size += view(parts[i]).copy(record.data() + size, kRecord - size);
    bytes = {record.data(), size};
  }
  ERR_clear_error();
  const int written =
      SSL_write(ssl_.get(), bytes.data(), static_cast<int>(std::min<std::size_t>(bytes.size(), INT_MAX)));
  return written > 0 ? written : failed(written, SSL_ERROR_WANT_WRITE);
}

/// What waits for the other direction, as it may while keys are renewed, is not worth a turn of its own: it ends.
ssize_t Transport::failed(int outcome, int waits) noexcept {
  const int error = SSL_get_error(ssl_.get(), outcome);
  if (error == SSL_ERROR_ZERO_RETURN) return 0;
  errno = error == waits ? EAGAIN : ECONNRESET;
  return -1;
}

bool Transport::holds_bytes() const noexcept {
  return ssl_ && SSL_want(ssl_.get()) != SSL_READING && SSL_has_pending(ssl_.get()) != 0;
}

void Transport::end() noexcept {
  if (ssl_) {
    ERR_clear_error();
    SSL_shutdown(ssl_.get());  // once: the client's answer to it is not waited for
  }
  ::shutdown(descriptor_, SHUT_WR);
}

void Transport::cut() noexcept { ::shutdown(descriptor_, SHUT_RDWR); }

Transport::Handshake Transport::shake_hands() {
  ERR_clear_error();
  const int outcome = SSL_do_handshake(ssl_.get());
  if (outcome == 1) return Handshake::kDone;
  switch (SSL_get_error(ssl_.get(), outcome)) {
    case SSL_ERROR_WANT_READ:
      return Handshake::kWantsRead;
    case SSL_ERROR_WANT_WRITE:
      return Handshake::kWantsWrite;
    default:
      return ERR_GET_REASON(ERR_peek_error()) == SSL_R_HTTP_REQUEST ? Handshake::kPlain : Handshake::kFailed;
  }
}

bool Transport::chose_http2() const noexcept {
  const unsigned char* name = nullptr;
  unsigned size = 0;
  SSL_get0_alpn_selected(ssl_.get(), &name, &size);
  return size == 2;  // "h2"; see TlsContext
}

}  // namespace penstock::http
