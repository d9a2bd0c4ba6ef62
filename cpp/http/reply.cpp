#include <http/reply.hpp>

#include <utility>

#include <http/outbox.hpp>

namespace penstock::http {

Reply::Reply() noexcept = default;
Reply::Reply(Ref<Outbox> outbox, std::uint64_t number) noexcept : outbox_(std::move(outbox)), number_(number) {}
Reply::Reply(Reply&& other) noexcept = default;

Reply& Reply::operator=(Reply&& other) noexcept {
  Reply dropped(std::move(*this));
  outbox_ = std::move(other.outbox_);
  number_ = other.number_;
  return *this;
}

Reply::~Reply() {
  if (outbox_) send(error_response(500, "the request was dropped without an answer"));
}

void Reply::send(Response&& response) {
  const Ref<Outbox> outbox = std::move(outbox_);
  if (outbox) outbox->send(number_, std::move(response));
}

bool Reply::abandoned() const noexcept { return outbox_ && outbox_->abandoned(); }

void Reply::on_abandoned(std::function<void()> callback) {
  if (outbox_) outbox_->on_abandoned(number_, std::move(callback));
}

}  // namespace penstock::http
