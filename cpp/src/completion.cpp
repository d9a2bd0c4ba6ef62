#include <penstock/completion.hpp>

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

}  // namespace penstock
