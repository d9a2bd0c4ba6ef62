#include <penstock/channel.hpp>

#include <algorithm>
#include <iterator>
#include <unordered_set>
#include <utility>

namespace penstock {

Channel::Channel(Policy policy)
    : policy_(std::move(policy)),
      batches_(policy_.batch.size > 1 ? std::make_unique<BatchQueue>(policy_.batch, policy_.concurrency) : nullptr) {}

Channel::Push Channel::push(Event&& event, TimePoint now, const Fit& fit) {
  const std::lock_guard lock(mutex_);
  if (closed_) return {Pushed::kClosed, {}};
  if (batches_ == nullptr) {
    inbox_.push_back(std::move(event));
  } else if (const auto until = batches_->push(std::move(event), fit, now)) {
    return {Pushed::kLate, *until};
  }
  pending_.fetch_add(1);
  return {Pushed::kTaken, {}, under_way_ < policy_.concurrency};
}

Channel::Push Channel::push(std::span<Event> events) {
  const std::lock_guard lock(mutex_);
  if (closed_) return {Pushed::kClosed, {}};
  inbox_.insert(inbox_.end(), std::make_move_iterator(events.begin()), std::make_move_iterator(events.end()));
  pending_.fetch_add(events.size());
  return {Pushed::kTaken, {}, under_way_ < policy_.concurrency};
}

bool Channel::claim(TimePoint now) {
  const std::lock_guard lock(mutex_);
  if (under_way_ >= policy_.concurrency) return false;
  // What a claimed batch leaves shows only when it is taken.
  if (batches_ != nullptr ? claimed_ > 0 || !batches_->ready(now) : inbox_.size() <= claimed_) return false;
  if (policy_.by_key && !key_ready()) return false;
  ++under_way_;
  ++claimed_;
  return true;
}

/// More events than have been claimed could start now: each has no key, or one that is not busy.
bool Channel::key_ready() const {
  std::unordered_set<std::uint64_t> seen;
  std::size_t free = 0;
  for (const Event& event : inbox_) {
    const std::uint64_t key = event.key();
    if (is_free(key) && (key == 0 || seen.insert(key).second) && ++free > claimed_) return true;
  }
  return false;
}

BatchQueue::Taken Channel::take(Batch& into, Batch& late, std::size_t burst, TimePoint now) {
  const std::lock_guard lock(mutex_);
  --claimed_;
  if (batches_ != nullptr) return batches_->take(into, late, now);
  if (policy_.by_key) {
    const auto first =
        std::find_if(inbox_.begin(), inbox_.end(), [&](const Event& event) { return is_free(event.key()); });
    if (first == inbox_.end()) return {};  // closed since it was claimed
    if (first->key() != 0) ++busy_keys_[first->key()];
    into.push_back(std::move(*first));
    inbox_.erase(first);
    return {};
  }
  const std::size_t count = std::min(inbox_.size(), burst);
  into.reserve(count);
  for (std::size_t i = 0; i < count; ++i) {
    into.push_back(std::move(inbox_.front()));
    inbox_.pop_front();
  }
  return {};
}

bool Channel::put_back(std::span<Event> events) {
  const std::lock_guard lock(mutex_);
  if (closed_) return false;
  inbox_.insert(inbox_.begin(), std::make_move_iterator(events.begin()), std::make_move_iterator(events.end()));
  return true;
}

void Channel::adopt(std::uint64_t key) {
  const std::lock_guard lock(mutex_);
  if (policy_.by_key && key != 0) ++busy_keys_[key];
  ++under_way_;
  pending_.fetch_add(1);
}

void Channel::handled(const BatchQueue::Taken& batch, TimePoint now) {
  if (batches_ == nullptr) return;
  const std::lock_guard lock(mutex_);
  batches_->ended(batch, now);
}

bool Channel::end(std::size_t events, std::uint64_t key) {
  const std::lock_guard lock(mutex_);
  if (const auto busy = busy_keys_.find(key); busy != busy_keys_.end() && --busy->second == 0) busy_keys_.erase(busy);
  --under_way_;
  const std::size_t before = pending_.fetch_sub(events);
  return before >= policy_.capacity && before - events < policy_.capacity;
}

void Channel::hurry() {
  if (batches_ == nullptr) return;
  const std::lock_guard lock(mutex_);
  batches_->hurry();
}

std::deque<Event> Channel::close() {
  const std::lock_guard lock(mutex_);
  closed_ = true;
  std::deque<Event> left = batches_ != nullptr ? batches_->clear() : std::exchange(inbox_, {});
  pending_.fetch_sub(left.size());
  return left;
}

std::optional<TimePoint> Channel::due(TimePoint now) const {
  const std::lock_guard lock(mutex_);
  return batches_ != nullptr ? batches_->due(now) : std::nullopt;
}

std::size_t Channel::waiting() const {
  const std::lock_guard lock(mutex_);
  return batches_ != nullptr ? batches_->size() : inbox_.size();
}

std::size_t Channel::running() const {
  const std::lock_guard lock(mutex_);
  return under_way_ - claimed_;
}

const void* Channel::next_owner() const {
  const std::lock_guard lock(mutex_);
  const Event* next = batches_ != nullptr ? batches_->next() : inbox_.empty() ? nullptr : &inbox_.front();
  return next == nullptr || !next->awaited() ? nullptr : next->completion();
}

}  // namespace penstock
