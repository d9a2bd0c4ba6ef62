// Calls that may outlive themselves: Pass, Emitter, Activation.

#include <algorithm>
#include <utility>

#include <penstock/executor.hpp>

namespace penstock {

Emitter Pass::detach() {
  if (!activation) {
    executor_.slots_[step_]->channel.adopt(key_);
    activation = std::make_shared<Activation>(executor_.shared_from_this(), step_, 1, key_);
  }
  return Emitter(std::move(activation));
}

Activation::~Activation() {
  if (timer != 0) executor->timers_.cancel(timer);
  if (batch.events > 0) executor->slots_[id]->channel.handled(batch, executor->now());
  if (claimed || !over.exchange(true)) executor->end(id, events, key);
}

bool Activation::abandon() {
  if (over.exchange(true)) return false;
  std::function<void()> action;
  {
    const std::lock_guard lock(mutex);
    action.swap(on_abandoned);
  }
  if (action) action();
  return true;
}

bool Activation::claim(Event& event) {
  if (!timed) return true;
  if (over.exchange(true)) return false;
  claimed = true;
  held.body = std::move(event.body);
  held.envelope = std::move(event.envelope);
  event = std::move(held);
  return true;
}

void Emitter::emit(Event&& event) {
  if (activation_->claim(event)) activation_->executor->emit(activation_->id, std::move(event));
}
void Emitter::emit(Event&& event, std::uint32_t outlet) {
  if (activation_->claim(event)) activation_->executor->emit(activation_->id, std::move(event), outlet);
}
void Emitter::emit(Event&& event, std::span<const std::uint32_t> outlets) {
  if (activation_->claim(event)) activation_->executor->emit(activation_->id, std::move(event), outlets);
}
void Emitter::fail(Event&& event, Failure&& failure) {
  if (activation_->claim(event)) activation_->executor->fail(activation_->id, std::move(event), std::move(failure));
}
void Emitter::drop(Event&& event) {
  if (activation_->claim(event)) activation_->executor->drop(activation_->id, std::move(event));
}
void Emitter::finish(Event&& event) {
  if (activation_->claim(event)) event.finish();
}
void Emitter::on_abandoned(const Event& event, std::function<void()> action) {
  if (event.completion() != nullptr)
    event.completion()->on_cancel([executor = std::weak_ptr(activation_->executor->weak_from_this()), action] {
      if (const auto alive = executor.lock()) alive->add_chore(action);
    });
  if (!activation_->timed) return;
  {
    const std::lock_guard lock(activation_->mutex);
    if (!activation_->over.load()) {
      activation_->on_abandoned = std::move(action);
      return;
    }
  }
  action();  // the time was up before; this thread is inside the gate
}
Ref<Gather> Emitter::gather(std::size_t parts) {
  Executor& executor = *activation_->executor;
  return make_ref<Gather>(executor, (*executor.plan_)[activation_->id].gather, parts);
}

bool Emitter::claim(Event& event) { return activation_->claim(event); }
Outlet Emitter::outlet() const { return Outlet(activation_->executor, activation_->id); }
const std::string& Emitter::step_name() const { return (*activation_->executor->plan_)[activation_->id].label; }

void Outlet::emit(Event&& event) const {
  if (const auto executor = executor_.lock()) executor->emit(step_, std::move(event));
}
void Outlet::emit(Event&& event, std::uint32_t outlet) const {
  if (const auto executor = executor_.lock()) executor->emit(step_, std::move(event), outlet);
}
void Outlet::fail(Event&& event, Failure&& failure) const {
  if (const auto executor = executor_.lock()) executor->fail(step_, std::move(event), std::move(failure));
}
void Outlet::drop(Event&& event) const {
  if (const auto executor = executor_.lock()) executor->drop(step_, std::move(event));
}
Event Outlet::orphan(Payload&& body, Ref<Envelope> envelope) const {
  if (const auto executor = executor_.lock()) return executor->orphan(std::move(body), std::move(envelope));
  return {};
}
void Outlet::hold(std::ptrdiff_t events) const {
  if (const auto executor = executor_.lock()) executor->hold(events);
}
void Outlet::wake(TimePoint when) const {
  if (const auto executor = executor_.lock())
    executor->at_time(when, [e = executor.get(), step = step_] { e->nudge_step(step); });
}

void Outlet::wake() const {
  if (const auto executor = executor_.lock()) executor->nudge_step(step_);
}
void Outlet::later(std::function<void()> action, bool slow) const {
  if (const auto executor = executor_.lock()) executor->add_chore(std::move(action), slow);
}
std::uint32_t Outlet::rank() const {
  const auto executor = executor_.lock();
  if (!executor) return 0;
  const auto order = executor->plan_->order();
  return static_cast<std::uint32_t>(std::find(order.begin(), order.end(), step_) - order.begin());
}

}  // namespace penstock
