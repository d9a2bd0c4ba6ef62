#include <penstock/channel.hpp>

#include <algorithm>
#include <unordered_set>
#include <utility>

namespace penstock {

bool Channel::push(Event&& event, TimePoint now) {
  event.queued = now;
  const std::lock_guard lock(mutex_);
  if (closed_) return false;
  inbox_.push_back(std::move(event));
  pending_.fetch_add(1);
  return true;
}

bool Channel::claim(TimePoint now) {
  const std::lock_guard lock(mutex_);
  if (under_way_ >= policy_.concurrency) return false;
  if (policy_.batch_size > 1 ? !batch_ready(now) : inbox_.size() <= claimed_) return false;
  if (policy_.by_key && !key_ready()) return false;
  ++under_way_;
  ++claimed_;
  return true;
}

bool Channel::batch_ready(TimePoint now) const {
  if (claimed_ > 0 || inbox_.empty()) return false;
  return inbox_.size() >= policy_.batch_size || policy_.delay == Duration::zero() || hurried_ ||
         now - inbox_.front().queued >= policy_.delay;
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

void Channel::take(Batch& into, std::size_t burst) {
  const std::lock_guard lock(mutex_);
  --claimed_;
  if (policy_.by_key) {
    const auto first =
        std::find_if(inbox_.begin(), inbox_.end(), [&](const Event& event) { return is_free(event.key()); });
    if (first == inbox_.end()) return;  // closed since it was claimed
    if (first->key() != 0) ++busy_keys_[first->key()];
    into.push_back(std::move(*first));
    inbox_.erase(first);
    return;
  }
  const std::size_t count = std::min(inbox_.size(), policy_.batch_size > 1 ? policy_.batch_size : burst);
  for (std::size_t i = 0; i < count; ++i) {
    into.push_back(std::move(inbox_.front()));
    inbox_.pop_front();
  }
}

void Channel::adopt(std::uint64_t key) {
  const std::lock_guard lock(mutex_);
  if (policy_.by_key && key != 0) ++busy_keys_[key];
  ++under_way_;
  pending_.fetch_add(1);
}

bool Channel::end(std::size_t events, std::uint64_t key) {
  const std::lock_guard lock(mutex_);
  if (const auto busy = busy_keys_.find(key); busy != busy_keys_.end() && --busy->second == 0) busy_keys_.erase(busy);
  --under_way_;
  const std::size_t before = pending_.fetch_sub(events);
  return before >= policy_.capacity && before - events < policy_.capacity;
}

void Channel::hurry() {
  const std::lock_guard lock(mutex_);
  hurried_ = true;
}

std::deque<Event> Channel::close() {
  const std::lock_guard lock(mutex_);
  closed_ = true;
  pending_.fetch_sub(inbox_.size());
  return std::exchange(inbox_, {});
}

std::optional<TimePoint> Channel::due() const {
  const std::lock_guard lock(mutex_);
  if (policy_.batch_size == 1 || policy_.delay == Duration::zero() || inbox_.empty()) return std::nullopt;
  return inbox_.front().queued + policy_.delay;
}

std::size_t Channel::waiting() const {
  const std::lock_guard lock(mutex_);
  return inbox_.size();
}

std::size_t Channel::running() const {
  const std::lock_guard lock(mutex_);
  return under_way_ - claimed_;
}

const void* Channel::next_owner() const {
  const std::lock_guard lock(mutex_);
  return inbox_.empty() || !inbox_.front().awaited() ? nullptr : inbox_.front().completion();
}

}  // namespace penstock
