// Calls that may outlive themselves: Pass, Emitter, Activation.

#include <utility>

#include <penstock/executor.hpp>

namespace penstock {

Emitter Pass::detach() {
  if (!activation) {
    executor_.slots_[step_].channel.adopt();
    activation = std::make_shared<Activation>(executor_.shared_from_this(), step_, 1);
  }
  return Emitter(std::move(activation));
}

Activation::~Activation() {
  if (timer != 0) executor->timers_.cancel(timer);
  if (claimed || !over.exchange(true)) executor->end(id, events);
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
void Emitter::fail(Event&& event, Failure&& failure) {
  if (activation_->claim(event)) activation_->executor->fail(activation_->id, std::move(event), std::move(failure));
}
void Emitter::drop(Event&& event) {
  if (activation_->claim(event)) activation_->executor->drop(activation_->id, std::move(event));
}
void Emitter::finish(Event&& event) {
  if (!activation_->claim(event)) return;
  event.respond(std::move(event.body));
  event.end();
}
Ref<Gather> Emitter::gather(std::size_t parts) {
  Executor& executor = *activation_->executor;
  return make_ref<Gather>(executor, (*executor.plan_)[activation_->id].gather, parts);
}

}  // namespace penstock
