#include <penstock/gather.hpp>

namespace penstock {

Gather::Gather(GatherTarget& target, std::uint32_t step, std::size_t count)
    : parts(count), target_(target), step_(step), missing_(count + 1) {}

void Gather::hold(Event&& event) { waiting_ = std::move(event); }

void Gather::come_back(std::uint32_t slot, Payload&& body, Ref<Envelope> envelope) {
  Part& part = parts[slot];
  if (part.taken.exchange(true, std::memory_order_acq_rel)) return;
  part.body = std::move(body);
  part.envelope = std::move(envelope);
  part.back = true;
  arrive();
}

void Gather::fail(std::uint32_t slot, Failure&& failure) {
  Part& part = parts[slot];
  if (part.taken.exchange(true, std::memory_order_acq_rel)) return;
  part.failure = std::move(failure);
  arrive();
}

void Gather::drop(std::uint32_t slot) {
  if (parts[slot].taken.exchange(true, std::memory_order_acq_rel)) return;
  arrive();
}

void Gather::arrive() {
  if (missing_.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
  Event event = std::move(waiting_);
  event.gathered = Ref<Gather>(this);
  target_.gathered(step_, std::move(event));
}

}  // namespace penstock
