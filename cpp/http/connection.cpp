#include <http/connection.hpp>

#include <algorithm>
#include <cerrno>
#include <new>
#include <utility>

#include <boost/asio/error.hpp>
#include <boost/asio/post.hpp>

#include <http/loop.hpp>
#include <http2/connection.hpp>

namespace penstock::http {
namespace {

namespace asio = boost::asio;

constexpr std::size_t kReadSize = 8 * 1024;      ///< bytes of a head or of chunks to read at once
constexpr std::size_t kBodyStep = 256 * 1024;    ///< bytes of a body to make room for at once
constexpr std::size_t kBodyPadding = 128;        ///< what simdjson reads behind a text, and room to align tensors
constexpr std::size_t kDiscarded = 1024 * 1024;  ///< bytes to throw away before a client is cut off
constexpr std::size_t kKeptBuffer = 64 * 1024;   ///< memory an idle connection may keep

Response unavailable(std::string_view text) {
  Response response = error_response(503, text);
  response.headers.emplace_back("Retry-After", "1");
  return response;
}

}  // namespace

Connection::Connection(Loop& loop, Socket&& socket, Ssl&& ssl, bool crowded)
    : Outbox(loop.shared().gate, loop.shared().draining, Transport(socket.native_handle(), std::move(ssl)),
             loop.shared().limits.pipelined),
      loop_(loop), crowded_(crowded), socket_(std::move(socket)) {}

void Connection::start() {
  boost::system::error_code ignored;  // a connection that cannot do it works as well
  socket_->set_option(asio::ip::tcp::no_delay(true), ignored);
  if (loop_.shared().draining) leave_by_ = Clock::now() + loop_.shared().limits.drain_grace;  // its handshake was late
  if (crowded_)
    turn_away();
  else
    read();
}

void Connection::turn_away() {
  phase_ = Phase::kDiscard;
  if (const auto number = expect_answer({.keep_alive = false})) send(*number, unavailable("too many connections"));
  read();
}

std::string_view Connection::unread() const noexcept {
  return {static_cast<const char*>(buffer_.data().data()), buffer_.size()};
}

void Connection::read() {
  if (!socket_ || reading_ || ended_) return;
  reading_ = true;
  if (encrypted()) return await_bytes();
  socket_->async_read_some(make_room(),
                           [self = Ref<Connection>(this)](const boost::system::error_code& error, std::size_t size) {
                             self->on_read(error, size);
                           });
}

/// Where the next bytes go.
asio::mutable_buffer Connection::make_room() {
  if (phase_ == Phase::kBody) {
    std::string& body = request_.body;
    const std::size_t step = std::min(parser_->body_length() - received_, kBodyStep);
    body.resize(received_ + step);
    return asio::buffer(body.data() + received_, step);
  }
  if (buffer_.size() == 0 && buffer_.capacity() > kKeptBuffer) buffer_ = {};
  return buffer_.prepare(kReadSize);
}

/// What is encrypted is read by us, when there is something.
void Connection::await_bytes() {
  auto handler = [self = Ref<Connection>(this)](const boost::system::error_code& error = {}) {
    if (!error) self->on_readable();
  };
  if (holds_bytes())
    asio::post(loop_.context(), std::move(handler));
  else
    socket_->async_wait(Socket::wait_read, std::move(handler));
}

void Connection::on_readable() {
  if (!socket_) return;
  const asio::mutable_buffer room = make_room();
  const ssize_t size = receive(static_cast<char*>(room.data()), room.size());
  if (size < 0 && errno == EAGAIN) return await_bytes();
  if (size > 0) return on_read({}, static_cast<std::size_t>(size));
  if (size == 0) return on_read(asio::error::eof, 0);
  on_read(asio::error::connection_reset, 0);
}

void Connection::on_read(const boost::system::error_code& error, std::size_t size) {
  reading_ = false;
  if (!socket_) return;
  if (error == asio::error::eof) return on_end();
  if (error) return close();
  if (phase_ == Phase::kDiscard) {
    buffer_.clear();
    received_ += size;
    if (received_ > kDiscarded) {
      close();
    } else {
      read();
    }
    return;
  }
  if (phase_ == Phase::kBody) {
    received_ += size;
  } else {
    buffer_.commit(size);
  }
  try {
    consume();
  } catch (const std::bad_alloc&) {  // this client asks for more than there is; the others go on
    close();
  }
}

/// The client may have closed its sending side alone, and wait for what it has asked.
void Connection::on_end() {
  ended_ = true;
  if (waiting_ && phase_ != Phase::kDiscard) refuse({400, "the request ended before it was complete"});
  expect_no_more();
  if (state().unanswered == 0) return close();
  // Also once the last answer is out, for then both sides have ended.
  socket_->async_wait(Socket::wait_error,
                      [self = Ref<Connection>(this)](const boost::system::error_code&) { self->close(); });
}

void Connection::consume() {
  for (bool more = true; more;) {
    switch (phase_) {
      case Phase::kHead:
        if (buffer_.size() != 0 && full()) return;  // wake() comes back here
        more = read_head();
        break;
      case Phase::kBody:
        more = received_ == parser_->body_length();
        if (more) dispatch();
        break;
      case Phase::kChunks:
        more = read_chunks();
        break;
      case Phase::kDiscard:
        more = false;
        break;
    }
  }
  const bool waits = phase_ == Phase::kHead ? buffer_.size() != 0 : phase_ != Phase::kDiscard;
  if (waits && !waiting_) begun_ = Clock::now();
  waiting_ = waits;
  read();
}

bool Connection::read_head() {
  while (unread().substr(0, 2) == "\r\n") buffer_.consume(2);  // some clients end a body with a line
  const std::string_view text = unread();
  const std::size_t end = text.find("\r\n\r\n", scanned_ < 3 ? 0 : scanned_ - 3);
  if (end == std::string_view::npos) {
    if (const Refusal refusal = check_partial_head(text, scanned_, loop_.shared().limits)) refuse(refusal);
    scanned_ = text.size();
    return false;
  }
  scanned_ = 0;
  if (!std::exchange(used_, true) && text.substr(0, end) == "PRI * HTTP/2.0") {
    change_protocol();
    return false;
  }
  parser_.emplace(loop_.shared().limits);
  if (const Refusal refusal = parser_->parse_head(text.substr(0, end + 4), request_)) {
    refuse(refusal);
    return false;
  }
  buffer_.consume(end + 4);
  if (auto refused = loop_.shared().access.judge(request_)) {
    turn_down(std::move(*refused));
    return false;
  }
  return start_body();
}

/// The client knows that HTTP/2 is spoken here, and begins with it.
void Connection::change_protocol() {
  const auto successor = make_ref<http2::Connection>(loop_, std::move(*socket_), take_ssl());
  socket_.reset();
  abandon();
  loop_.replace(*this, successor);
  successor->start(unread());
}

bool Connection::start_body() {
  waiting_ = false;
  if (parser_->chunked_body()) {
    phase_ = Phase::kChunks;
  } else if (parser_->body_length() == 0) {
    dispatch();
    return true;
  } else {
    phase_ = Phase::kBody;
    request_.body.reserve(parser_->body_length() + kBodyPadding);
    request_.body = unread().substr(0, parser_->body_length());
    received_ = request_.body.size();
    buffer_.consume(received_);
  }
  const bool has_all = phase_ == Phase::kBody && received_ == parser_->body_length();
  if (parser_->expects_continue() && buffer_.size() == 0 && !has_all) send_continue();
  return true;
}

bool Connection::read_chunks() {
  std::size_t used = 0;
  const Refusal refusal = parser_->parse_chunks(unread(), used);
  buffer_.consume(used);
  if (refusal) {
    refuse(refusal);
    return false;
  }
  if (!parser_->chunks_done()) return false;
  dispatch();
  return true;
}

void Connection::dispatch() {
  const Terms terms{parser_->keeps_alive(), parser_->http10(), parser_->head_only(),
                    loop_.shared().access.origin_of(request_)};
  const auto number = expect_answer(terms);
  phase_ = terms.keep_alive && number ? Phase::kHead : Phase::kDiscard;
  received_ = 0;
  waiting_ = false;
  parser_.reset();
  Request request = std::exchange(request_, Request());
  if (!number) return;
  try {
    loop_.shared().application.handle(std::move(request), Reply(Ref<Peer>(this), *number));
  } catch (...) {  // NOLINT(bugprone-empty-catch): the Reply was dropped, and so has answered 500
  }
}

void Connection::turn_down(Response&& response) {
  const bool has_head = parser_ && !request_.method().empty();
  const bool head_only = has_head && parser_->head_only();
  const std::string* origin = has_head ? loop_.shared().access.origin_of(request_) : nullptr;
  phase_ = Phase::kDiscard;  // a read may still be going on, so the buffers stay as they are
  received_ = 0;
  waiting_ = false;
  const auto number = expect_answer({.keep_alive = false, .http10 = false, .head_only = head_only, .origin = origin});
  if (number) send(*number, std::move(response));
}

bool Connection::is_late(Clock::time_point now) const {
  const Limits& limits = loop_.shared().limits;
  const auto waited = now - begun_;
  if (phase_ == Phase::kHead) return waited > limits.header_timeout;
  if (waited <= limits.body_timeout) return false;
  const auto received = phase_ == Phase::kBody ? received_ : request_.body.size();
  return static_cast<double>(received) <
         static_cast<double>(limits.body_rate) * std::chrono::duration<double>(waited).count();
}

void Connection::tick(Clock::time_point now) {
  const Limits& limits = loop_.shared().limits;
  const State current = state();
  if (current.finished) {
    if (now - current.since > limits.linger_timeout) close();
  } else if (current.writing) {
    if (now - current.since > limits.idle_timeout) close();
  } else if (waiting_) {
    if (now > leave_by_)
      turn_down(unavailable("the server is closing"));
    else if (is_late(now))
      refuse({408, "the request took too long to arrive"});
  } else if (current.unanswered == 0 && (now - current.since > limits.idle_timeout || now > leave_by_)) {
    close();
  }
}

void Connection::close_if_idle() {
  leave_by_ = Clock::now() + loop_.shared().limits.drain_grace;
  const State current = state();
  if (current.unanswered == 0 && !current.finished && !waiting_ && phase_ == Phase::kHead) close();
}

void Connection::wake() {
  asio::post(loop_.context(), [self = Ref<Connection>(this)] { self->on_wake(); });
}

void Connection::on_wake() {
  if (!socket_) return;
  if (state().writing && !awaits_room_) {
    awaits_room_ = true;
    socket_->async_wait(Socket::wait_write, [self = Ref<Connection>(this)](const boost::system::error_code& error) {
      self->awaits_room_ = false;
      if (!error) self->write_more();
    });
  }
  if (!reading_) consume();
}

void Connection::close() {
  if (!socket_) return;
  const Ref<Connection> self(this);  // the loop lets go of it
  abandon();
  boost::system::error_code ignored;  // the descriptor is gone in any case
  socket_->close(ignored);
  socket_.reset();
  loop_.remove(*this);
}

}  // namespace penstock::http
