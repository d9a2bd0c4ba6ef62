// The lane with real threads over a fake gate: two I/O threads, five callers, and lent workers that
// start more; tasks that are quick, sleep outside the gate, compute inside it, go to an outside thread
// and come back, ask another graph, or fail.
#include <algorithm>
#include <random>

#include "core_fixture.hpp"

namespace penstock::testing {
namespace {

constexpr int kIoThreads = 2, kCallers = 5, kRequests = 60;

enum Kind : int { kQuick, kSleeps, kComputes, kGoesOutside, kAsksAnother, kFails, kKinds };

/// A graph with a step for each kind of task, and threads that behave as a server's do.
class LaneTest : public CoreTest, public ::testing::WithParamInterface<int> {
 protected:
  /// The I/O threads' loops: `nudge` makes one call `drain` again.
  struct Loop {
    Parker parker;
    std::atomic<bool> stop{false};
  };

  Graph graph() {
    Graph made;
    made.add_batch("choose",
                   [](Batch& batch, Emitter& out) {
                     for (Event& event : batch) {
                       const auto kind = static_cast<std::uint32_t>(thing(event).value % kKinds);
                       out.emit(std::move(event), kind);
                     }
                   },
                   {1, 2, 3, 4, 5, 6});
    made.add("quick", pass_on, {7});
    made.add("sleeps",
             [this](Event&, Pass&) {
               gate.outside([] { std::this_thread::sleep_for(2ms); });
               return Verdict::kEmit;
             },
             {7})
        .concurrency = 3;
    made.add("computes",
             [this](Event&, Pass&) {
               const TimePoint end = Clock::now() + 1500us;
               while (Clock::now() < end) gate.others();
               return Verdict::kEmit;
             },
             {7});
    made.add("goes outside",
             [this](Event& event, Pass& pass) {
               auto held = std::make_shared<std::pair<Event, Emitter>>(std::move(event), pass.detach());
               const std::lock_guard lock(outside_mutex_);
               outside_.emplace_back([this, held] {
                 const Inside inside(gate);
                 held->second.emit(std::move(held->first));
                 held->second = Emitter();
               });
               return Verdict::kTaken;
             },
             {7})
        .concurrency = 4;
    made.add("asks another",
             [this](Event&, Pass&) {
               const Answer answer = another->executor->call(make_ref<Waiter>(), number(1), make_ref<Envelope>());
               EXPECT_EQ(thing(*answer.body).value, 2);
               return Verdict::kEmit;
             },
             {7})
        .concurrency = 2;
    made.add("fails", [](Event&, Pass&) -> Verdict { throw Failure{"", 500, "ValueError", "bad", {}}; }, {7});
    made.add("last", adds(1000)).responder = true;
    return made;
  }

  void serve(std::size_t index) {
    const Executor::Seat seat(*run->executor, index);
    std::mt19937 random(static_cast<unsigned>(index));
    std::vector<std::pair<int, Ref<Kept>>> roots;
    const auto done = [&] {
      return std::all_of(roots.begin(), roots.end(), [](const auto& entry) { return entry.second->has(); });
    };
    for (int i = 0; i < kRequests; ++i) {
      const int value = static_cast<int>(random() % 600);
      auto root = make_ref<Kept>();
      {
        const Inside inside(gate);  // objects are made there; a server's bodies are bytes
        ASSERT_EQ(run->executor->admit(root, number(value), make_ref<Envelope>()), Admission::kAccepted);
      }
      roots.emplace_back(value, root);
      while (run->executor->drain()) {
      }
    }
    const TimePoint patience = Clock::now() + 60s;
    while (!done() && Clock::now() < patience) {
      loops[index].parker.park_until(Clock::now() + 1ms);
      while (run->executor->drain()) {
      }
    }
    for (const auto& [value, root] : roots) {
      ASSERT_TRUE(root->has()) << "no answer to " << value;
      check(value, root->get());
      answered += root->times;
    }
  }

  void ask(unsigned seed) {
    std::mt19937 random(seed);
    for (int i = 0; i < kRequests; ++i) {
      const int value = static_cast<int>(random() % 600);
      check(value, run->call(value));
      ++answered;
    }
  }

  static void check(int value, const Answer& answer) {
    if (value % kKinds == kFails) {
      ASSERT_TRUE(answer.failure);
      EXPECT_EQ(answer.failure->step, "fails");
    } else {
      ASSERT_TRUE(answer.body) << (answer.failure ? answer.failure->text() : "nothing");
      EXPECT_EQ(thing(*answer.body).value, value + 1000);
    }
  }

  FakeGate gate;
  Loop loops[kIoThreads];
  std::mutex outside_mutex_;
  std::vector<std::thread> outside_;
  std::optional<Running> another, run;
  std::atomic<int> answered{0};
};

INSTANTIATE_TEST_SUITE_P(ThreadsActiveAtOnce, LaneTest, ::testing::Values(1, 2));

TEST_P(LaneTest, EveryRequestIsAnsweredOnceWhateverTheHandlersDo) {
  Graph other;
  other.add("other", adds(1)).responder = true;
  another.emplace(std::move(other), 1, Executor::Options{}, true, &gate);
  Executor::Options options;
  options.lane.active = static_cast<std::size_t>(GetParam());
  options.lane.workers = 8;
  options.nudge = [this] {
    for (Loop& loop : loops) loop.parker.unpark();
  };
  run.emplace(graph(), 1, std::move(options), true, &gate);

  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < kIoThreads; ++i) threads.emplace_back([this, i] { serve(i); });
  for (unsigned c = 0; c < kCallers; ++c) threads.emplace_back([this, c] { ask(100 + c); });
  for (std::thread& thread : threads) thread.join();

  EXPECT_EQ(answered, (kIoThreads + kCallers) * kRequests);
  EXPECT_TRUE(run->settle());
  for (std::thread& thread : outside_) thread.join();
  EXPECT_EQ(run->executor->in_flight(), 0u);
  std::uint64_t events = 0;
  for (StepId id = 1; id <= kKinds; ++id) events += run->stats(id).events.get();
  EXPECT_EQ(events, run->stats(0).events.get());
  EXPECT_EQ(run->stats(7).events.get() + run->stats(6).failed.get(), events);
  run.reset();
  another.reset();
}

/// Runs one task at a time and says which thread did.
class Host final : public LaneHost {
 public:
  explicit Host(FakeGate& gate) : gate_(gate) {}
  void run(std::uint32_t task) override {
    EXPECT_TRUE(gate_.mine());
    if (tasks.at(task)) tasks[task]();
  }
  void flush() override { ++flushes; }
  void assist(std::size_t loop) override {
    if (on_assist) on_assist(loop);
  }
  void nudge() override { ++nudges; }
  std::vector<std::function<void()>> tasks;
  std::function<void(std::size_t)> on_assist;
  std::atomic<int> flushes{0}, nudges{0};

 private:
  FakeGate& gate_;
};

class LaneOnlyTest : public CoreTest {
 protected:
  std::thread worker() {
    return std::thread([this] {
      Lane::Turn turn(Lane::Role::kWorker);
      while (lane.work(turn) == Lane::Lent::kSpawn) lane.spawn_failed();
    });
  }
  FakeGate gate;
  Host host{gate};
  Lane lane{host, gate, {}};
  static inline thread_local Lane::Turn* assisting = nullptr;
};

TEST_F(LaneOnlyTest, AnIoThreadRunsWhatIsReadyAndStopsAfterASlice) {
  Lane::Turn turn(Lane::Role::kIo);
  int ran = 0;
  host.tasks = {[&] {
    const TimePoint end = Clock::now() + 2ms;
    while (Clock::now() < end) {
    }
    ++ran;
  }};
  lane.push({0, nullptr}, false, &turn);
  lane.push({0, nullptr}, false, &turn);
  EXPECT_TRUE(lane.drain(turn)) << "a slice was not enough";
  EXPECT_EQ(ran, 1);
  EXPECT_FALSE(lane.drain(turn));
  EXPECT_EQ(ran, 2);
  EXPECT_EQ(lane.ready(), 0u);
  EXPECT_EQ(host.nudges, 0) << "it comes back by itself";
}

TEST_F(LaneOnlyTest, WithNobodyToWakeAnIoThreadIsNudged) {
  host.tasks = {nullptr};
  lane.push({0, nullptr}, false, nullptr);
  EXPECT_EQ(host.nudges, 1);
  EXPECT_EQ(lane.ready(), 1u);
}

TEST_F(LaneOnlyTest, AWorkerHandsTheAnswersOfASlowTaskOutBeforeTheNext) {
  Signal first_started, more_pushed;
  std::atomic<int> at_second{-1};
  int before = 0;
  host.tasks = {[&] {
                  first_started.set();
                  gate.outside([&] { EXPECT_TRUE(more_pushed.wait()); });
                  before = host.flushes;
                },
                [&] { at_second = host.flushes - before; }};
  lane.push({0, nullptr}, true, nullptr);
  std::thread thread = worker();
  ASSERT_TRUE(first_started.wait());
  lane.push({1, nullptr}, true, nullptr);
  more_pushed.set();
  lane.close();
  thread.join();
  EXPECT_EQ(at_second, 1);
}

TEST_F(LaneOnlyTest, ACallerThatDrainsForOthersHandsAnswersOutMeanwhile) {
  bool done = false;
  int flushed = 0;
  host.tasks = {[&] {
                  const TimePoint end = Clock::now() + 2ms;
                  while (Clock::now() < end) {
                  }
                },
                [&] {
                  flushed = host.flushes;
                  done = true;
                }};
  for (int i = 0; i < 3; ++i) lane.push({0, nullptr}, false, nullptr);
  lane.push({1, nullptr}, false, nullptr);
  gate.enter();
  Lane::Turn turn(Lane::Role::kCaller);
  turn.inside = true;
  lane.wait(turn, [&] { return done; });
  EXPECT_TRUE(gate.mine());
  gate.leave();
  EXPECT_EQ(flushed, 3);
}

TEST_F(LaneOnlyTest, AThreadThatStallsIsRelieved) {
  Signal stalled, quick_done;
  host.tasks = {[&] {
                  gate.outside([&] {
                    stalled.set();
                    EXPECT_TRUE(quick_done.wait());
                  });
                },
                [&] { quick_done.set(); }};
  std::thread io([&] {
    Lane::Turn turn(Lane::Role::kIo, nullptr, nullptr, 3);
    lane.push({0, nullptr}, false, &turn);
    lane.drain(turn);
  });
  ASSERT_TRUE(stalled.wait());
  Signal assisted;
  std::atomic<std::size_t> which{0};
  host.on_assist = [&](std::size_t loop) {
    which = loop;
    assisted.set();
  };
  std::thread thread = worker();
  lane.push({1, nullptr}, false, nullptr);
  while (!quick_done.is_set() || !assisted.is_set()) lane.tick();
  io.join();
  EXPECT_EQ(which, 3u) << "and its loop is served";
  lane.close();
  thread.join();
}

TEST_F(LaneOnlyTest, AWorkerThatStallsWhileItAssistsIsRelievedToo) {
  Signal begun, stalled, release, again;
  std::atomic<int> assists{0};
  host.tasks = {[&] {
                  gate.outside([&] {
                    begun.set();
                    EXPECT_TRUE(release.wait());
                  });
                },
                [&] {
                  gate.outside([&] {
                    stalled.set();
                    EXPECT_TRUE(release.wait());
                  });
                }};
  // The I/O thread stalls in task 0, the worker that takes its place in task 1, which it read there.
  host.on_assist = [&](std::size_t loop) {
    EXPECT_EQ(loop, 3u);
    if (++assists == 1) {
      Lane::Turn& turn = *assisting;
      lane.push({1, nullptr}, false, &turn);
      lane.drain(turn);
    } else {
      again.set();
    }
  };
  std::thread io([&] {
    Lane::Turn turn(Lane::Role::kIo, nullptr, nullptr, 3);
    lane.push({0, nullptr}, false, &turn);
    lane.drain(turn);
  });
  const auto lend = [&] {
    Lane::Turn turn(Lane::Role::kWorker);
    assisting = &turn;
    while (lane.work(turn) == Lane::Lent::kSpawn) lane.spawn_failed();
  };
  ASSERT_TRUE(begun.wait());
  std::thread first(lend);
  while (!stalled.is_set()) lane.tick();
  std::thread second(lend);
  while (!again.is_set()) lane.tick();
  EXPECT_EQ(assists, 2);
  release.set();
  io.join();
  lane.close();
  first.join();
  second.join();
}

TEST_F(LaneOnlyTest, ACallIsNotHeldUpByABoundedTaskIfThereIsAWorker) {
  const int me = 0;
  std::thread::id ran_by;
  Signal answered, release;
  host.tasks = {[&] {
    ran_by = std::this_thread::get_id();
    answered.set();
    lane.wake(&me);  // as a timeout would
    gate.outside([&] { EXPECT_TRUE(release.wait()); });
  }};
  std::thread thread = worker();
  while (lane.workers() == 0) std::this_thread::yield();
  gate.enter();
  Lane::Turn turn(Lane::Role::kCaller, &me);
  turn.inside = true;
  lane.push({0, &me, true}, true, &turn);
  lane.wait(turn, [&] { return answered.is_set(); });
  gate.leave();
  EXPECT_NE(ran_by, std::this_thread::get_id());
  release.set();
  lane.close();
  thread.join();
}

}  // namespace
}  // namespace penstock::testing
