#include <http2/call.hpp>

#include <utility>

#include <http2/session.hpp>

namespace penstock::http2 {

Stream::Stream() noexcept = default;
Stream::Stream(Ref<Session> session, std::int32_t id) noexcept : session_(std::move(session)), id_(id) {}
Stream::Stream(const Stream&) noexcept = default;
Stream::Stream(Stream&&) noexcept = default;
Stream& Stream::operator=(Stream other) noexcept {
  session_.swap(other.session_);
  id_ = other.id_;
  return *this;
}
Stream::~Stream() = default;

void Stream::send(Output&& output) const {
  if (session_) session_->send(id_, std::move(output));
}
void Stream::consumed(std::size_t bytes) const {
  if (session_ && bytes > 0) session_->consume(id_, bytes);
}
bool Stream::has_room(std::function<void()> then) const {
  return !session_ || session_->has_room(static_cast<std::uint64_t>(id_), std::move(then));
}
void Stream::run(std::function<void()> action) const {
  if (session_) session_->run(std::move(action));
}

}  // namespace penstock::http2
