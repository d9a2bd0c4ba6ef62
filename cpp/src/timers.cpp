#include <penstock/timers.hpp>

namespace penstock {

std::uint64_t Timers::add(TimePoint when, Action action, bool* earliest) {
  const std::lock_guard lock(mutex_);
  const std::uint64_t id = ++last_id_;
  const auto placed = actions_.emplace(Key(when, id), std::move(action)).first;
  times_.emplace(id, when);
  if (earliest != nullptr) *earliest = placed == actions_.begin();
  return id;
}

bool Timers::cancel(std::uint64_t id) {
  Action action;  // destroyed after the lock is gone
  const std::lock_guard lock(mutex_);
  const auto found = times_.find(id);
  if (found == times_.end()) return false;
  const auto entry = actions_.find(Key(found->second, id));
  action.swap(entry->second);
  actions_.erase(entry);
  times_.erase(found);
  return true;
}

void Timers::run(TimePoint now) {
  for (;;) {
    Action action;
    {
      const std::lock_guard lock(mutex_);
      if (actions_.empty() || actions_.begin()->first.first > now) return;
      action.swap(actions_.begin()->second);
      times_.erase(actions_.begin()->first.second);
      actions_.erase(actions_.begin());
    }
    action();
  }
}

std::optional<TimePoint> Timers::next() const {
  const std::lock_guard lock(mutex_);
  if (actions_.empty()) return std::nullopt;
  return actions_.begin()->first.first;
}

}  // namespace penstock
