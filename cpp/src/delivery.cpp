#include <penstock/delivery.hpp>

namespace penstock {

void Deliveries::wait(std::size_t low, Duration timeout, std::size_t failures) {
  std::unique_lock lock(mutex_);
  low_.store(low);
  wanted_ = failures;
  waiting_.store(true);  // before the look, as `ended` looks the other way round
  changed_.wait_for(lock, timeout, [&] { return woken_ || failed_.size() >= failures || in_flight_.load() <= low; });
  waiting_.store(false);
  woken_ = false;
}

void Deliveries::wake() {
  const std::lock_guard lock(mutex_);
  woken_ = true;
  changed_.notify_all();
}

std::vector<Deliveries::Failed> Deliveries::take_failed() {
  const std::lock_guard lock(mutex_);
  return std::exchange(failed_, {});
}

void Deliveries::ended(std::size_t bytes) {
  bytes_.fetch_sub(bytes);
  const std::size_t left = in_flight_.fetch_sub(1) - 1;
  if (!waiting_.load() || left > low_.load()) return;
  const std::lock_guard lock(mutex_);
  changed_.notify_all();
}

void Deliveries::failed(Failed&& failed) {
  const std::lock_guard lock(mutex_);
  failed_.push_back(std::move(failed));
  if (failed_.size() >= wanted_) changed_.notify_all();
}

// One that was never admitted has no event that could end.
Delivery::~Delivery() {
  if (!ended_) leave_place();
}

void Delivery::on_failed(const Failure& failure) {
  if (!told_.exchange(true)) failure_ = std::make_unique<Failure>(failure);
}

void Delivery::on_ended(Outcome outcome) {
  ended_ = true;
  if (outcome == Outcome::kFailed)
    deliveries_->failed({offsets_, delivery_, std::move(origin_), failure_ ? std::move(*failure_) : Failure{}});
  else
    offsets_->settle(delivery_);
  leave_place();
}

void Delivery::leave_place() { deliveries_->ended(bytes); }

}  // namespace penstock
