// The lane's protocol under seeded schedules: whatever the interleaving, every task runs once, every
// caller gets its answer, and everybody can leave. Fibers are not for sanitizers: those see the
// threads of test_lane.cpp.
#if !defined(__SANITIZE_THREAD__) && !defined(__SANITIZE_ADDRESS__)

#include <gtest/gtest.h>

#include <cstdlib>
#include <deque>
#include <map>

#include <penstock/lane.hpp>

#include "sim.hpp"

namespace penstock {
namespace {

using SimLane = BasicLane<sim::Sync>;
using std::chrono::milliseconds;

class SimGate : public Gate {
 public:
  void enter() override { mutex_.lock(); }
  void leave() override { mutex_.unlock(); }

 private:
  sim::Mutex mutex_;
};

/// One request: a chain of tasks; each may be quick, sleep, spin, wait for an outside thread, or ask
/// a nested request and wait for it.
struct Request {
  int left = 0;
  bool done = false;
  bool nested = false;
  SimLane::Turn* waiter = nullptr;
};

class Simulation : public LaneHost {
 public:
  explicit Simulation(std::uint64_t seed) : world(seed), lane(*this, gate, options(seed)), workers_(seed % 5 != 0) {
    lane.ticker = &ticker_;
  }

  static SimLane::Options options(std::uint64_t seed) {
    SimLane::Options options;
    options.active = 1 + seed % 2;
    options.workers = 1 + seed % 7;
    return options;
  }

  void run_all() {
    for (int i = 0; i < 5; ++i) world.spawn("caller", [this] { caller(); });
    for (std::size_t i = 0; i < kIoThreads && workers_; ++i) world.spawn("io", [this, i] { io(i); });
    if (!workers_) io_done_ = kIoThreads;  // they leave slow tasks to workers
    world.spawn("outside", [this] { outside(); });
    world.spawn("ticker", [this] { tick(); });
    if (workers_) spawn_worker();
    world.run(std::chrono::hours(1));
  }

  // ---- LaneHost
  void run(std::uint32_t task) override {
    ASSERT_FALSE(inside_task_twice(task));
    Request* request = tasks_[task];
    SimLane::Turn* turn = turns_[task];
    switch (world.below(12)) {
      case 0:
        pause(milliseconds(200));
        break;  // sleeps outside the gate
      case 1:
        spin();
        break;  // computes, preempted now and then
      case 2:
        nested(request, turn);
        break;
      case 3:
        to_outside_.push_back(request);
        parked_outside_.unpark();
        return;
      default:
        world.advance(std::chrono::microseconds(world.below(20)));
    }
    finish_one(request, nullptr);
  }
  void stalled(std::uint32_t) override { ++stalls; }
  void nudge() override {
    ++nudges_;
    for (auto& parker : io_parkers_) parker.unpark();
  }
  void assist(std::size_t loop) override {
    SimLane::Turn turn(SimLane::Role::kIo, nullptr, nullptr, loop);
    lane.drain(turn);
  }

  int least() const { return (kCallers + (workers_ ? kIoThreads : 0)) * kRequests; }
  int answered = 0;
  int stalls = 0;
  static constexpr int kCallers = 5, kIoThreads = 2, kRequests = 3;
  sim::World world;

 private:
  SimGate gate;

 public:
  SimLane lane;

 private:
  bool inside_task_twice(std::uint32_t task) { return ++started_[task] > 1; }

  void push(Request* request, SimLane::Turn* turn) {
    const auto id = static_cast<std::uint32_t>(tasks_.size());
    tasks_.push_back(request);
    turns_.push_back(turn);
    // The owner is a guess: the task may turn out to be for another's event.
    const bool wrong = !request->nested && tasks_.size() > 1 && world.below(6) == 0;
    const void* owner = wrong ? tasks_[world.below(tasks_.size() - 1)] : request;
    lane.push(Task{id, owner}, world.below(4) == 0, turn);
  }
  void finish_one(Request* request, SimLane::Turn* turn) {
    if (--request->left > 0) return push(request, turn);
    request->done = true;
    ++answered;
    if (request->waiter != nullptr)
      lane.wake(request);
    else
      --open_;
    if (finished()) close();
  }
  void pause(sim::Duration time) {
    gate.leave();
    world.sleep(time);
    gate.enter();
  }
  void spin() {
    for (int i = 0; i < 10; ++i) {
      world.advance(milliseconds(5));
      gate.leave();
      world.yield();
      gate.enter();
    }
  }
  void ask(SimLane::Turn* outer) {
    Request request;
    request.left = 1 + static_cast<int>(world.below(4));
    request.nested = outer != nullptr;  // its caller runs nothing of others: the guess must hold
    SimLane::Turn turn(SimLane::Role::kCaller, &request, outer);
    turn.inside = true;
    request.waiter = &turn;
    push(&request, &turn);
    lane.wait(turn, [&] { return request.done; });
    ASSERT_TRUE(request.done);
  }
  void nested(Request* request, SimLane::Turn*) {
    if (++depth_[request] > 1 || !workers_) return;
    SimLane::Turn outer(SimLane::Role::kCaller);
    ask(&outer);
  }
  void caller() {
    for (int i = 0; i < kRequests; ++i) {
      gate.enter();
      ask(nullptr);
      gate.leave();
      world.sleep(milliseconds(world.below(3)));
    }
    ++callers_done_;
    if (finished()) close();
  }
  void io(std::size_t loop) {
    SimLane::Turn turn(SimLane::Role::kIo, nullptr, nullptr, loop);
    for (int i = 0; i < kRequests; ++i) {
      requests_.emplace_back();
      requests_.back().left = 1 + static_cast<int>(world.below(4));
      ++open_;
      push(&requests_.back(), &turn);
      while (lane.drain(turn)) {
      }
      world.sleep(milliseconds(world.below(2)));
    }
    ++io_done_;
    if (finished()) close();
    while (!closed_) {
      io_parkers_[loop].park();
      while (lane.drain(turn)) {
      }
    }
  }
  void outside() {
    for (;;) {
      while (to_outside_.empty() && !closed_) parked_outside_.park();
      if (to_outside_.empty()) return;
      Request* request = to_outside_.front();
      to_outside_.pop_front();
      world.sleep(milliseconds(world.below(4)));
      finish_one(request, nullptr);
    }
  }
  void tick() {
    while (!closed_) {
      ticker_.park();
      while (lane.watching() && !closed_) {
        world.sleep(milliseconds(1));
        lane.tick();
      }
    }
  }
  void spawn_worker() {
    world.spawn("worker", [this] {
      SimLane::Turn turn(SimLane::Role::kWorker);
      while (lane.work(turn) == SimLane::Lent::kSpawn) spawn_worker();
    });
  }
  bool finished() const { return callers_done_ == kCallers && io_done_ == kIoThreads && open_ == 0; }
  void close() {
    closed_ = true;
    lane.close();
    ticker_.unpark();
    parked_outside_.unpark();
    nudge();
  }

  std::deque<Request*> tasks_;
  std::deque<SimLane::Turn*> turns_;
  std::map<std::uint32_t, int> started_;
  std::map<Request*, int> depth_;
  std::deque<Request> requests_;
  std::deque<Request*> to_outside_;
  sim::Parker ticker_, parked_outside_;
  sim::Parker io_parkers_[kIoThreads];
  int callers_done_ = 0, io_done_ = 0, open_ = 0, nudges_ = 0;
  bool closed_ = false;
  const bool workers_;
};

TEST(LaneSimulation, NoScheduleLosesATaskOrHangs) {
  const char* asked = std::getenv("PENSTOCK_SIM_SEEDS");
  const int seeds = asked == nullptr ? 2000 : std::atoi(asked);
  int stalls = 0;
  for (int seed = 0; seed < seeds; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Simulation simulation(static_cast<std::uint64_t>(seed));
    ASSERT_NO_THROW(simulation.run_all());
    EXPECT_GE(simulation.answered, simulation.least());
    EXPECT_EQ(simulation.lane.ready(), 0u);
    EXPECT_EQ(simulation.lane.workers(), 0u);
    stalls += simulation.stalls;
  }
  EXPECT_GT(stalls, 0);
}

}  // namespace
}  // namespace penstock

#endif
