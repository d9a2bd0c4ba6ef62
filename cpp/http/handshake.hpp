#pragma once

#include <optional>

#include <http/peer.hpp>
#include <http/socket.hpp>
#include <http/transport.hpp>

namespace penstock::http {

class Loop;

/// A connection that is not yet private: once it is, one of the protocol that the client chose takes its place in the
/// loop. It has the time of a request's head for it. Used only by the thread that polls its loop.
class Handshake final : public Peer {
 public:
  Handshake(Loop& loop, Socket&& socket, Ssl&& ssl, Protocol protocol, bool crowded);

  void start() override;
  void tick(Clock::time_point now) override;
  void close_if_idle() override { close(); }
  void close() override;

  // Nothing has been asked.
  void send(std::uint64_t /*number*/, Response&& /*response*/) override {}
  [[nodiscard]] bool abandoned(std::uint64_t /*number*/) noexcept override { return true; }
  void on_abandoned(std::uint64_t /*number*/, std::function<void()>&& callback) override { callback(); }

 private:
  void step();
  void await(Socket::wait_type what);
  void succeed();
  void fail(std::string_view last_words);
  void discard();

  Loop& loop_;
  std::optional<Socket> socket_;  ///< gone once closed or passed on
  Transport transport_;
  const Protocol protocol_;
  const bool crowded_;  ///< the server has connections enough, and will say so
  bool failed_ = false;
  std::size_t discarded_ = 0;
  Clock::time_point since_;  ///< when it began, or failed
};

}  // namespace penstock::http
