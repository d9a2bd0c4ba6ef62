#pragma once

#include <atomic>
#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <thread>
#include <unordered_map>
#include <vector>

#include <penstock/channel.hpp>
#include <penstock/gather.hpp>
#include <penstock/lane.hpp>
#include <penstock/plan.hpp>
#include <penstock/stats.hpp>
#include <penstock/timers.hpp>

namespace penstock {

class Executor;

/// The completion of an admitted event. Ends its deadline's timer and gives its place in the graph
/// back; derived classes say who is answered.
class Root : public Completion {
 public:
  bool takes_place = true;  ///< counts as one of `Options::max_events`; set before it is admitted

 protected:
  virtual void on_reply(Answer&& answer) = 0;
  /// It is settled, but counts as in flight until this returns.
  virtual void on_ended(Outcome /*outcome*/) {}

 private:
  friend class Executor;
  void on_answer(Answer&& answer) final;
  void on_settled(Outcome outcome) final;
  std::shared_ptr<Executor> executor_;
};

/// A root whose caller waits for the answer in `Executor::call`.
class Waiter final : public Root {
 public:
  [[nodiscard]] bool ready() const noexcept { return ready_.load(std::memory_order_acquire); }
  [[nodiscard]] Answer take() { return std::move(answer_); }

 private:
  friend class Executor;
  void on_reply(Answer&& answer) override;
  Answer answer_;
  Lane* lane_ = nullptr;
  std::thread::id caller_;
  std::atomic<bool> ready_{false};
};

/// An event that is to be admitted.
struct Arrival {
  Ref<Root> root;
  Payload body;
  Ref<Envelope> envelope;
};

/// Told of failures that no error handler took. Inside the gate.
class Observer {
 public:
  virtual ~Observer() = default;
  /// `heard`: a caller, or a step that merges, is told as well.
  virtual void failed(const Failure& failure, const Event& event, bool heard) = 0;
};

/// A caller stopped waiting because its host told it to.
struct Interrupted {};

enum class Admission : std::uint8_t { kAccepted, kFull, kClosed };

/// Runs a plan. A step is an actor: it is scheduled when its channel holds work, its concurrency
/// leaves room and its outlets are below their marks; whoever may have made that true calls
/// `schedule`. Which thread runs what is the lane's business. All methods may be called from any
/// thread unless they say otherwise.
class Executor final : public std::enable_shared_from_this<Executor>, public LaneHost, public GatherTarget {
 public:
  struct Options {
    Lane::Options lane{};
    std::size_t max_events = 1024;                   ///< admitted and not settled
    std::size_t max_bytes = std::size_t{256} << 20;  ///< of their bodies
    Observer* observer = nullptr;                    ///< outlives the executor
    std::function<double()> random{};                ///< from 0 to 1; by default a generator of its own
    std::function<TimePoint()> now{};                ///< by default the steady clock; see `turn`
    std::function<void()> flush{};                   ///< see LaneHost
    std::function<void(std::size_t)> assist{};
    std::function<void()> nudge{};
    std::function<bool()> interrupted{};
  };

  static std::shared_ptr<Executor> create(std::shared_ptr<Plan> plan, Gate& gate, Options options);
  ~Executor() override;

  /// Admits an event; never blocks and runs nothing. It enters at the plan's entries, or at the step
  /// given. `root` is answered at once if nothing can answer. The body is taken only if accepted.
  Admission admit(Ref<Root> root, Payload&& body, Ref<Envelope> envelope, StepId entry = kNoStep);
  /// The same for several, in their order: all of them or none, which are then left as they were.
  Admission admit(std::span<Arrival> arrivals, StepId entry = kNoStep);
  /// What `admit` would say now: to be asked before a body is decoded. A refusal counts as one.
  [[nodiscard]] Admission foretell(std::size_t bytes);
  /// Admits an event, waiting for room. Inside the gate. Throws Failure if the graph is closed.
  void post(Ref<Root> root, Payload&& body, Ref<Envelope> envelope);
  /// Admits an event, waiting for room, and runs ready steps on this thread until it is answered.
  /// Inside the gate. Throws Failure if the graph is closed or the caller is one of its own steps, and
  /// Interrupted if `interruptible` and the host says so; the event is then cancelled.
  Answer call(Ref<Waiter> waiter, Payload&& body, Ref<Envelope> envelope, bool interruptible = false);
  /// A thread with a place at some executor has read what there was. True: look at the sockets and come back.
  static bool drain();
  /// Lends the calling thread. Outside the gate. `spawn` starts one more such thread; false if it can't.
  void lend(const std::function<bool()>& spawn);
  /// Runs the timers that are due, else one ready task; false if there is neither. For a host that has given
  /// `now`: then no timekeeper runs, and nothing happens but in these calls. Inside the gate.
  bool turn();
  /// When the next timer is due.
  [[nodiscard]] std::optional<TimePoint> next_timer() const { return timers_.next(); }
  /// Takes no more events, lets no batch wait, and waits until all is settled or the time is up;
  /// whether all is. `punctual`: threads are lent, so this one runs no step, which might keep it beyond
  /// the time. Inside the gate.
  bool settle(Duration timeout, bool interruptible = false, bool punctual = false);
  /// Ends everything: what is still queued fails. The steps are closed once none runs.
  /// Idempotent. Inside the gate.
  void close();

  [[nodiscard]] const Plan& plan() const noexcept { return *plan_; }
  [[nodiscard]] const StepStats& stats(StepId step) const { return slots_[step]->stats; }
  [[nodiscard]] std::size_t waiting(StepId step) const { return slots_[step]->channel.waiting(); }
  [[nodiscard]] bool slow(StepId step) const { return slots_[step]->slow.load(std::memory_order_relaxed); }
  [[nodiscard]] std::size_t in_flight() const noexcept { return events_.load(); }
  /// Seconds after which a caller who found no room is to come again: as long as what is in flight
  /// takes, as fast as events have settled lately, and a bit by chance, lest all come at once; 1 to 30.
  [[nodiscard]] int retry_after();
  /// How often `admit` found no room.
  [[nodiscard]] std::uint64_t refused() const noexcept { return refused_.get(); }
  [[nodiscard]] std::size_t workers() const { return lane_.workers(); }
  /// Has `action` run inside the gate, on any thread. Called in or out of the gate.
  void soon(std::function<void()> action) { add_chore(std::move(action)); }
  /// The calling thread has a place here, so that `flush` is called on it soon.
  [[nodiscard]] bool seated() const { return my_turn() != nullptr; }

  /// Gives the calling thread a place as an I/O thread of this executor while it lives.
  class Seat;

 private:
  friend class Emitter;
  friend class Outlet;
  friend class Pass;
  friend class Root;
  friend struct Activation;
  struct Frame;
  class Prodded;
  /// Waits for room, on its caller's stack.
  struct Hopeful {
    const void* owner;
    std::atomic<bool> told{false};  ///< no longer in the list: look again, and come back to it if need be
  };
  struct Slot {
    explicit Slot(const Plan::Entry& step);
    Channel channel;
    StepStats stats;
    std::atomic<bool> slow{false};                       ///< runs on workers
    std::atomic<bool> computes{false};                   ///< slow because it computes, not because it waits
    std::atomic<int> score{0};                           ///< up by 16 when a call is slow, down by 1 when not
    std::atomic<int> diagnose{0};                        ///< calls still to be measured one by one
    std::atomic<bool> wanted{false};                     ///< an inlet waits until this is below its mark
    std::atomic<TimePoint> due_armed{TimePoint::max()};  ///< when a timer will look at the batch; there may be more
  };

  Executor(std::shared_ptr<Plan> plan, Gate& gate, Options options);

  // LaneHost
  void run(std::uint32_t task) override;
  void stalled(std::uint32_t task) override;
  void flush() override;
  void assist(std::size_t loop) override;
  void nudge() override;
  bool interrupted() override;
  // GatherTarget
  void gathered(std::uint32_t step, Event&& event) override;

  void run_step(StepId id);
  void run_batch(StepId id, Batch& batch, std::size_t taken, const BatchQueue::Taken& found);
  void call_batch(StepId id, Batch& batch, Emitter& out);
  bool run_line(StepId head, Event&& event);
  void run_timed(StepId id, Event&& event);
  void conclude(StepId id, Event&& event, Verdict verdict, Pass& pass);
  bool note_time(StepId id, Duration taken);

  void emit(StepId from, Event&& event);
  void emit(StepId from, Event&& event, std::uint32_t outlet);
  void emit(StepId from, Event&& event, std::span<const std::uint32_t> outlets);
  void respond(StepId from, Event& event);
  void fan_out(Event&& event, std::span<const StepId> targets, bool copy);
  void deliver(StepId to, Event&& event);
  void deliver(StepId to, Batch& events);
  void fail(StepId at, Event&& event, Failure&& failure);
  void end_failed(Event&& event, Failure&& failure);
  void refuse(StepId at, Event&& event);
  bool try_again(StepId at, Event& event, const Failure& failure);
  void call_again(std::uint64_t ticket, StepId at);
  static Failure overloaded(Duration until);
  void turn_away(StepId at, Event&& event, Duration until);
  void drop(StepId at, Event&& event);
  void count(Counter& counter, StepId id);
  void schedule(StepId id);
  bool outlets_free(StepId id);
  void arm_due(StepId id, TimePoint seen);
  void end(StepId id, std::size_t events, std::uint64_t key);
  void expire(const std::shared_ptr<Activation>& activation);
  void add_chore(std::function<void()> chore, bool slow = false);
  void run_chores(std::deque<std::function<void()>>& chores);
  void answered(Root& root);
  void give_back(std::size_t events, std::size_t held, std::size_t bytes);
  void close_steps();
  Event orphan(Payload&& body, Ref<Envelope> envelope);
  void hold(std::ptrdiff_t events);
  void nudge_step(StepId step);
  bool quiet() const;
  double chance() const;
  void wake_settling();
  void wake_waiting();
  bool has_room(std::size_t bytes) const;
  Admission take_room(std::size_t events, std::size_t held, std::size_t bytes);
  Event event_of(Ref<Root>&& root, Payload&& body, Ref<Envelope>&& envelope);
  Admission try_admit(Ref<Root> root, Payload&& body, Ref<Envelope> envelope, StepId entry);
  void admit_waiting(Lane::Turn& turn, Ref<Root> root, Payload&& body, Ref<Envelope> envelope);
  std::uint64_t at_time(TimePoint when, Timers::Action action);
  void keep_time();
  Lane::Turn* my_turn() const;
  TimePoint now() const { return options_.now ? options_.now() : Clock::now(); }

  const std::shared_ptr<Plan> plan_;
  const Options options_;
  Gate& gate_;
  Lane lane_;
  std::vector<std::unique_ptr<Slot>> slots_;
  Timers timers_;
  Parker timekeeper_parker_;
  std::atomic<TimePoint> asleep_until_{TimePoint{}};
  std::atomic<std::size_t> events_{0};
  std::atomic<std::size_t> bytes_{0};
  Counter refused_;
  Counter settled_;
  std::atomic<std::ptrdiff_t> held_{0};  ///< of the events admitted: those that steps hold on purpose
  std::atomic<std::size_t> resting_count_{0};
  std::atomic<std::uint64_t> moves_{0};        ///< deliveries while settling, see `quiet`
  std::atomic<bool> full_{false};              ///< `room_wanted_` is not empty
  std::atomic<const void*> prodded_{nullptr};  ///< an interruptible caller, woken now and then to look
  std::atomic<bool> refusing_{false};
  std::atomic<bool> stopping_{false};
  std::atomic<std::size_t> running_{0};               ///< tasks
  std::atomic<bool> closing_{false};                  ///< the steps are to be closed when nothing runs
  bool orphaned_ = false;                             ///< the timekeeper's: it dropped the last reference itself
  std::mutex mutex_;                                  ///< a leaf; guards the next ten
  TimePoint looked_at_{};                             ///< when `retry_after` took the speed last
  std::uint64_t looked_settled_ = 0;                  ///< events that had settled then
  std::optional<double> speed_;                       ///< events a second that settle, if that is known
  std::vector<Hopeful*> room_wanted_;                 ///< callers to wake when there is room again
  std::vector<const void*> settling_;                 ///< callers to wake when all is settled
  std::deque<std::function<void()>> slow_chores_;     ///< the same, by workers
  std::deque<std::function<void()>> chores_;          ///< to be run inside the gate
  std::unordered_map<std::uint64_t, Event> resting_;  ///< failed, to be tried again; under their tickets
  std::uint64_t last_ticket_ = 0;
  bool closed_ = false;
  std::thread timekeeper_;

  static thread_local Frame* top_;
};

/// What a thread is doing for an executor; a stack, since a handler may call another graph.
struct Executor::Frame {
  Frame(Executor& e, Lane::Turn& t) : executor(&e), turn(&t), outer(top_) { top_ = this; }
  ~Frame() { top_ = outer; }
  Frame(const Frame&) = delete;
  Frame& operator=(const Frame&) = delete;
  Executor* executor;
  Lane::Turn* turn;
  StepId running = kNoStep;
  Frame* outer;
};

class Executor::Seat {
 public:
  Seat(Executor& executor, std::size_t loop)
      : turn_(Lane::Role::kIo, nullptr, nullptr, loop), frame_(executor, turn_) {}

 private:
  Lane::Turn turn_;
  Frame frame_;
};

/// Names an interruptible caller to the timekeeper while it waits. The lane has been watched since the
/// caller's event was run first, so the timekeeper is awake to see it.
class Executor::Prodded {
 public:
  Prodded(Executor& executor, Lane::Turn& turn, bool interruptible) : executor_(executor), set_(interruptible) {
    turn.interruptible = interruptible;
    if (set_) executor_.prodded_.store(turn.owner);
  }
  ~Prodded() {
    if (set_) executor_.prodded_.store(nullptr);
  }
  Prodded(const Prodded&) = delete;
  Prodded& operator=(const Prodded&) = delete;

 private:
  Executor& executor_;
  const bool set_;
};

/// One call of a step that may outlive the call: the emitter's share of it.
struct Activation {
  Activation(std::shared_ptr<Executor> e, StepId i, std::size_t n, std::uint64_t k)
      : executor(std::move(e)), id(i), events(n), key(k) {}
  ~Activation();
  /// Leaves the event to the timeout; whether that was first.
  bool abandon();
  /// The event to go on with after a call that may have timed out meanwhile: then there is none.
  bool claim(Event& event);

  std::shared_ptr<Executor> executor;
  StepId id;
  std::size_t events;
  std::uint64_t key;  ///< of the first event
  BatchQueue::Taken batch{};
  bool timed = false;
  bool claimed = false;  ///< set by whoever set `over` in `claim`
  Event held;            ///< if timed: the event itself, while the call has a copy
  std::uint64_t timer = 0;
  std::atomic<bool> over{false};
  std::mutex mutex;  ///< a leaf; guards the next
  std::function<void()> on_abandoned;
};

}  // namespace penstock
