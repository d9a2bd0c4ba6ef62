#include <http/handshake.hpp>

#include <array>
#include <cerrno>
#include <string>
#include <string_view>
#include <utility>

#include <sys/socket.h>

#include <http/loop.hpp>

namespace penstock::http {
namespace {

constexpr std::size_t kDiscarded = 256 * 1024;  ///< bytes to throw away before a client is cut off

/// For those who took the port for one without TLS.
std::string plain_words() {
  Response response = error_response(400, "this port speaks TLS: ask with https://");
  std::string text;
  append_head(text, response, {.http10 = false, .close = true, .chunked = false});
  return text.append(response.body.bytes());
}

}  // namespace

Handshake::Handshake(Loop& loop, Socket&& socket, Ssl&& ssl, Protocol protocol, bool crowded)
    : loop_(loop), socket_(std::move(socket)), transport_(socket_->native_handle(), std::move(ssl)),
      protocol_(protocol), crowded_(crowded), since_(Clock::now()) {}

void Handshake::start() { step(); }

void Handshake::await(Socket::wait_type what) {
  socket_->async_wait(what, [self = Ref<Handshake>(this)](const boost::system::error_code& error) {
    if (error || !self->socket_) return;
    if (self->failed_)
      self->discard();
    else
      self->step();
  });
}

void Handshake::step() {
  switch (transport_.shake_hands()) {
    case Transport::Handshake::kWantsRead:
      return await(Socket::wait_read);
    case Transport::Handshake::kWantsWrite:
      return await(Socket::wait_write);
    case Transport::Handshake::kDone:
      return succeed();
    case Transport::Handshake::kPlain:
      return fail(protocol_ == Protocol::kHttp1 ? plain_words() : "");
    case Transport::Handshake::kFailed:
      return fail("");
  }
}

void Handshake::succeed() {
  const Protocol chosen = transport_.chose_http2() ? Protocol::kHttp2 : protocol_;
  if (crowded_ && chosen == Protocol::kHttp2) return close();  // as without TLS
  const Ref<Peer> successor = loop_.make_peer(std::move(*socket_), transport_.release(), chosen, crowded_);
  socket_.reset();
  loop_.replace(*this, successor);
  successor->start();
}

/// TLS has said why by itself. A close with bytes unread would take that away from the client, so they are read.
void Handshake::fail(std::string_view last_words) {
  failed_ = true;
  since_ = Clock::now();
  ::send(socket_->native_handle(), last_words.data(), last_words.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  ::shutdown(socket_->native_handle(), SHUT_WR);
  discard();
}

void Handshake::discard() {
  thread_local std::array<char, 16 * 1024> buffer;
  const ssize_t size = ::recv(socket_->native_handle(), buffer.data(), buffer.size(), MSG_DONTWAIT);
  const bool waits = size < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR);
  if (size > 0) discarded_ += static_cast<std::size_t>(size);
  if ((size <= 0 && !waits) || discarded_ > kDiscarded) return close();
  await(Socket::wait_read);
}

void Handshake::tick(Clock::time_point now) {
  const Limits& limits = loop_.shared().limits;
  if (now - since_ > (failed_ ? limits.linger_timeout : limits.header_timeout)) close();
}

void Handshake::close() {
  if (!socket_) return;
  const Ref<Handshake> self(this);    // the loop lets go of it
  boost::system::error_code ignored;  // the descriptor is gone in any case
  socket_->close(ignored);
  socket_.reset();
  loop_.remove(*this);
}

}  // namespace penstock::http
