#pragma once

#include <memory>
#include <stdexcept>
#include <string>

#include <http/socket.hpp>

struct ssl_ctx_st;
struct ssl_st;

namespace penstock::http {

struct SslFree {
  void operator()(ssl_ctx_st* context) const noexcept;
  void operator()(ssl_st* ssl) const noexcept;
};
/// One connection's state of OpenSSL. Not thread-safe.
using Ssl = std::unique_ptr<ssl_st, SslFree>;

/// A certificate, key or authority cannot be used; what() is one line that says which and why.
class TlsError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// What a server shows to clients that want to talk in private: TLS 1.2 and 1.3, forward secret ciphers only.
/// Thread-safe.
class TlsContext {
 public:
  /// Files in PEM.
  struct Files {
    std::string certificate;  ///< with the chain up to the authority
    std::string key;          ///< not encrypted
    std::string client_ca;    ///< authorities one of which a client's certificate must be of; empty: none is asked for
  };

  /// Throws TlsError.
  explicit TlsContext(const Files& files);

  /// The server's side of a connection, ready for its handshake. A client that says what it speaks (ALPN) must name
  /// one of HTTP/2 and HTTP/1.1; where HTTP/2 alone is spoken, HTTP/2.
  [[nodiscard]] Ssl connect(int descriptor, Protocol protocol) const;

 private:
  const std::unique_ptr<ssl_ctx_st, SslFree> context_;
};

}  // namespace penstock::http
