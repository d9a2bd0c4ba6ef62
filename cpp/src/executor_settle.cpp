// How a graph comes to rest, and the events that steps hold beyond their calls.

#include <algorithm>
#include <utility>

#include <penstock/executor.hpp>

namespace penstock {
namespace {

/// An event of a step's own making: nobody waits for an answer.
class Unattended final : public Root {
 private:
  void on_reply(Answer&& /*answer*/) override {}
};

}  // namespace

bool Executor::settle(Duration timeout, bool interruptible, bool punctual) {
  refusing_ = true;
  wake_waiting();
  for (StepId id = 0; id < plan_->size(); ++id) {
    slots_[id]->channel.hurry();
    schedule(id);
  }
  Lane::Turn turn(Lane::Role::kCaller);
  turn.owner = &turn;
  turn.idle = true;
  turn.punctual = punctual;
  turn.inside = true;
  const Frame frame(*this, turn);
  {
    const std::lock_guard lock(mutex_);
    settling_.push_back(&turn);
  }
  // Shared, as the action may still run when this has returned.
  const auto late = std::make_shared<std::atomic<bool>>(false);
  const std::uint64_t timer = at_time(now() + timeout, [this, late, owner = turn.owner] {
    *late = true;
    lane_.wake(owner);
  });
  const Prodded prodded(*this, turn, interruptible);
  bool waited = true;
  const auto wait_for = [&](auto done) {
    waited = waited && lane_.wait(turn, [&] { return late->load() || done(); });
    return waited && !late->load();
  };
  bool finishing = false;
  for (const StepId id : plan_->order()) {
    if (!(*plan_)[id].step->finishes()) continue;
    finishing = true;
    if (!wait_for([&] { return quiet(); })) break;
    if ((*plan_)[id].step->ask_to_finish()) nudge_step(id);
  }
  wait_for([&] { return events_.load() == 0 && (!finishing || quiet()); });
  timers_.cancel(timer);
  {
    const std::lock_guard lock(mutex_);
    std::erase(settling_, &turn);
  }
  if (!waited) throw Interrupted();
  return events_.load() == 0;
}

/// Nothing runs and nothing is queued; what is left are events that steps hold. Any event on its way
/// is in some channel's count, unless it moved behind the look's back: then there was a delivery.
bool Executor::quiet() const {
  const std::uint64_t moves = moves_.load();
  const bool idle =
      std::all_of(slots_.begin(), slots_.end(), [](const auto& slot) { return slot->channel.pending() == 0; });
  return idle && resting_count_.load() == 0 && moves == moves_.load();
}

void Executor::wake_settling() {
  std::vector<const void*> settling;
  {
    const std::lock_guard lock(mutex_);
    settling = settling_;
  }
  for (const void* owner : settling) lane_.wake(owner);
}

void Executor::nudge_step(StepId step) {
  if (slots_[step]->channel.push(Event(), TimePoint{}).what == Channel::Pushed::kTaken) schedule(step);
}

Event Executor::orphan(Payload&& body, Ref<Envelope> envelope) {
  auto root = make_ref<Unattended>();
  events_.fetch_add(1);
  root->executor_ = shared_from_this();
  return {std::move(body), std::move(envelope), Ref<Completion>(std::move(root)), false};
}

void Executor::hold(std::ptrdiff_t events) {
  held_.fetch_add(events);
  if (events > 0 && full_.load()) wake_waiting();
}

}  // namespace penstock
