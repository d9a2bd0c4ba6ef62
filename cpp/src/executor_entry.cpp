// The executor's side towards those who bring events and threads.

#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>

#include <penstock/executor.hpp>

namespace penstock {

void Root::on_answer(Answer&& answer) {
  executor_->answered(*this);
  on_reply(std::move(answer));
}

// The executor is not let go of here: the deadline's timer may be answering at the same time.
void Root::on_settled(Outcome outcome) {
  on_ended(outcome);
  if (executor_) executor_->give_back(1, takes_place ? 0 : 1, bytes);
}

void Waiter::on_reply(Answer&& answer) {
  Lane* lane = lane_;
  const bool elsewhere = caller_ != std::this_thread::get_id();
  answer_ = std::move(answer);
  ready_.store(true, std::memory_order_release);
  // From here on the caller may be gone: only its address is used, as a name.
  if (elsewhere) lane->wake(this);
}

Admission Executor::admit(Ref<Root> root, Payload&& body, Ref<Envelope> envelope, StepId entry) {
  const Admission admission = try_admit(std::move(root), std::move(body), std::move(envelope), entry);
  if (admission == Admission::kFull) refused_.add_shared();
  return admission;
}

Admission Executor::foretell(std::size_t bytes) {
  if (refusing_.load(std::memory_order_acquire)) return Admission::kClosed;
  if (has_room(bytes)) return Admission::kAccepted;
  refused_.add_shared();
  return Admission::kFull;
}

Admission Executor::admit(std::span<Arrival> arrivals, StepId entry) {
  std::size_t bytes = 0;
  std::size_t held = 0;
  for (const Arrival& each : arrivals) {
    bytes += each.root->bytes;
    if (!each.root->takes_place) ++held;
  }
  const Admission admission = take_room(arrivals.size(), held, bytes);
  if (admission == Admission::kFull) refused_.add_shared(arrivals.size());
  if (admission != Admission::kAccepted) return admission;
  Batch events;
  events.reserve(arrivals.size());
  for (Arrival& each : arrivals)
    events.push_back(event_of(std::move(each.root), std::move(each.body), std::move(each.envelope)));
  const std::span<const StepId> entries = entry == kNoStep ? plan_->entries() : std::span<const StepId>(&entry, 1);
  if (entries.size() == 1) {
    deliver(entries[0], events);
  } else {
    for (Event& event : events) fan_out(std::move(event), entries, true);
  }
  return Admission::kAccepted;
}

/// Several that have just been admitted.
void Executor::deliver(StepId to, Batch& events) {
  const Plan::Entry& step = (*plan_)[to];
  if (step.batch.size > 1) {
    for (Event& event : events) fan_out(std::move(event), std::span<const StepId>(&to, 1), true);
    return;
  }
  if (refusing_.load(std::memory_order_relaxed)) moves_.fetch_add(1);
  const TimePoint queued = step.stamp ? now() : TimePoint{};
  for (Event& event : events) {
    if (!step.answers) event.give_up_answering();
    event.queued = queued;
  }
  const auto pushed = slots_[to]->channel.push(events);
  if (pushed.may_start) schedule(to);
  if (pushed.what == Channel::Pushed::kTaken) return;
  for (Event& event : events) refuse(to, std::move(event));
}

Admission Executor::try_admit(Ref<Root> root, Payload&& body, Ref<Envelope> envelope, StepId entry) {
  const Admission admission = take_room(1, root->takes_place ? 0 : 1, root->bytes);
  if (admission != Admission::kAccepted) return admission;
  Event event = event_of(std::move(root), std::move(body), std::move(envelope));
  fan_out(std::move(event), entry == kNoStep ? plan_->entries() : std::span<const StepId>(&entry, 1), true);
  return Admission::kAccepted;
}

/// For so many events that weigh so much; `held` of them take no place from the others.
Admission Executor::take_room(std::size_t events, std::size_t held, std::size_t bytes) {
  if (refusing_.load(std::memory_order_acquire)) return Admission::kClosed;
  if (held > 0) held_.fetch_add(static_cast<std::ptrdiff_t>(held));
  if (!has_room(bytes)) {
    if (held > 0) held_.fetch_sub(static_cast<std::ptrdiff_t>(held));
    return Admission::kFull;
  }
  events_.fetch_add(events);
  bytes_.fetch_add(bytes);
  if (!refusing_.load()) return Admission::kAccepted;
  give_back(events, held, bytes);  // since it was looked at above, and `settle` may not have seen these
  return Admission::kClosed;
}

/// The event of a root that there is room for.
Event Executor::event_of(Ref<Root>&& root, Payload&& body, Ref<Envelope>&& envelope) {
  root->executor_ = shared_from_this();
  if (const auto request = body.request(); request != nullptr && !request->parameters.empty() && envelope)
    envelope->priority = priority_in(request->parameters);
  if (root->deadline) {
    root->timer = at_time(*root->deadline, [root] {
      root->cancel(Answer{Failure{"", 504, "Timeout", "the deadline has passed", {}}, std::nullopt});
    });
  }
  return {std::move(body), std::move(envelope), Ref<Completion>(root), true};
}

Answer Executor::call(Ref<Waiter> waiter, Payload&& body, Ref<Envelope> envelope, bool interruptible) {
  for (const Frame* frame = top_; frame != nullptr; frame = frame->outer) {
    if (frame->executor != this || frame->running >= plan_->size()) continue;
    throw Failure{(*plan_)[frame->running].name,
                  500,
                  "RuntimeError",
                  "the handler calls its own graph and would wait for itself",
                  {}};
  }
  Lane::Turn turn(Lane::Role::kCaller, waiter.get());
  turn.inside = true;
  const Frame frame(*this, turn);
  waiter->lane_ = &lane_;
  waiter->caller_ = std::this_thread::get_id();
  const Prodded prodded(*this, turn, interruptible);
  admit_waiting(turn, Ref<Root>(waiter), std::move(body), std::move(envelope));
  if (!lane_.wait(turn, [&] { return waiter->ready(); })) {
    waiter->cancel();
    throw Interrupted();
  }
  return waiter->take();
}

void Executor::post(Ref<Root> root, Payload&& body, Ref<Envelope> envelope) {
  Lane::Turn turn(Lane::Role::kCaller, root.get());
  turn.idle = true;
  turn.inside = true;
  admit_waiting(turn, std::move(root), std::move(body), std::move(envelope));
}

/// Without a seat of the calling thread's own the lane wakes another for what is admitted.
void Executor::admit_waiting(Lane::Turn& turn, Ref<Root> root, Payload&& body, Ref<Envelope> envelope) {
  for (;;) {
    const Admission admission = try_admit(root, std::move(body), envelope, kNoStep);
    if (admission == Admission::kAccepted) return;
    if (admission == Admission::kClosed) throw Failure{"", 503, "GraphClosed", "Cannot emit to a terminated flow", {}};
    if (my_turn() != nullptr && my_turn() != &turn)
      throw Failure{"", 503, "QueueFull", "the graph is full, and a handler of its own cannot wait for room in it", {}};
    std::optional<Frame> frame;
    if (my_turn() == nullptr) frame.emplace(*this, turn);
    Hopeful hopeful{turn.owner};
    {
      const std::lock_guard lock(mutex_);
      room_wanted_.push_back(&hopeful);
      full_.store(true);
    }
    const bool waited =
        lane_.wait(turn, [&] { return hopeful.told.load() || has_room(root->bytes) || refusing_.load(); });
    {
      const std::lock_guard lock(mutex_);
      std::erase(room_wanted_, &hopeful);
    }
    if (!waited) throw Interrupted();
  }
}

bool Executor::drain() { return top_->executor->lane_.drain(*top_->turn); }

void Executor::lend(const std::function<bool()>& spawn) {
  Lane::Turn turn(Lane::Role::kWorker);
  const Frame frame(*this, turn);
  while (lane_.work(turn) == Lane::Lent::kSpawn) {
    if (!spawn()) lane_.spawn_failed();
  }
}

bool Executor::turn() {
  const auto next = timers_.next();
  if (next && *next <= now()) {
    timers_.run(now());
    return true;
  }
  if (lane_.ready() == 0) return false;
  Lane::Turn turn(Lane::Role::kCaller);
  turn.idle = true;
  turn.inside = true;
  const Frame frame(*this, turn);
  bool ran = false;
  lane_.wait(turn, [&] { return std::exchange(ran, true); });
  return true;
}

void Executor::close() {
  refusing_ = true;
  {
    const std::lock_guard lock(mutex_);
    if (std::exchange(closed_, true)) return;
  }
  wake_waiting();
  // All are closed before the first event ends, as that may send others on.
  std::vector<std::deque<Event>> queued;
  for (const auto& slot : slots_) queued.push_back(slot->channel.close());
  for (StepId id = 0; id < queued.size(); ++id)
    for (Event& event : queued[id]) refuse(id, std::move(event));
  std::unordered_map<std::uint64_t, Event> resting;
  {
    const std::lock_guard lock(mutex_);
    resting.swap(resting_);
  }
  for (auto& [ticket, event] : resting) {
    const StepId at = event.tries.step;
    const std::uint64_t key = event.key();
    end_failed(std::move(event), Failure{"", 503, "GraphClosed", "the graph was closed before", {}});
    if ((*plan_)[at].by_key) slots_[at]->channel.end(1, key);  // it kept its place for the next try
  }
  lane_.close();
  closing_ = true;
  if (running_.load() == 0) close_steps();
}

/// Coroutines may still be on their way: then the steps end with the plan.
void Executor::close_steps() {
  if (std::any_of(slots_.begin(), slots_.end(), [](const auto& slot) { return slot->channel.running() > 0; })) return;
  if (closing_.exchange(false)) plan_->close();
}

void Executor::answered(Root& root) {
  if (const std::uint64_t timer = root.timer.load()) timers_.cancel(timer);
}

/// Several threads may pass this at once: the bounds are kept to within a few events.
bool Executor::has_room(std::size_t bytes) const {
  const std::size_t events = events_.load();
  const auto held = static_cast<std::size_t>(std::max<std::ptrdiff_t>(held_.load(), 0));
  // One event always fits, however large.
  return events <= held || (events - held < options_.max_events && bytes_.load() + bytes <= options_.max_bytes);
}

int Executor::retry_after() {
  constexpr double kLongest = 30;
  constexpr auto kWindow = std::chrono::seconds(1);
  constexpr auto kStale = std::chrono::seconds(10);
  double seconds = 0;
  {
    const std::lock_guard lock(mutex_);
    const TimePoint now = Clock::now();
    const Duration taken = now - looked_at_;
    if (taken >= kWindow) {
      const std::uint64_t settled = settled_.get();
      const double done = static_cast<double>(settled - looked_settled_) / std::chrono::duration<double>(taken).count();
      speed_ = taken < kStale ? std::optional(done) : std::nullopt;
      looked_at_ = now;
      looked_settled_ = settled;
    }
    if (!speed_) return 1;
    seconds = static_cast<double>(in_flight()) / std::max(*speed_, 1e-3);
  }
  return static_cast<int>(std::ceil(std::clamp(seconds * (1 + chance() / 2), 1.0, kLongest)));
}

/// Admitted events have settled.
void Executor::give_back(std::size_t events, std::size_t held, std::size_t bytes) {
  settled_.add_shared(events);
  bytes_.fetch_sub(bytes);
  if (held > 0) held_.fetch_sub(static_cast<std::ptrdiff_t>(held));
  if (events_.fetch_sub(events) == events && refusing_.load()) wake_settling();
  if (full_.load()) wake_waiting();
}

/// Those who wait for room look again.
void Executor::wake_waiting() {
  std::vector<const void*> wanted;
  {
    const std::lock_guard lock(mutex_);
    for (Hopeful* hopeful : room_wanted_) {
      wanted.push_back(hopeful->owner);
      hopeful->told.store(true);
    }
    room_wanted_.clear();
    full_.store(false);
  }
  for (const void* owner : wanted) lane_.wake(owner);
}

void Executor::add_chore(std::function<void()> chore, bool slow) {
  {
    const std::lock_guard lock(mutex_);
    (slow ? slow_chores_ : chores_).push_back(std::move(chore));
  }
  lane_.push(Task{static_cast<std::uint32_t>(plan_->size() + (slow ? 1 : 0))}, slow, nullptr);
}

/// The next of them: each has a task of its own, so that what one has made ready comes before the one after it.
void Executor::run_chores(std::deque<std::function<void()>>& chores) {
  std::function<void()> chore;
  {
    const std::lock_guard lock(mutex_);
    if (chores.empty()) return;
    chore = std::move(chores.front());
    chores.pop_front();
  }
  chore();
}

// ---- LaneHost and time

void Executor::flush() {
  if (options_.flush) options_.flush();
}
void Executor::assist(std::size_t loop) {
  if (options_.assist) options_.assist(loop);
}
bool Executor::interrupted() { return options_.interrupted && options_.interrupted(); }
void Executor::nudge() {
  if (options_.nudge) options_.nudge();
}

Lane::Turn* Executor::my_turn() const { return top_ != nullptr && top_->executor == this ? top_->turn : nullptr; }

std::uint64_t Executor::at_time(TimePoint when, Timers::Action action) {
  const std::uint64_t id = timers_.add(when, std::move(action));
  if (when < asleep_until_.load()) timekeeper_parker_.unpark();
  return id;
}

/// Runs timers when they are due, and watches the lane while it is busy.
void Executor::keep_time() {
  using namespace std::chrono_literals;
  while (!stopping_.load()) {
    const bool watching = lane_.watching();
    const TimePoint now = Clock::now();
    // Said before looking, so that a timer added meanwhile unparks.
    asleep_until_.store(TimePoint::max());
    TimePoint wake = timers_.next().value_or(now + 1h);
    if (watching)
      wake = std::min(wake, now + options_.lane.stall);
    else if (prodded_.load() != nullptr)
      wake = std::min(wake, now + 100ms);
    asleep_until_.store(wake);
    if (wake > now) timekeeper_parker_.park_until(wake);
    if (stopping_.load()) return;
    timers_.run(Clock::now());
    if (lane_.watching())
      lane_.tick();
    else if (const void* owner = prodded_.load())
      lane_.wake(owner);
  }
}

}  // namespace penstock
