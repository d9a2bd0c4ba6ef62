#include <http/reply.hpp>

#include <utility>

#include <http/peer.hpp>

namespace penstock::http {

Reply::Reply() noexcept = default;
Reply::Reply(Ref<Peer> peer, std::uint64_t number) noexcept : peer_(std::move(peer)), number_(number) {}
Reply::Reply(Reply&& other) noexcept = default;

Reply& Reply::operator=(Reply&& other) noexcept {
  Reply dropped(std::move(*this));
  peer_ = std::move(other.peer_);
  number_ = other.number_;
  return *this;
}

Reply::~Reply() {
  if (peer_) send(error_response(500, "the request was dropped without an answer"));
}

void Reply::send(Response&& response) {
  const Ref<Peer> peer = std::move(peer_);
  if (peer) peer->send(number_, std::move(response));
}

void Reply::open(Response&& head) {
  if (peer_) peer_->open(number_, std::move(head));
}

void Reply::write(std::string_view part, bool last) {
  if (!peer_) return;
  peer_->write(number_, part, last);
  if (last) peer_ = {};
}

void Reply::cut() {
  const Ref<Peer> peer = std::move(peer_);
  if (peer) peer->cut(number_);
}

bool Reply::has_room(std::function<void()> then) { return !peer_ || peer_->has_room(number_, std::move(then)); }

bool Reply::abandoned() const noexcept { return peer_ && peer_->abandoned(number_); }

void Reply::on_abandoned(std::function<void()> callback) {
  if (peer_) peer_->on_abandoned(number_, std::move(callback));
}

}  // namespace penstock::http
