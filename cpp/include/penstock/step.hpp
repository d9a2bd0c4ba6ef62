#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include <penstock/batch_queue.hpp>

namespace penstock {

using StepId = std::uint32_t;
inline constexpr StepId kNoStep = ~StepId{0};

class Executor;
struct Activation;

/// Where the events go that a step holds beyond its calls. Any thread, inside the gate; once the graph
/// has ended, events just end.
class Outlet {
 public:
  Outlet() noexcept = default;
  Outlet(std::weak_ptr<Executor> executor, StepId step) noexcept : executor_(std::move(executor)), step_(step) {}

  void emit(Event&& event) const;
  void emit(Event&& event, std::uint32_t outlet) const;
  void fail(Event&& event, Failure&& failure) const;
  void drop(Event&& event) const;
  /// An event that nobody has sent.
  [[nodiscard]] Event orphan(Payload&& body, Ref<Envelope> envelope) const;
  /// The step holds this many events more, or fewer: they take no place from those still to be admitted.
  void hold(std::ptrdiff_t events) const;
  /// Has the step run at that time, in its turn, with an event that has no completion.
  void wake(TimePoint when) const;
  /// The same, at once; any thread, in or out of the gate.
  void wake() const;
  /// Has `action` run inside the gate, soon, on any thread; by a worker if it is `slow`. Itself from any
  /// thread, in or out of the gate.
  void later(std::function<void()> action, bool slow) const;
  /// The step's place in the order of the plan.
  [[nodiscard]] std::uint32_t rank() const;

 private:
  std::weak_ptr<Executor> executor_;
  StepId step_ = kNoStep;
};

/// Where a step's events go. Owns a share of the step's concurrency: the step counts as running until
/// it is gone. A step that finishes later moves it out and drops it when done, on any thread.
class Emitter {
 public:
  Emitter() noexcept = default;
  explicit Emitter(std::shared_ptr<Activation> activation) noexcept : activation_(std::move(activation)) {}
  Emitter(Emitter&&) noexcept = default;
  Emitter& operator=(Emitter&&) noexcept = default;

  /// To all outlets; if there are none, the event has arrived and ends.
  void emit(Event&& event);
  /// To the outlet of this number only.
  void emit(Event&& event, std::uint32_t outlet);
  /// To the outlets of these numbers, of which there is at least one.
  void emit(Event&& event, std::span<const std::uint32_t> outlets);
  /// To the step's error handler, else it ends there.
  void fail(Event&& event, Failure&& failure);
  /// The step dropped it.
  void drop(Event&& event);
  /// Answers with the body and ends.
  void finish(Event&& event);
  /// Has `action` run inside the gate, once, if the step's timeout passes or `event` is cancelled while
  /// this emitter is held.
  void on_abandoned(const Event& event, std::function<void()> action);
  /// For a step that sends out parts: what waits for them at its merging step.
  [[nodiscard]] Ref<Gather> gather(std::size_t parts);
  /// Takes the event out of its step's timeout; false if that has passed. What is emitted of it after
  /// this goes through `outlet`.
  [[nodiscard]] bool claim(Event& event);
  [[nodiscard]] Outlet outlet() const;
  [[nodiscard]] const std::string& step_name() const;
  explicit operator bool() const noexcept { return activation_ != nullptr; }

 private:
  std::shared_ptr<Activation> activation_;
};

/// A step of a running graph. Called inside the gate.
class Step {
 public:
  virtual ~Step() = default;

  /// Called once, before any event comes.
  virtual void start(const Outlet& /*outlet*/) {}
  /// It may hold events beyond its calls, and is told when a graph drains.
  [[nodiscard]] virtual bool finishes() const { return false; }
  /// Nothing will come any more: at its next run, with an event that has no completion, the step is to
  /// send on what it holds. False if it was asked before.
  virtual bool ask_to_finish() { return false; }

  /// Handles `batch`, which is never empty. At most the step's concurrency of calls run at once.
  /// Move an event out to keep or emit it; one left behind is dropped.
  /// If this throws `Failure`, every event left in `batch` fails with it.
  virtual void run(Batch& batch, Emitter& out) = 0;

  /// What an event that was sent here is to a batch, if the step takes them. In or out of the gate; an
  /// object of the host is only there inside.
  [[nodiscard]] virtual Fit fit(Event& event) const { return Fit{0, 1, event.envelope ? event.envelope->priority : 0}; }

  /// It wants to see the event that says that no further chunk comes; others are passed by.
  [[nodiscard]] virtual bool takes_last_chunks() const { return false; }

  /// Called once inside the gate when the graph has ended.
  virtual void close() {}
};

/// What a transform made of an event.
enum class Verdict : std::uint8_t {
  kEmit,    ///< changed in place: on to all outlets
  kDrop,    ///< filtered out
  kFail,    ///< see Pass::failure; the event is as it came
  kFinish,  ///< ends here and answers with its body
  kTaken,   ///< moved out, together with an emitter
};

/// One call of a transform.
class Pass {
 public:
  Pass(Executor& executor, StepId step, std::uint64_t key) : executor_(executor), step_(step), key_(key) {}
  /// For a transform that finishes later: the share of the step's concurrency that it keeps.
  [[nodiscard]] Emitter detach();
  std::optional<Failure> failure;
  std::shared_ptr<Activation> activation;  ///< of a call that has a timeout; the executor's

 private:
  Executor& executor_;
  StepId step_;
  std::uint64_t key_;
};

/// A step that makes of one event at most one, in place. A run of them costs no channel between.
class Transform : public Step {
 public:
  /// If this throws `Failure`, the event fails with it.
  virtual Verdict apply(Event& event, Pass& pass) = 0;
  void run(Batch&, Emitter&) final {}  // the executor calls `apply`
};

}  // namespace penstock
