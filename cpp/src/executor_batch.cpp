// How steps that take batches are run.

#include <algorithm>
#include <utility>

#include <penstock/executor.hpp>

namespace penstock {

Failure Executor::overloaded(Duration until) {
  Failure failure{"", 503, "Overloaded", "the step is busy, and would answer later than it is to", {}};
  failure.retry_after =
      static_cast<int>(std::max<std::int64_t>(1, std::chrono::ceil<std::chrono::seconds>(until).count()));
  return failure;
}

/// The event would miss the step's latency goal. In or out of the gate.
void Executor::turn_away(StepId at, Event&& event, Duration until) {
  auto held = std::make_shared<Event>(std::move(event));
  add_chore([this, at, held, until] { fail(at, std::move(*held), overloaded(until)); });
}

/// `taken` events count as being handled until this has ended, those among them that were not run, too.
void Executor::run_batch(StepId id, Batch& batch, std::size_t taken, const BatchQueue::Taken& found) {
  const Plan::Entry& step = (*plan_)[id];
  auto activation = std::make_shared<Activation>(shared_from_this(), id, taken, batch.front().key());
  activation->batch = found;
  Emitter out(std::move(activation));
  std::erase_if(batch, [](const Event& event) { return event.cancelled(); });
  Batch last;
  if (!step.step->takes_last_chunks()) {
    for (Event& event : batch)
      if (event.last_chunk) last.push_back(std::move(event));
    std::erase_if(batch, [](const Event& event) { return event.last_chunk; });
  }
  if (!batch.empty()) call_batch(id, batch, out);
  for (Event& event : last) emit(id, std::move(event));
}

void Executor::call_batch(StepId id, Batch& batch, Emitter& out) {
  const Plan::Entry& step = (*plan_)[id];
  Slot& slot = *slots_[id];
  slot.stats.events.add_shared(batch.size());
  slot.stats.batches.add_shared();
  slot.stats.sizes.add(batch.size());
  const TimePoint start = now();
  try {
    step.step->run(batch, out);
  } catch (const Failure& failure) {
    for (Event& event : batch) {
      if (event.completion() != nullptr) fail(id, std::move(event), Failure(failure));
    }
  } catch (const std::exception& error) {
    for (Event& event : batch) {
      if (event.completion() != nullptr) fail(id, std::move(event), Failure{"", 500, "", error.what(), {}});
    }
  }
  note_time(id, now() - start);
}

/// What was due at `seen` and could not start waits for something else, whose end schedules the step anew.
void Executor::arm_due(StepId id, TimePoint seen) {
  Slot& slot = *slots_[id];
  const auto due = slot.channel.due(seen);
  if (!due || *due <= seen || slot.due_armed.load() <= *due) return;
  slot.due_armed.store(*due);
  at_time(*due, [this, id, at = *due]() mutable {
    slots_[id]->due_armed.compare_exchange_strong(at, TimePoint::max());
    schedule(id);
  });
}

}  // namespace penstock
