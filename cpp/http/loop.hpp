#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>

#include <penstock/ref.hpp>

#include <http/access.hpp>
#include <http/application.hpp>
#include <http/gate.hpp>
#include <http/limits.hpp>
#include <http/peer.hpp>
#include <http/socket.hpp>
#include <http/tls.hpp>

namespace penstock::http2 {
class Calls;
}

namespace penstock::http {

/// What all loops of a server have in common.
struct Shared {
  Shared(Application& answerer, const Limits& given, Access admitted, http2::Calls* taker,
         std::shared_ptr<const TlsContext> secret)
      : application(answerer), calls(taker), limits(given), access(std::move(admitted)), tls_(std::move(secret)) {}

  Application& application;
  http2::Calls* const calls;  ///< takes gRPC calls; may be null
  const Limits limits;
  const Access access;
  Gate gate;
  std::atomic<bool> draining{false};
  std::atomic<std::size_t> connections{0};  ///< sockets that are open, also those that only linger

  /// What connections to come show their clients; null if they are not encrypted. Any thread.
  std::shared_ptr<const TlsContext> tls() {
    const std::lock_guard lock(mutex_);
    return tls_;
  }
  void set_tls(std::shared_ptr<const TlsContext> tls) {
    const std::lock_guard lock(mutex_);
    tls_.swap(tls);
  }

 private:
  std::mutex mutex_;  ///< a leaf; guards the next
  std::shared_ptr<const TlsContext> tls_;
};

/// One I/O thread's sockets. The thread that calls `run` owns the loop; while it works outside the
/// poll, another may `assist`. Whoever polls holds `polling_`, so handlers never run side by side.
class Loop {
 public:
  Loop(std::size_t index, Shared& shared);
  ~Loop();
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;

  /// Polls and works until `stop`. One thread.
  void run();
  /// Any thread but the owner: see Server::assist. Does nothing once the loop is stopped.
  bool assist(std::chrono::milliseconds at_most);
  /// Makes the owner work once more. Any thread.
  void wake();
  void stop();  ///< any thread
  /// Waits until no other thread assists; after `stop`, none does ever again.
  void await_assistants();

  /// The following belong to whoever polls, or to anybody while nobody runs the loop.
  void adopt(Socket&& socket, Protocol protocol);
  /// A connection over a socket that this loop has taken.
  Ref<Peer> make_peer(Socket&& socket, Ssl&& ssl, Protocol protocol, bool crowded);
  void remove(Peer& peer);
  /// Puts a connection of another protocol, which has taken over the socket, in the place of one.
  void replace(Peer& peer, Ref<Peer> successor);
  void close_idle();
  void close_all();
  /// Called with every tick of the timer, for what else has to be looked after.
  void set_on_tick(std::function<void()> callback) { on_tick_ = std::move(callback); }

  Shared& shared() noexcept { return shared_; }
  boost::asio::io_context& context() noexcept { return context_; }

 private:
  Ref<Peer> add(Ref<Peer> peer);
  bool assist_until(std::chrono::steady_clock::time_point until);
  void await_tick();
  void tick();

  const std::size_t index_;
  Shared& shared_;
  boost::asio::io_context context_{1};  // one thread at a time: Asio never wakes a second
  boost::asio::steady_timer timer_;
  const std::chrono::milliseconds period_;
  std::vector<Ref<Peer>> connections_;
  std::function<void()> on_tick_;
  std::mutex polling_;
  std::atomic<bool> owner_wants_back_{false};
  std::atomic<bool> woken_{false};  ///< a wake has been posted and not seen yet
  std::mutex assisting_;            ///< a leaf; guards the next three
  std::condition_variable assistant_left_;
  std::size_t assistants_ = 0;
  bool stopped_ = false;
};

}  // namespace penstock::http
