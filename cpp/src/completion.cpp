#include <penstock/completion.hpp>

#include <algorithm>

namespace penstock {

void Completion::cancel() {
  std::vector<std::function<void()>> actions;
  {
    const std::lock_guard lock(mutex_);
    cancelled_.store(true, std::memory_order_relaxed);
    actions.swap(cancel_actions_);
  }
  for (const auto& action : actions) action();
}

void Completion::cancel(Answer&& answer) {
  const bool first = !answered_.exchange(true, std::memory_order_acq_rel);
  cancel();
  if (first) on_answer(std::move(answer));
}

void Completion::on_cancel(std::function<void()> action) {
  {
    const std::lock_guard lock(mutex_);
    if (!cancelled()) {
      cancel_actions_.push_back(std::move(action));
      return;
    }
  }
  action();
}

void Completion::wait(const void* waiter, std::uint32_t rank, std::function<void()> stranded) {
  {
    const std::lock_guard lock(mutex_);
    waits_.push_back(Waiting{waiter, rank, std::move(stranded)});
    waiting_.fetch_add(1);
  }
  if (live_.load() <= waiting_.load()) strand();
}

void Completion::wait_no_more(const void* waiter) {
  const std::lock_guard lock(mutex_);
  const auto found =
      std::find_if(waits_.begin(), waits_.end(), [&](const Waiting& each) { return each.waiter == waiter; });
  if (found == waits_.end()) return;
  waits_.erase(found);
  waiting_.fetch_sub(1);
}

/// Asked again whenever an event ends, so that each that waits is told when its turn has come.
void Completion::strand() {
  std::function<void()> stranded;
  {
    const std::lock_guard lock(mutex_);
    if (waits_.empty() || live_.load() > waits_.size()) return;
    stranded = std::min_element(waits_.begin(), waits_.end(), [](const Waiting& a, const Waiting& b) {
                 return a.rank < b.rank;
               })->stranded;
  }
  stranded();
}

}  // namespace penstock
