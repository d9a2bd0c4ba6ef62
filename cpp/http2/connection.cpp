#include <http2/connection.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <memory>
#include <new>
#include <optional>
#include <utility>

#include <boost/asio/post.hpp>

#include <http/loop.hpp>
#include <http2/request.hpp>

namespace penstock::http2 {
namespace {

namespace asio = boost::asio;

constexpr std::size_t kReadSize = 256 * 1024;
constexpr int kReadsInTurn = 4;  ///< before other connections are looked at
constexpr int kCancelled = 1;    ///< of gRPC's codes: the client has given up

}  // namespace

Connection::Connection(http::Loop& loop, http::Socket&& socket, http::Ssl&& ssl)
    : Session(loop.shared().gate, loop.shared().limits, http::Transport(socket.native_handle(), std::move(ssl))),
      loop_(loop), socket_(std::move(socket)), begun_(Clock::now()), heard_(begun_) {}

void Connection::start() {
  boost::system::error_code ignored;  // a connection that cannot do it works as well
  socket_->set_option(asio::ip::tcp::no_delay(true), ignored);
  flush();
  if (loop_.shared().draining) close_if_idle();
  await_bytes();
}

void Connection::start(std::string_view bytes) {
  flush();
  if (loop_.shared().draining) close_if_idle();
  take(bytes);
  await_bytes();
}

void Connection::await_bytes() {
  if (!socket_) return;
  auto handler = [self = Ref<Connection>(this)](const boost::system::error_code& error = {}) {
    if (!error) self->on_readable();
  };
  if (holds_bytes())
    asio::post(loop_.context(), std::move(handler));
  else
    socket_->async_wait(http::Socket::wait_read, std::move(handler));
}

void Connection::on_readable() {
  // One a thread, not one a connection: an idle connection keeps no memory for what may come.
  thread_local const std::unique_ptr<char[]> buffer(new char[kReadSize]);
  for (int i = 0; i < kReadsInTurn && socket_; ++i) {
    const ssize_t size = read(buffer.get(), kReadSize);
    if (size < 0 && errno == EINTR) continue;
    if (size < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) break;
    if (size <= 0) return close();
    try {
      take({buffer.get(), static_cast<std::size_t>(size)});
    } catch (const std::bad_alloc&) {  // this client asks for more than there is; the others go on
      return close();
    }
    if (static_cast<std::size_t>(size) < kReadSize) break;
  }
  await_bytes();
}

void Connection::take(std::string_view bytes) {
  heard_ = Clock::now();
  asked_ = false;
  std::vector<Incoming> incoming;
  const bool sound = receive(bytes, incoming);
  {
    const Cork cork;
    dispatch(incoming);
  }
  flush();  // what the protocol itself has to say
  if (!sound) close();
}

void Connection::dispatch(std::vector<Incoming>& incoming) {
  for (Incoming& item : incoming) {
    StreamState& stream = *item.stream;
    switch (item.kind) {
      case Incoming::Kind::kOpen:
        open(item.stream);
        break;
      case Incoming::Kind::kData:
        consume(stream.id, stream.call ? stream.call->take(item.bytes) : item.bytes.size());
        break;
      case Incoming::Kind::kEnd:
        if (stream.call) stream.call->end();
        break;
      case Incoming::Kind::kLost:
        lose(stream);
        break;
    }
  }
}

void Connection::open(const Ref<StreamState>& stream) {
  http::Shared& shared = loop_.shared();
  http::Request request;
  http::Refusal refusal{431, "the headers are too large"};
  if (!stream->oversized)
    refusal = parse_head({stream->method, stream->path, stream->authority, stream->fields}, shared.limits, request);
  const bool is_call = stream->is_call;
  const auto number = static_cast<std::uint64_t>(stream->id);
  if (!refusal && is_call && shared.calls == nullptr) refusal = {415, "this server takes no gRPC calls"};
  std::optional<http::Response> refused;
  if (refusal) {
    refused = http::error_response(refusal.status, refusal.text);
  } else {
    refused = shared.access.judge(request);
    stream->origin = shared.access.origin_of(request);
  }
  if (is_call && shared.calls != nullptr) {
    const Stream answers(Ref<Session>(this), stream->id);
    if (refused)
      shared.calls->refuse(*refused, answers);
    else
      stream->call = shared.calls->open(std::move(request), answers);
  } else if (refused) {
    Session::send(number, std::move(*refused));
  } else {
    stream->call = make_request_call(shared.application, shared.limits, std::move(request),
                                     http::Reply(Ref<http::Peer>(this), number));
  }
  if (draining_ && stream->call) stream->call->drain();
}

void Connection::lose(StreamState& stream) const {
  if (stream.call && stream.is_call && !stream.last) loop_.shared().gate.called(kCancelled);
  if (stream.call) stream.call->abandon();
  stream.call.reset();
  if (const auto action = std::exchange(stream.on_abandoned, nullptr)) action();
}

void Connection::dispatch_lost() {
  std::vector<Incoming> lost;
  take_lost(lost);
  dispatch(lost);
}

void Connection::tick(Clock::time_point now) {
  const http::Limits& limits = loop_.shared().limits;
  const State current = state(now, now > leave_by_);
  const auto silent = now - heard_;
  if (current.finished) {
    if (now - current.since > limits.linger_timeout) close();
    return;
  }
  if ((current.writing && now - current.since > limits.idle_timeout) || current.head_late ||
      (!current.greeted && now - begun_ > limits.header_timeout) || (asked_ && now - pinged_ > limits.idle_timeout))
    return close();
  if (!asked_ && silent > limits.idle_timeout) {
    asked_ = true;
    pinged_ = now;
    ping();
  }
  for (const Ref<StreamState>& stream : streams())
    if (stream->call) stream->call->tick(now);
  end_answered(now);
  if (draining_) go_away(true);  // at the next tick: the answer to the notice may never come
}

void Connection::close_if_idle() {
  if (std::exchange(draining_, true)) return;
  leave_by_ = Clock::now() + loop_.shared().limits.drain_grace;
  go_away(false);
  for (const Ref<StreamState>& stream : streams())
    if (stream->call) stream->call->drain();
}

void Connection::run(std::function<void()>&& action) {
  asio::post(loop_.context(), [self = Ref<Connection>(this), made = std::move(action)] {
    if (self->socket_) made();
  });
}

void Connection::wake() {
  asio::post(loop_.context(), [self = Ref<Connection>(this)] { self->on_wake(); });
}

void Connection::on_wake() {
  if (!socket_) return;
  dispatch_lost();
  if (!state(Clock::now(), false).writing || awaits_room_) return;
  awaits_room_ = true;
  socket_->async_wait(http::Socket::wait_write, [self = Ref<Connection>(this)](const boost::system::error_code& error) {
    self->awaits_room_ = false;
    if (!error && self->socket_) self->write_more();
  });
}

void Connection::close() {
  if (!socket_) return;
  const Ref<Connection> self(this);  // the loop lets go of it
  for (const Ref<StreamState>& stream : abandon()) lose(*stream);
  boost::system::error_code ignored;  // the descriptor is gone in any case
  socket_->close(ignored);
  socket_.reset();
  loop_.remove(*this);
}

}  // namespace penstock::http2
