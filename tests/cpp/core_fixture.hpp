#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include <penstock/executor.hpp>

namespace penstock::testing {

using namespace std::chrono_literals;

/// The host's global lock: one thread inside at a time, and it is known which.
class FakeGate final : public Gate {
 public:
  void enter() override {
    std::unique_lock lock(mutex_);
    left_.wait(lock, [&] { return inside_ == std::thread::id(); });
    inside_ = std::this_thread::get_id();
  }
  void leave() override {
    const std::lock_guard lock(mutex_);
    EXPECT_EQ(inside_, std::this_thread::get_id());
    inside_ = std::thread::id();
    left_.notify_one();
  }
  bool mine() {
    const std::lock_guard lock(mutex_);
    return inside_ == std::this_thread::get_id();
  }
  /// What a handler does that lets go of the global lock: it sleeps, or calls a database.
  template <class Action>
  void outside(Action action) {
    leave();
    action();
    enter();
  }
  /// What the interpreter does to a handler that computes: others get their turn now and then.
  void others() {
    leave();
    std::this_thread::yield();
    enter();
  }

 private:
  std::mutex mutex_;
  std::condition_variable left_;
  std::thread::id inside_;
};

class Inside {
 public:
  explicit Inside(FakeGate& gate) : gate_(gate) { gate_.enter(); }
  ~Inside() { gate_.leave(); }
  Inside(const Inside&) = delete;
  Inside& operator=(const Inside&) = delete;

 private:
  FakeGate& gate_;
};

/// An object of the host: a number, or a list of what it went through. Counted, so that a leak shows.
struct Thing {
  int value = 0;
  bool copiable = true;
  std::vector<std::string> trail;
  std::atomic<int> references{1};

  static std::atomic<int>& live() {
    static std::atomic<int> count{0};
    return count;
  }
  static std::atomic<int>& touched_outside() {
    static std::atomic<int> count{0};
    return count;
  }
  /// If set, things may only be copied inside it.
  static std::atomic<FakeGate*>& gate() {
    static std::atomic<FakeGate*> gate{nullptr};
    return gate;
  }
  explicit Thing(int number) : value(number) { ++live(); }
  ~Thing() { --live(); }
  Thing(const Thing&) = delete;
  Thing& operator=(const Thing&) = delete;

  static void check() {
    if (FakeGate* gate_now = gate().load(); gate_now != nullptr && !gate_now->mine()) ++touched_outside();
  }
  static const ObjectTraits* traits() {
    static constexpr ObjectTraits kTraits{[](void* object) {
                                            check();
                                            ++static_cast<Thing*>(object)->references;
                                          },
                                          [](void* object) noexcept {
                                            auto* thing = static_cast<Thing*>(object);
                                            if (--thing->references == 0) delete thing;
                                          },
                                          [](void* object) -> void* {
                                            check();
                                            const auto* thing = static_cast<Thing*>(object);
                                            if (!thing->copiable) throw Failure{"", 500, "TypeError", "no copy", {}};
                                            auto* copy = new Thing(thing->value);
                                            copy->trail = thing->trail;
                                            return copy;
                                          }};
    return &kTraits;
  }
};

inline Object object(int value) { return Object(new Thing(value), Thing::traits()); }
inline Payload number(int value) { return Payload(object(value)); }
inline Thing& thing(const Payload& payload) { return *static_cast<Thing*>(payload.object()->get()); }
inline Thing& thing(const Event& event) { return thing(event.body); }

/// Something that happens once, and those who wait for it. A hang ends after a while.
class Signal {
 public:
  void set() {
    const std::lock_guard lock(mutex_);
    set_ = true;
    changed_.notify_all();
  }
  [[nodiscard]] bool wait(Duration at_most = 30s) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, at_most, [&] { return set_; });
  }
  bool is_set() {
    const std::lock_guard lock(mutex_);
    return set_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool set_ = false;
};

/// A completion outside any executor.
class Told final : public Completion {
 public:
  int answers = 0;
  int settled = 0;
  Answer answer_given;
  Outcome outcome = Outcome::kOk;

 private:
  void on_answer(Answer&& answer) override {
    ++answers;
    answer_given = std::move(answer);
  }
  void on_settled(Outcome worst) override {
    ++settled;
    outcome = worst;
  }
};

/// A root that keeps its answer for the test.
class Kept final : public Root {
 public:
  [[nodiscard]] bool wait(Duration at_most = 30s) { return answered_.wait(at_most); }
  Answer& get() {
    EXPECT_TRUE(wait());
    return answer_;
  }
  bool has() { return answered_.is_set(); }
  std::atomic<int> times{0};

 private:
  void on_reply(Answer&& answer) override {
    ++times;
    answer_ = std::move(answer);
    answered_.set();
  }
  Answer answer_;
  Signal answered_;
};

using Apply = std::function<Verdict(Event&, Pass&)>;
using RunBatch = std::function<void(Batch&, Emitter&)>;

class FunctionStep final : public Transform {
 public:
  explicit FunctionStep(Apply apply) : apply_(std::move(apply)) {}
  Verdict apply(Event& event, Pass& pass) override { return apply_(event, pass); }

 private:
  Apply apply_;
};

class BatchStep final : public Step {
 public:
  explicit BatchStep(RunBatch run) : run_(std::move(run)) {}
  void run(Batch& batch, Emitter& out) override { run_(batch, out); }

 private:
  RunBatch run_;
};

inline Verdict pass_on(Event&, Pass&) { return Verdict::kEmit; }
inline Apply adds(int n) {
  return [n](Event& event, Pass&) {
    thing(event).value += n;
    return Verdict::kEmit;
  };
}
inline Apply fails(std::string message, int status = 500) {
  return [message = std::move(message), status](Event&, Pass& pass) {
    pass.failure = Failure{"", status, "ValueError", message, {}};
    return Verdict::kFail;
  };
}

/// A graph as a test writes it down.
struct Graph {
  std::vector<StepSpec> steps;
  std::vector<StepId> entries{0};

  StepSpec& add(std::string name, Apply apply, std::vector<StepId> outlets = {}) {
    return add(std::move(name), std::make_unique<FunctionStep>(std::move(apply)), std::move(outlets));
  }
  StepSpec& add_batch(std::string name, RunBatch run, std::vector<StepId> outlets = {}) {
    return add(std::move(name), std::make_unique<BatchStep>(std::move(run)), std::move(outlets));
  }
  StepSpec& add(std::string name, std::unique_ptr<Step> step, std::vector<StepId> outlets) {
    StepSpec& spec = steps.emplace_back();
    spec.name = std::move(name);
    spec.step = std::move(step);
    spec.outlets = std::move(outlets);
    return spec;
  }
  std::shared_ptr<Plan> compile() { return Plan::compile(std::move(steps), entries); }
};

/// Notes the failures that nobody else hears of.
class Noted final : public Observer {
 public:
  explicit Noted(FakeGate& gate) : gate_(gate) {}
  void failed(const Failure& failure, const Event&, bool heard) override {
    if (heard) return;
    EXPECT_TRUE(gate_.mine());
    const std::lock_guard lock(mutex_);
    texts_.push_back(failure.step + ": " + failure.text());
  }
  std::vector<std::string> texts() {
    const std::lock_guard lock(mutex_);
    return texts_;
  }

 private:
  FakeGate& gate_;
  std::mutex mutex_;
  std::vector<std::string> texts_;
};

/// Checks at the end that nothing is left of the objects, and that none was touched outside the gate.
/// In the destructor: the tests' own members have gone by then.
class CoreTest : public ::testing::Test {
 protected:
  CoreTest() {
    Thing::touched_outside() = 0;
    EXPECT_EQ(Thing::live(), 0);
  }
  ~CoreTest() override {
    EXPECT_EQ(Thing::live(), 0);
    EXPECT_EQ(Thing::touched_outside(), 0);
  }
};

/// An executor over a fake gate with so many lent threads; more are started only if `growing`.
class Running {
  FakeGate own_gate_;

 public:
  explicit Running(Graph graph, int workers, Executor::Options options = {}, bool growing = false,
                   FakeGate* shared = nullptr)
      : gate(shared != nullptr ? *shared : own_gate_), growing_(growing) {
    Thing::gate() = &gate;
    options.observer = &noted;
    executor = Executor::create(graph.compile(), gate, std::move(options));
    for (int i = 0; i < workers; ++i) spawn();
    while (executor->workers() < static_cast<std::size_t>(workers)) std::this_thread::yield();
  }
  ~Running() { stop(); }
  Running(const Running&) = delete;
  Running& operator=(const Running&) = delete;

  void stop() {
    if (!executor) return;
    close();
    for (;;) {
      std::vector<std::thread> threads;
      {
        const std::lock_guard lock(mutex_);
        threads.swap(threads_);
      }
      if (threads.empty()) break;
      for (std::thread& thread : threads) thread.join();
    }
    const std::weak_ptr<Executor> left = executor;
    executor.reset();
    // A thread that has just ended the last event may still have its root in hand.
    const TimePoint patience = Clock::now() + 10s;
    while (!left.expired() && Clock::now() < patience) std::this_thread::yield();
    EXPECT_TRUE(left.expired()) << "something keeps the executor alive";
    Thing::gate() = nullptr;
  }
  void close() {
    const Inside inside(gate);
    executor->close();
  }

  Answer call(Payload&& body, std::optional<Duration> timeout = std::nullopt) {
    const Inside inside(gate);
    auto waiter = make_ref<Waiter>();
    if (timeout) waiter->deadline = Clock::now() + *timeout;
    return executor->call(std::move(waiter), std::move(body), make_ref<Envelope>());
  }
  Answer call(int value) { return call(number(value)); }
  /// The number answered; -1 if none was.
  int ask(int value) {
    const Answer answer = call(value);
    EXPECT_FALSE(answer.failure) << answer.failure->text();
    return answer.body && answer.body->object() != nullptr ? thing(*answer.body).value : -1;
  }
  Ref<Kept> admit(int value, Admission expected = Admission::kAccepted, std::size_t bytes = 0) {
    auto root = make_ref<Kept>();
    root->bytes = bytes;
    const Inside inside(gate);
    EXPECT_EQ(executor->admit(root, number(value), make_ref<Envelope>()), expected);
    return root;
  }
  void post(int value) {
    const Inside inside(gate);
    executor->post(make_ref<Kept>(), number(value), make_ref<Envelope>());
  }
  bool settle(Duration timeout = 30s) {
    const Inside inside(gate);
    return executor->settle(timeout);
  }
  const StepStats& stats(StepId step) const { return executor->stats(step); }

  FakeGate& gate;
  Noted noted{gate};
  std::shared_ptr<Executor> executor;

 private:
  bool spawn() {
    const std::lock_guard lock(mutex_);
    threads_.emplace_back([this, held = executor] { held->lend([this] { return growing_ && spawn(); }); });
    return true;
  }

  const bool growing_;
  std::mutex mutex_;
  std::vector<std::thread> threads_;
};

/// Tests that hold for any number of workers: 0, where callers run everything, 1 and 4.
class ExecutorTest : public CoreTest, public ::testing::WithParamInterface<int> {};

}  // namespace penstock::testing
