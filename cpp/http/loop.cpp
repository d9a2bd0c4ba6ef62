#include <http/loop.hpp>

#include <algorithm>
#include <utility>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>

#include <http/connection.hpp>
#include <http/handshake.hpp>
#include <http2/connection.hpp>

namespace penstock::http {
namespace {

namespace asio = boost::asio;
using std::chrono::milliseconds;

constexpr std::size_t kTurnedAway = 64;  ///< connections above the limit that still get their 503

/// Once a second is fine enough for the timeouts as they are by default.
milliseconds tick_period(const Limits& limits) {
  const milliseconds shortest = std::min(
      {limits.header_timeout, limits.body_timeout, limits.idle_timeout, limits.linger_timeout, limits.drain_grace});
  return std::clamp(shortest / 4, milliseconds(5), milliseconds(1000));
}

}  // namespace

Loop::Loop(std::size_t index, Shared& shared)
    : index_(index), shared_(shared), timer_(context_), period_(tick_period(shared.limits)) {
  await_tick();
}

Loop::~Loop() { close_all(); }

void Loop::run() {
  shared_.application.thread_started(index_);
  while (!context_.stopped()) {
    {
      owner_wants_back_.store(true);
      std::unique_lock polling(polling_, std::try_to_lock);
      if (!polling) {
        wake();  // an assistant waits for sockets in our place
        polling.lock();
      }
      owner_wants_back_.store(false);
      context_.run_one();
      if (connections_.size() > 1) context_.poll();  // what others have sent is read first, so that batches form
    }
    if (!context_.stopped()) shared_.application.after_poll(index_);
  }
  shared_.application.thread_ending(index_);
}

bool Loop::assist(milliseconds at_most) {
  {
    const std::lock_guard lock(assisting_);
    if (stopped_) return false;
    ++assistants_;
  }
  const bool assisted = assist_until(std::chrono::steady_clock::now() + at_most);
  // Notified under the mutex: the server may go as soon as the last assistant has left.
  const std::lock_guard lock(assisting_);
  if (--assistants_ == 0) assistant_left_.notify_all();
  return assisted;
}

void Loop::await_assistants() {
  std::unique_lock lock(assisting_);
  assistant_left_.wait(lock, [this] { return assistants_ == 0; });
}

bool Loop::assist_until(std::chrono::steady_clock::time_point until) {
  bool assisted = false;
  for (;;) {
    std::unique_lock polling(polling_, std::try_to_lock);
    if (!polling) return assisted;
    assisted = true;
    std::size_t handled = 0;
    while (handled == 0 && !owner_wants_back_.load() && !context_.stopped()) {
      if (std::chrono::steady_clock::now() >= until) return true;
      handled = context_.run_one_until(until);
    }
    handled += context_.poll();
    const bool leave = owner_wants_back_.load() || context_.stopped();
    polling.unlock();
    if (handled > 0 && !context_.stopped()) shared_.application.after_poll(index_);
    if (leave) return true;
  }
}

void Loop::wake() {
  if (woken_.exchange(true)) return;
  asio::post(context_, [this] { woken_.store(false); });
}

void Loop::stop() {
  {
    const std::lock_guard lock(assisting_);
    stopped_ = true;
  }
  context_.stop();
}

void Loop::adopt(Socket&& socket, Protocol protocol) {
  const std::size_t limit = shared_.limits.connections;
  const std::size_t others = shared_.connections.fetch_add(1);
  const bool crowded = others >= limit;
  // Clients of HTTP/2 try again elsewhere, or later, by themselves.
  const bool told = protocol == Protocol::kHttp1 && others < limit + kTurnedAway;
  if ((crowded && !told) || shared_.draining) {
    shared_.connections.fetch_sub(1);
    return;  // closes it
  }
  if (const auto tls = shared_.tls()) {
    Ssl ssl = tls->connect(socket.native_handle(), protocol);
    add(make_ref<Handshake>(*this, std::move(socket), std::move(ssl), protocol, crowded))->start();
  } else {
    add(make_peer(std::move(socket), {}, protocol, crowded))->start();
  }
}

Ref<Peer> Loop::make_peer(Socket&& socket, Ssl&& ssl, Protocol protocol, bool crowded) {
  if (protocol == Protocol::kHttp2) return make_ref<http2::Connection>(*this, std::move(socket), std::move(ssl));
  return make_ref<Connection>(*this, std::move(socket), std::move(ssl), crowded);
}

Ref<Peer> Loop::add(Ref<Peer> peer) {
  peer->set_index(connections_.size());
  connections_.push_back(peer);
  return peer;
}

void Loop::replace(Peer& peer, Ref<Peer> successor) {
  successor->set_index(peer.index());
  connections_[peer.index()] = std::move(successor);
}

void Loop::remove(Peer& peer) {
  const std::size_t index = peer.index();
  if (index + 1 != connections_.size()) {
    connections_.back()->set_index(index);
    connections_[index].swap(connections_.back());
  }
  connections_.pop_back();
  shared_.connections.fetch_sub(1);
}

void Loop::close_idle() {
  for (std::size_t i = connections_.size(); i > 0; --i) connections_[i - 1]->close_if_idle();
}

void Loop::close_all() {
  while (!connections_.empty()) connections_.back()->close();
}

void Loop::await_tick() {
  timer_.expires_after(period_);
  timer_.async_wait([this](const boost::system::error_code& error) {
    if (error) return;
    tick();
    await_tick();
  });
}

void Loop::tick() {
  const auto now = std::chrono::steady_clock::now();
  // a closed connection is replaced by the last one, which has had its turn
  for (std::size_t i = connections_.size(); i > 0; --i) connections_[i - 1]->tick(now);
  if (on_tick_) on_tick_();
}

}  // namespace penstock::http
