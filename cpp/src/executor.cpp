#include <penstock/executor.hpp>

#include <algorithm>
#include <ctime>
#include <utility>

namespace penstock {
namespace {

// Events that an activation takes at once where order is kept anyway.
constexpr std::size_t kBurst = 16;
// Runs that are measured step by step after one was slow.
constexpr int kDiagnosed = 32;

Duration thread_cpu_time() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec);
}

Verdict apply(Transform& transform, Event& event, Pass& pass) {
  try {
    return transform.apply(event, pass);
  } catch (Failure& failure) {
    pass.failure = std::move(failure);
  } catch (const std::exception& error) {
    pass.failure = Failure{"", 500, "", error.what(), {}};
  }
  return Verdict::kFail;
}

/// The completion of the copy that a call with a timeout works on: it hears that nobody waits any more, and tells
/// nothing. So a call that never comes back keeps no caller and no stream waiting.
class Echo final : public Completion {
 private:
  void on_answer(Answer&& /*answer*/) override {}
};

Event copy_for_timed_call(const Event& event) {
  auto echo = make_ref<Echo>();
  event.completion()->on_cancel([echo] { echo->cancel(); });
  return Event(Payload(event.body), event.envelope, Ref<Completion>(std::move(echo)), false);
}

}  // namespace

thread_local Executor::Frame* Executor::top_ = nullptr;

Executor::Slot::Slot(const Plan::Entry& step) : channel({step.concurrency, step.capacity, step.batch, step.by_key}) {}

std::shared_ptr<Executor> Executor::create(std::shared_ptr<Plan> plan, Gate& gate, Options options) {
  const std::shared_ptr<Executor> made(new Executor(std::move(plan), gate, std::move(options)), [](Executor* executor) {
    // An action of the timekeeper may drop the last reference: it goes on until that has returned.
    if (executor->timekeeper_.get_id() == std::this_thread::get_id())
      executor->stopping_ = executor->orphaned_ = true;
    else
      delete executor;
  });
  for (StepId id = 0; id < made->plan_->size(); ++id) (*made->plan_)[id].step->start(Outlet(made, id));
  return made;
}

Executor::Executor(std::shared_ptr<Plan> plan, Gate& gate, Options options)
    : plan_(std::move(plan)), options_(std::move(options)), gate_(gate), lane_(*this, gate, options_.lane) {
  for (StepId id = 0; id < plan_->size(); ++id) {
    Slot& slot = *slots_.emplace_back(std::make_unique<Slot>((*plan_)[id]));
    slot.slow = (*plan_)[id].timeout > Duration::zero();
  }
  lane_.ticker = &timekeeper_parker_;
  if (options_.now) return;
  timekeeper_ = std::thread([this] {
    keep_time();
    if (!orphaned_) return;
    timekeeper_.detach();
    delete this;
  });
}

Executor::~Executor() {
  stopping_ = true;
  timekeeper_parker_.unpark();
  if (timekeeper_.joinable()) timekeeper_.join();
}

// ---- running steps

void Executor::run(std::uint32_t task) {
  Frame* frame = top_;
  const StepId before = std::exchange(frame->running, task);
  running_.fetch_add(1);
  if (task >= plan_->size()) {
    run_chores(task == plan_->size() ? chores_ : slow_chores_);
  } else if (slots_[task]->slow.load(std::memory_order_relaxed)) {
    Slot& slot = *slots_[task];
    const bool crowd = slot.computes.load(std::memory_order_relaxed);
    if (crowd) gate_.crowd(true);
    const TimePoint start = now();
    const Duration computed = thread_cpu_time();
    run_step(task);
    const Duration taken = now() - start;
    slot.computes.store(taken > options_.lane.stall && 2 * (thread_cpu_time() - computed) > taken,
                        std::memory_order_relaxed);
    if (crowd) gate_.crowd(false);
  } else {
    run_step(task);
  }
  if (running_.fetch_sub(1) == 1 && closing_.load()) close_steps();
  frame->running = before;
}

void Executor::run_step(StepId id) {
  const Plan::Entry& step = (*plan_)[id];
  Slot& slot = *slots_[id];
  Batch batch;
  Batch late;
  const bool single = step.concurrency > 1 || slot.slow.load(std::memory_order_relaxed);
  const TimePoint start = step.batch.size > 1 ? now() : TimePoint{};
  const BatchQueue::Taken found = slot.channel.take(batch, late, single ? 1 : kBurst, start);
  const std::size_t taken = batch.size() + late.size();
  for (Event& event : late) fail(id, std::move(event), overloaded(step.batch.goal));
  if (batch.empty()) return end(id, taken, 0);  // closed since it was claimed
  const std::uint64_t key = batch.front().key();
  if (step.transform == nullptr) return run_batch(id, batch, taken, found);
  if (step.timeout > Duration::zero()) {
    for (Event& event : batch) run_timed(id, std::move(event));
    return;
  }
  std::size_t begun = 0;
  bool goes_on = false;
  while (begun < batch.size() && !goes_on)
    goes_on = run_line(id, std::move(batch[begun++])) && slot.channel.running() > 1;
  const std::span rest = std::span(batch).subspan(begun);
  if (!rest.empty() && slot.channel.put_back(rest)) return end(id, begun, key);
  for (Event& event : rest) refuse(id, std::move(event));
  end(id, taken, key);
}

/// Runs an event through the step and, as far as they are fused, the steps after it; whether the step's call took it.
bool Executor::run_line(StepId head, Event&& moved) {
  Event event = std::move(moved);
  Slot& first = *slots_[head];
  StepId id = head;
  const std::uint64_t nth = first.stats.events.get();
  const bool diagnosing = first.diagnose.load(std::memory_order_relaxed) > 0;
  const bool timed = diagnosing || (nth & 15) == 0 || first.slow.load(std::memory_order_relaxed);
  if (diagnosing) first.diagnose.fetch_sub(1, std::memory_order_relaxed);
  for (;;) {
    if (event.cancelled()) return false;
    const Plan::Entry& step = (*plan_)[id];
    count(slots_[id]->stats.events, id);
    Pass pass(*this, id, event.key());
    if (event.last_chunk) {
      emit(id, std::move(event));
      return false;
    }
    const TimePoint start = timed ? now() : TimePoint{};
    const Verdict verdict = apply(*step.transform, event, pass);
    if (timed && note_time(id, now() - start)) first.diagnose.store(kDiagnosed, std::memory_order_relaxed);
    const StepId next = step.fused_next;
    if (verdict != Verdict::kEmit || next == kNoStep || slots_[next]->channel.pending() != 0 ||
        slots_[next]->slow.load(std::memory_order_relaxed)) {
      conclude(id, std::move(event), verdict, pass);
      return verdict == Verdict::kTaken && id == head;
    }
    try {
      if (step.responder) respond(id, event);
    } catch (Failure& failure) {  // the body cannot be copied
      fail(id, std::move(event), std::move(failure));
      return false;
    }
    if (!(*plan_)[next].answers) event.give_up_answering();
    event.queued = TimePoint{};  // it did not wait for the next
    id = next;
  }
}

/// A call with a timeout works on a copy of the event, so that the event itself can fail meanwhile.
void Executor::run_timed(StepId id, Event&& event) {
  const Plan::Entry& step = (*plan_)[id];
  auto activation = std::make_shared<Activation>(shared_from_this(), id, 1, event.key());
  if (event.cancelled()) return;
  if (event.last_chunk) return emit(id, std::move(event));
  Event copy = copy_for_timed_call(event);
  copy.queued = event.queued;
  activation->timed = true;
  activation->held = std::move(event);
  activation->timer = at_time(now() + step.timeout, [this, weak = std::weak_ptr(activation)] {
    if (const auto late = weak.lock()) add_chore([this, late] { expire(late); });
  });
  slots_[id]->stats.events.add_shared();
  Pass pass(*this, id, activation->key);
  pass.activation = activation;
  const TimePoint start = now();
  const Verdict verdict = apply(*step.transform, copy, pass);
  slots_[id]->stats.time.add(now() - start);
  if (verdict != Verdict::kTaken && activation->claim(copy)) conclude(id, std::move(copy), verdict, pass);
}

void Executor::conclude(StepId id, Event&& event, Verdict verdict, Pass& pass) {
  switch (verdict) {
    case Verdict::kEmit:
      return emit(id, std::move(event));
    case Verdict::kDrop:
      return drop(id, std::move(event));
    case Verdict::kFail:
      return fail(id, std::move(event), std::move(*pass.failure));
    case Verdict::kFinish:
      return event.finish();
    case Verdict::kTaken:
      return;
  }
}

/// Keeps the histogram, and sends steps that are slow again and again to the workers. True if it was slow.
bool Executor::note_time(StepId id, Duration taken) {
  Slot& slot = *slots_[id];
  slot.stats.time.add(taken);
  const int score = slot.score.load(std::memory_order_relaxed);
  if (taken > options_.lane.stall) {
    slot.score.store(std::min(score + 16, 128), std::memory_order_relaxed);
    if (score + 16 >= 32) slot.slow.store(true, std::memory_order_relaxed);
    return true;
  }
  if (score > 0) {
    slot.score.store(score - 1, std::memory_order_relaxed);
    if (score == 1 && (*plan_)[id].timeout == Duration::zero()) slot.slow.store(false, std::memory_order_relaxed);
  }
  return false;
}

void Executor::stalled(std::uint32_t task) {
  if (task >= plan_->size()) return;
  slots_[task]->diagnose.store(kDiagnosed, std::memory_order_relaxed);
}

// ---- moving events

void Executor::respond(StepId from, Event& event) {
  const Plan::Entry& step = (*plan_)[from];
  if (!step.responder || !event.answering()) return;
  const bool last = plan_->outlets(from).empty();
  event.respond(last ? std::move(event.body) : step.copy ? event.body.clone() : Payload(event.body));
}

void Executor::emit(StepId from, Event&& event) {
  try {
    respond(from, event);
    fan_out(std::move(event), plan_->outlets(from), (*plan_)[from].copy);
  } catch (Failure& failure) {  // the body cannot be copied
    fail(from, std::move(event), std::move(failure));
  }
}

void Executor::emit(StepId from, Event&& event, std::uint32_t outlet) {
  fan_out(std::move(event), plan_->outlets(from).subspan(outlet, 1), false);
}

void Executor::emit(StepId from, Event&& event, std::span<const std::uint32_t> outlets) {
  std::vector<StepId> targets;
  for (const std::uint32_t outlet : outlets) targets.push_back(plan_->outlets(from)[outlet]);
  try {
    fan_out(std::move(event), targets, (*plan_)[from].copy);
  } catch (Failure& failure) {  // the body cannot be copied
    fail(from, std::move(event), std::move(failure));
  }
}

/// Makes all copies before any branch runs, so that none sees what another has changed.
void Executor::fan_out(Event&& event, std::span<const StepId> targets, bool copy) {
  if (targets.empty()) return event.end();
  Batch branches;
  for (std::size_t i = 1; i < targets.size(); ++i)
    branches.push_back(event.derive(copy ? event.body.clone() : Payload(event.body), (*plan_)[targets[i]].answers));
  if (!(*plan_)[targets[0]].answers) event.give_up_answering();
  deliver(targets[0], std::move(event));
  for (std::size_t i = 1; i < targets.size(); ++i) deliver(targets[i], std::move(branches[i - 1]));
}

void Executor::deliver(StepId to, Event&& event) {
  if (event.in_gather() && (*plan_)[to].merges) return event.come_back();
  if (refusing_.load(std::memory_order_relaxed)) moves_.fetch_add(1);
  const Plan::Entry& step = (*plan_)[to];
  const bool batched = step.batch.size > 1;
  const Fit fit = batched && event.completion() != nullptr ? step.step->fit(event) : Fit{};
  event.queued = step.stamp || step.batch.waits() ? now() : TimePoint{};
  const auto pushed = slots_[to]->channel.push(std::move(event), event.queued, fit);
  if (pushed.what == Channel::Pushed::kClosed) return refuse(to, std::move(event));
  if (pushed.what == Channel::Pushed::kLate) return turn_away(to, std::move(event), pushed.until);
  if (pushed.may_start || step.batch.waits()) schedule(to);
}

void Executor::fail(StepId at, Event&& event, Failure&& failure) {
  const Plan::Entry& step = (*plan_)[at];
  if (failure.step.empty()) failure.step = step.label;
  if (step.attempts > 1 && try_again(at, event, failure)) return;
  slots_[at]->stats.failed.add_shared();
  if (step.error_handler != kNoStep) {
    Envelope& envelope = event.own_envelope();
    envelope.error = failure.text();
    envelope.origin = step.label;
    // Whether it can still answer is the event's matter here: the handler may lie off the line.
    return deliver(step.error_handler, std::move(event));
  }
  end_failed(std::move(event), std::move(failure));
}

void Executor::end_failed(Event&& event, Failure&& failure) {
  const bool heard = event.cancelled() || event.in_gather() || (event.answering() && !event.completion()->answered());
  if (options_.observer != nullptr) options_.observer->failed(failure, event, heard);
  event.fail(std::move(failure));
}

/// The graph was closed before the step could start with the event.
void Executor::refuse(StepId at, Event&& event) {
  if (event.completion() == nullptr) return;  // one that was only to wake the step
  end_failed(std::move(event), Failure{(*plan_)[at].label, 503, "GraphClosed", "the graph was closed before", {}});
}

void Executor::drop(StepId at, Event&& event) {
  slots_[at]->stats.dropped.add_shared();
  event.filter();
}

void Executor::gathered(std::uint32_t step, Event&& event) { deliver(step, std::move(event)); }

void Executor::count(Counter& counter, StepId id) {
  if ((*plan_)[id].concurrency == 1)
    counter.add();
  else
    counter.add_shared();
}

// ---- scheduling

/// Makes tasks of what the step can start now. Called after anything that may have made it ready: a
/// push, the end of an activation, an outlet that has room again, a timer.
void Executor::schedule(StepId id) {
  Slot& slot = *slots_[id];
  const bool delayed = (*plan_)[id].batch.waits();
  const bool bounded = (*plan_)[id].timeout > Duration::zero();
  TimePoint at = delayed ? now() : TimePoint{};
  while (slot.channel.pending() > 0 && outlets_free(id) && slot.channel.claim(at)) {
    lane_.push(Task{id, slot.channel.next_owner(), bounded}, slot.slow.load(std::memory_order_relaxed), my_turn());
    if (delayed) at = now();
  }
  if (delayed) arm_due(id, at);
}

bool Executor::outlets_free(StepId id) {
  for (const StepId outlet : plan_->bounding(id)) {
    Slot& slot = *slots_[outlet];
    if (outlet == id || !slot.channel.full()) continue;
    slot.wanted.store(true);
    if (slot.channel.full()) return false;  // looked at again, as it may have drained before `wanted` was seen
  }
  return true;
}

void Executor::end(StepId id, std::size_t events, std::uint64_t key) {
  Slot& slot = *slots_[id];
  const bool below = slot.channel.end(events, key);
  if (below && slot.wanted.exchange(false))
    for (const StepId inlet : plan_->inlets(id)) schedule(inlet);
  if (slot.channel.pending() > 0)
    schedule(id);
  else if (refusing_.load(std::memory_order_relaxed))
    wake_settling();
}

void Executor::expire(const std::shared_ptr<Activation>& activation) {
  if (!activation->abandon()) return;
  const auto seconds = std::chrono::duration<double>((*plan_)[activation->id].timeout).count();
  fail(activation->id, std::move(activation->held),
       Failure{"", 504, "Timeout", "the step did not finish within " + std::to_string(seconds) + " s", {}});
  end(activation->id, activation->events, activation->key);
}

}  // namespace penstock
