#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include <http/access.hpp>
#include <http/application.hpp>
#include <http/gate.hpp>
#include <http/limits.hpp>
#include <http/tls.hpp>

namespace penstock::http2 {
class Calls;
}

namespace penstock::http {

/// Where to listen and what to allow.
struct Options {
  std::string host = "127.0.0.1";
  std::uint16_t port = 0;                    ///< 0: any that is free
  std::optional<std::uint16_t> grpc_port{};  ///< one more port, for HTTP/2 alone
  std::size_t io_threads = 2;
  bool reuse_port = false;  ///< further processes may listen there, too: the kernel spreads the connections
  Limits limits{};
  Access access{};
  std::shared_ptr<const TlsContext> tls{};  ///< for all ports; null: nothing is encrypted
};

/// A server of HTTP/1.1 and HTTP/2: `listen`, `start`, ..., `drain`, `stop`. The application, and
/// `calls`, which takes the gRPC calls if it is given, must outlive it.
/// All calls are thread-safe; none may come from one of the server's own I/O threads, except
/// `port` and `wake`.
class Server {
 public:
  Server(Options options, Application& application, http2::Calls* calls = nullptr);
  ~Server();  ///< stops
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  /// Binds the port. Throws std::system_error with a text that names the address.
  void listen();
  [[nodiscard]] std::uint16_t port() const noexcept;       ///< after listen()
  [[nodiscard]] std::uint16_t grpc_port() const noexcept;  ///< likewise; 0 if there is none

  /// For connections to come, when the files have been renewed. Not null, and only if there was one before.
  void set_tls(std::shared_ptr<const TlsContext> tls);

  void start();  ///< starts the I/O threads
  void stop_accepting();
  /// No new connections, the next answer of each is its last, idle ones are closed. Waits until
  /// nothing is left to answer; false if the time is up before.
  [[nodiscard]] bool drain(std::chrono::milliseconds at_most);
  /// Ends everything now. Unanswered requests are abandoned. Waits for `after_poll` to return, and for
  /// those who assist.
  void stop();

  /// Waits until every handler that runs now has returned, so that none has in hand what was taken from
  /// its reach before, and has the I/O threads call `after_poll`. `kept` lives until then, also if the time is
  /// up first: then false.
  [[nodiscard]] bool await_handlers(std::shared_ptr<const void> kept, std::chrono::milliseconds at_most);

  [[nodiscard]] std::size_t loops() const noexcept;
  [[nodiscard]] std::size_t connections() const noexcept;  ///< open now
  [[nodiscard]] const Gate& gate() const noexcept;         ///< what has been answered
  /// Reads and works for a loop in place of its thread while that is busy in `after_poll`. Returns
  /// when its thread is back or the time is up; false if the thread was at its loop all along, or the server is
  /// stopped.
  bool assist(std::size_t loop, std::chrono::milliseconds at_most);
  /// Makes the loop's thread call `after_poll` soon.
  void wake(std::size_t loop);

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace penstock::http
