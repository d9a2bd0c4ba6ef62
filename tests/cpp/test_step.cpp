// Steps that finish later, send out parts, or send on more than they got.
#include <numeric>

#include "core_fixture.hpp"

namespace penstock::testing {
namespace {

class StepTest : public ExecutorTest {};
INSTANTIATE_TEST_SUITE_P(Workers, StepTest, ::testing::Values(0, 1, 4));

/// A thread that is not of the core, such as an event loop: what it is given ends there.
class Elsewhere {
 public:
  Elsewhere() : thread_([this] { run(); }) {}
  ~Elsewhere() {
    post({});
    thread_.join();
  }
  Elsewhere(const Elsewhere&) = delete;
  Elsewhere& operator=(const Elsewhere&) = delete;
  void post(std::function<void()> action) {
    const std::lock_guard lock(mutex_);
    actions_.push_back(std::move(action));
    added_.notify_one();
  }

 private:
  void run() {
    for (;;) {
      std::unique_lock lock(mutex_);
      added_.wait(lock, [&] { return !actions_.empty(); });
      const auto action = std::move(actions_.front());
      actions_.erase(actions_.begin());
      lock.unlock();
      if (!action) return;
      action();
    }
  }
  std::mutex mutex_;
  std::condition_variable added_;
  std::vector<std::function<void()>> actions_;
  std::thread thread_;
};

struct Parcel {
  Event event;
  Emitter out;
};

/// Hands its event over and lets it go on from there, once `done` has looked at it inside the gate.
Apply later(Elsewhere& elsewhere, FakeGate*& gate, std::function<void(Event&&, Emitter&)> done) {
  return [&elsewhere, &gate, done = std::move(done)](Event& event, Pass& pass) {
    auto parcel = std::make_shared<Parcel>();
    parcel->event = std::move(event);
    parcel->out = pass.detach();
    elsewhere.post([&gate, done, parcel] {
      const Inside inside(*gate);
      done(std::move(parcel->event), parcel->out);
      parcel->out = Emitter();
    });
    return Verdict::kTaken;
  };
}

TEST_P(StepTest, ACallMayEndOnAnotherThread) {
  FakeGate* gate = nullptr;
  Elsewhere elsewhere;
  Graph graph;
  graph.add("a", adds(1), {1});
  graph.add("later",
            later(elsewhere, gate,
                  [](Event&& event, Emitter& out) {
                    thing(event).value += 10;
                    out.emit(std::move(event));
                  }),
            {2});
  graph.steps[1].concurrency = 8;
  graph.add("c", adds(100)).responder = true;
  Running run(std::move(graph), GetParam());
  gate = &run.gate;
  std::vector<std::thread> callers;
  for (int c = 0; c < 4; ++c)
    callers.emplace_back([&] {
      for (int i = 0; i < 50; ++i) ASSERT_EQ(run.ask(i), i + 111);
    });
  for (std::thread& caller : callers) caller.join();
  EXPECT_TRUE(run.settle());
  EXPECT_EQ(run.stats(2).events.get(), 200u);
}

TEST_P(StepTest, ADetachedCallKeepsItsPlace) {
  FakeGate* gate = nullptr;
  std::atomic<int> inside{0}, most{0};
  Elsewhere elsewhere;
  Graph graph;
  const auto end = later(elsewhere, gate, [&](Event&& event, Emitter& out) {
    --inside;
    out.emit(std::move(event));
  });
  graph
      .add("a",
           [&](Event& event, Pass& pass) {
             most = std::max(most.load(), ++inside);
             return end(event, pass);
           })
      .concurrency = 2;
  graph.steps[0].responder = true;
  Running run(std::move(graph), GetParam());
  gate = &run.gate;
  std::vector<Ref<Kept>> roots;
  for (int i = 0; i < 100; ++i) roots.push_back(run.admit(i));
  EXPECT_TRUE(run.settle());
  for (int i = 0; i < 100; ++i) EXPECT_EQ(thing(*roots[static_cast<std::size_t>(i)]->get().body).value, i);
  EXPECT_LE(most, 2);
}

TEST_P(StepTest, ADetachedCallMayFailDropFinishOrBeForgotten) {
  FakeGate* gate = nullptr;
  Elsewhere elsewhere;
  Graph graph;
  graph.add("a",
            later(elsewhere, gate,
                  [](Event&& event, Emitter& out) {
                    switch (thing(event).value) {
                      case 0:
                        return out.fail(std::move(event), Failure{"", 400, "", "no", {}});
                      case 1:
                        return out.drop(std::move(event));
                      case 2:
                        return out.finish(std::move(event));
                      default:
                        event.end();
                    }
                  }),
            {1});
  graph.add("b", adds(100)).responder = true;
  Running run(std::move(graph), GetParam());
  gate = &run.gate;
  EXPECT_EQ(run.call(0).failure->step, "a");
  EXPECT_EQ(run.ask(1), -1);
  EXPECT_EQ(run.ask(2), 2);
  EXPECT_EQ(run.ask(3), -1);
  EXPECT_TRUE(run.settle());
}

TEST_P(StepTest, ADetachedCallMayTimeOut) {
  FakeGate* gate = nullptr;
  Signal release;
  std::atomic<int> arrived{0};
  Elsewhere elsewhere;
  Graph graph;
  graph.add("a",
            [&](Event& event, Pass& pass) {
              if (thing(event).value > 0) return Verdict::kEmit;
              return later(elsewhere, gate, [&](Event&& held, Emitter& out) { out.emit(std::move(held)); })(event,
                                                                                                            pass);
            },
            {1});
  graph.steps[0].timeout = 20ms;
  graph
      .add("b",
           [&](Event&, Pass&) {
             ++arrived;
             return Verdict::kEmit;
           })
      .responder = true;
  Running run(std::move(graph), GetParam());
  gate = &run.gate;
  elsewhere.post([&] { EXPECT_TRUE(release.wait()); });
  const Answer answer = run.call(-1);
  ASSERT_TRUE(answer.failure);
  EXPECT_EQ(answer.failure->status, 504);
  EXPECT_EQ(run.ask(1), 1) << "its place was given away";
  release.set();
  EXPECT_TRUE(run.settle());
  EXPECT_EQ(arrived, 1);
  Signal done;
  elsewhere.post([&] { done.set(); });  // the late call has left the gate, which nothing waits for
  EXPECT_TRUE(done.wait());
}

TEST_P(StepTest, AStepMaySendOnMoreThanItGot) {
  std::atomic<int> sum{0};
  Graph graph;
  graph.add_batch("flat map",
                  [](Batch& batch, Emitter& out) {
                    for (Event& event : batch)
                      for (int i = 0; i < thing(event).value; ++i) out.emit(event.derive(number(i), false));
                  },
                  {1});
  graph.add("sum", [&](Event& event, Pass&) {
    sum += thing(event).value;
    return Verdict::kEmit;
  });
  Running run(std::move(graph), GetParam());
  for (int i = 0; i < 20; ++i) run.admit(5);
  EXPECT_TRUE(run.settle());
  EXPECT_EQ(sum, 20 * 10);
  EXPECT_EQ(run.stats(1).events.get(), 100u);
}

/// Sends as many parts as there are routes; each route makes something of its number.
Graph ensemble(std::vector<Apply> routes, Apply merge) {
  const auto count = static_cast<std::uint32_t>(routes.size());
  Graph graph;
  std::vector<StepId> outlets(count);
  std::iota(outlets.begin(), outlets.end(), StepId{1});
  graph
      .add_batch(
          "scatter",
          [count](Batch& batch, Emitter& out) {
            for (Event& event : batch) {
              const Ref<Gather> gather = out.gather(count);
              Batch parts;
              for (std::uint32_t slot = 0; slot < count; ++slot) {
                parts.push_back(event.derive(event.body.clone(), false));
                parts.back().enter(gather, slot);
                gather->parts[slot].outlet = slot;
              }
              gather->hold(std::move(event));
              for (std::uint32_t slot = 0; slot < count; ++slot) out.emit(std::move(parts[slot]), slot);
              gather->seal();
            }
          },
          outlets)
      .gather = count + 1;
  for (std::uint32_t i = 0; i < count; ++i) graph.add("m" + std::to_string(i), std::move(routes[i]), {count + 1});
  graph.add("merge", std::move(merge)).responder = true;
  return graph;
}

Verdict add_up(Event& event, Pass&) {
  const Ref<Gather> gathered = std::move(event.gathered);
  int sum = 0;
  for (const Gather::Part& part : gathered->parts)
    sum += part.back ? thing(part.body).value : part.failure ? 1000 : 5000;
  thing(event).value = sum;
  return Verdict::kEmit;
}

TEST_P(StepTest, PartsThatWereSentOutAreMerged) {
  Running run(ensemble({adds(1), adds(2), adds(3)}, add_up), GetParam());
  for (int i = 0; i < 100; ++i) ASSERT_EQ(run.ask(i), 3 * i + 6);
  EXPECT_EQ(run.stats(4).events.get(), 100u);
}

TEST_P(StepTest, FailedAndDroppedPartsReachTheMergingStepToo) {
  Running run(ensemble({adds(1), fails("bad"), [](Event&, Pass&) { return Verdict::kDrop; }}, add_up), GetParam());
  for (int i = 0; i < 20; ++i) ASSERT_EQ(run.ask(i), i + 1 + 1000 + 5000);
  EXPECT_EQ(run.stats(2).failed.get(), 20u);
  EXPECT_EQ(run.stats(3).dropped.get(), 20u);
  EXPECT_TRUE(run.noted.texts().empty()) << "the merging step heard of it";
}

TEST_P(StepTest, SlowRoutesRunSideBySide) {
  if (GetParam() < 4) {
    // Fewer threads than routes: they run after one another, and all come back.
    Running run(ensemble({adds(1), adds(2), adds(3)}, add_up), GetParam());
    EXPECT_EQ(run.ask(1), 9);
    return;
  }
  Running* running = nullptr;
  std::atomic<int> inside{0};
  Signal all;
  const auto route = [&](Event&, Pass&) {
    running->gate.outside([&] {
      if (++inside == 3) all.set();
      EXPECT_TRUE(all.wait());
    });
    return Verdict::kEmit;
  };
  Running run(ensemble({route, route, route}, add_up), GetParam());
  running = &run;
  EXPECT_EQ(run.ask(1), 3);
}

TEST_P(StepTest, AClosedGraphEndsWhatWaitsForItsParts) {
  Graph graph = ensemble({adds(1), adds(2)}, add_up);
  graph.steps[2].step = std::make_unique<BatchStep>([](Batch&, Emitter&) {});
  graph.steps[2].batch.size = 8;
  graph.steps[2].batch.delay = 1h;
  Running run(std::move(graph), GetParam());
  std::thread caller([&] {
    const Answer answer = run.call(1);
    ASSERT_TRUE(answer.failure);
    EXPECT_EQ(answer.failure->kind, "GraphClosed");
  });
  while (run.executor->waiting(2) < 1) std::this_thread::yield();
  run.close();
  caller.join();
  EXPECT_EQ(run.executor->in_flight(), 0u);
}

}  // namespace
}  // namespace penstock::testing
