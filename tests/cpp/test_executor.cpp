// Who gets which event, and who answers.
#include <algorithm>
#include <map>

#include "core_fixture.hpp"

namespace penstock::testing {
namespace {

INSTANTIATE_TEST_SUITE_P(Workers, ExecutorTest, ::testing::Values(0, 1, 4));

/// Slow steps need workers, unless a caller of their own waits for them.
class WorkersTest : public ExecutorTest {};
INSTANTIATE_TEST_SUITE_P(Workers, WorkersTest, ::testing::Values(1, 4));

/// The values that a step has seen, in its order.
struct Seen {
  Apply apply() {
    return [this](Event& event, Pass&) {
      const std::lock_guard lock(mutex);
      values.push_back(thing(event).value);
      return Verdict::kEmit;
    };
  }
  std::mutex mutex;
  std::vector<int> values;
};

std::vector<int> count_to(int end) {
  std::vector<int> values(static_cast<std::size_t>(end));
  for (int i = 0; i < end; ++i) values[static_cast<std::size_t>(i)] = i;
  return values;
}

TEST_P(ExecutorTest, AnswersWithWhatTheLineMadeOfTheBody) {
  Graph graph;
  graph.add("a", adds(1), {1});
  graph.add("b", adds(10), {2});
  graph.add("c", adds(100)).responder = true;
  Running run(std::move(graph), GetParam());
  for (int i = 0; i < 200; ++i) ASSERT_EQ(run.ask(i), i + 111);
  for (StepId id = 0; id < 3; ++id) EXPECT_EQ(run.stats(id).events.get(), 200u);
  EXPECT_TRUE(run.settle());
  EXPECT_EQ(run.executor->in_flight(), 0u);
}

TEST_P(ExecutorTest, ManyCallersEachGetTheirOwnAnswer) {
  Graph graph;
  graph.add("a", adds(1), {1});
  graph.add("b", adds(1)).concurrency = 2;
  graph.steps[1].responder = true;
  Running run(std::move(graph), GetParam());
  std::vector<std::thread> callers;
  for (int c = 0; c < 5; ++c)
    callers.emplace_back([&run, c] {
      for (int i = 0; i < 100; ++i) EXPECT_EQ(run.ask(1000 * c + i), 1000 * c + i + 2);
    });
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(run.stats(1).events.get(), 500u);
}

TEST_P(ExecutorTest, AFusedChainKeepsTheStatsAndFailuresOfEachStep) {
  Graph graph;
  graph.add("a", pass_on, {1});
  graph.add("b",
            [](Event& event, Pass& pass) {
              if (thing(event).value % 2 != 0) return fails("odd")(event, pass);
              return thing(event).value % 4 == 0 ? Verdict::kDrop : Verdict::kEmit;
            },
            {2});
  graph.add("c", pass_on).responder = true;
  Running run(std::move(graph), GetParam());
  ASSERT_EQ(run.executor->plan()[0].fused_next, 1u);
  for (int i = 0; i < 100; ++i) {
    const Answer answer = run.call(i);
    ASSERT_EQ(answer.failure.has_value(), i % 2 != 0);
    ASSERT_EQ(answer.body.has_value(), i % 4 == 2);
    if (answer.failure) {
      ASSERT_EQ(answer.failure->step, "b");
      ASSERT_EQ(answer.failure->text(), "ValueError: odd");
    }
  }
  EXPECT_EQ(run.stats(0).events.get(), 100u);
  EXPECT_EQ(run.stats(1).events.get(), 100u);
  EXPECT_EQ(run.stats(1).failed.get(), 50u);
  EXPECT_EQ(run.stats(1).dropped.get(), 25u);
  EXPECT_EQ(run.stats(2).events.get(), 25u);
  EXPECT_TRUE(run.noted.texts().empty()) << "the callers heard of it";
}

TEST_P(ExecutorTest, AHandlerThatThrowsFailsItsEventOnly) {
  Graph graph;
  graph
      .add("a",
           [](Event& event, Pass&) -> Verdict {
             if (thing(event).value == 1) throw Failure{"", 400, "KeyError", "'x'", {}};
             if (thing(event).value == 2) throw std::runtime_error("broken");
             return Verdict::kEmit;
           })
      .responder = true;
  Running run(std::move(graph), GetParam());
  const Answer first = run.call(1), second = run.call(2);
  EXPECT_EQ(first.failure->status, 400);
  EXPECT_EQ(first.failure->step, "a");
  EXPECT_EQ(second.failure->text(), "broken");
  EXPECT_EQ(run.ask(3), 3);
}

TEST_P(ExecutorTest, FanOutReachesEveryBranchAndMerges) {
  Seen seen;
  Graph graph;
  graph.add("a", pass_on, {1, 2});
  graph.add("b", pass_on, {3});
  graph.add("c", pass_on, {3}).concurrency = 3;
  graph.add("d", seen.apply());
  Running run(std::move(graph), GetParam());
  for (int i = 0; i < 300; ++i) run.admit(i);
  EXPECT_TRUE(run.settle());
  std::map<int, int> times;
  for (const int value : seen.values) ++times[value];
  ASSERT_EQ(times.size(), 300u);
  for (const auto& [value, n] : times) ASSERT_EQ(n, 2) << value;
}

TEST_P(ExecutorTest, ABranchDoesNotSeeWhatAnotherHasChanged) {
  Graph graph;
  std::atomic<int> right{0};
  const auto changes = [&right](Event& event, Pass&) {
    if (thing(event).trail == std::vector<std::string>{"a"}) ++right;
    thing(event).trail.emplace_back("branch");
    return Verdict::kEmit;
  };
  graph.add("a",
            [](Event& event, Pass&) {
              thing(event).trail.emplace_back("a");
              return Verdict::kEmit;
            },
            {1, 2, 3});
  for (const char* name : {"b", "c", "d"}) graph.add(name, changes);
  Running run(std::move(graph), GetParam());
  for (int i = 0; i < 100; ++i) run.admit(i);
  EXPECT_TRUE(run.settle());
  EXPECT_EQ(right, 300);
}

TEST_P(ExecutorTest, WithoutCopyTheBranchesShareTheBody) {
  Graph graph;
  std::mutex mutex;
  std::map<int, std::vector<void*>> bodies;
  const auto look = [&](Event& event, Pass&) {
    const std::lock_guard lock(mutex);
    bodies[thing(event).value].push_back(event.body.object()->get());
    return Verdict::kEmit;
  };
  graph.add("a", pass_on, {1, 2}).copy = false;
  graph.add("b", look);
  graph.add("c", look);
  Running run(std::move(graph), GetParam());
  for (int i = 0; i < 20; ++i) run.admit(i);
  EXPECT_TRUE(run.settle());
  ASSERT_EQ(bodies.size(), 20u);
  for (const auto& [value, seen] : bodies) {
    ASSERT_EQ(seen.size(), 2u);
    ASSERT_EQ(seen[0], seen[1]);
  }
}

TEST_P(ExecutorTest, ABodyThatCannotBeCopiedFailsItsEvent) {
  Graph fork;
  fork.add("a",
           [](Event& event, Pass&) {
             thing(event).copiable = false;
             return Verdict::kEmit;
           },
           {1, 2});
  fork.add("b", pass_on).responder = true;
  fork.add("c", pass_on);
  Running run(std::move(fork), GetParam());
  const Answer answer = run.call(1);
  ASSERT_TRUE(answer.failure);
  EXPECT_EQ(answer.failure->text(), "TypeError: no copy");
  EXPECT_EQ(answer.failure->step, "a");
}

TEST_P(ExecutorTest, AResponderWhoseBodyCannotBeCopiedForTheStepsAfterItFails) {
  Graph graph;
  graph.add("a",
            [](Event& event, Pass&) {
              thing(event).copiable = false;
              return Verdict::kEmit;
            },
            {1});
  graph.steps[0].responder = true;
  graph.add("b", pass_on);
  Running run(std::move(graph), GetParam());
  ASSERT_EQ(run.executor->plan()[0].fused_next, 1u);
  const Answer answer = run.call(1);
  ASSERT_TRUE(answer.failure);
  EXPECT_EQ(answer.failure->step, "a");
}

TEST_P(ExecutorTest, TheStepsAfterTheResponderGetACopy) {
  Seen seen;
  Graph graph;
  graph.add("a", adds(1), {1});
  graph.steps[0].responder = true;
  graph.add("b", adds(100), {2});
  graph.add("c", seen.apply());
  Running run(std::move(graph), GetParam());
  for (int i = 0; i < 50; ++i) ASSERT_EQ(run.ask(i), i + 1);
  EXPECT_TRUE(run.settle());
  ASSERT_EQ(seen.values.size(), 50u);
  EXPECT_EQ(seen.values[7], 108);
}

TEST_P(ExecutorTest, ASideBranchThatFailsIsNotedAndDoesNotAnswer) {
  Graph graph;
  graph.add("a", pass_on, {1, 2});
  graph.add("side", fails("lost"));
  graph.add("main", adds(1)).responder = true;
  Running run(std::move(graph), GetParam());
  for (int i = 0; i < 50; ++i) ASSERT_EQ(run.ask(i), i + 1);
  EXPECT_TRUE(run.settle());
  ASSERT_EQ(run.noted.texts().size(), 50u);
  EXPECT_EQ(run.noted.texts()[0], "side: ValueError: lost");
}

TEST_P(ExecutorTest, AFailureAfterTheAnswerIsNoted) {
  Graph graph;
  graph.add("a", pass_on, {1});
  graph.steps[0].responder = true;
  graph.add("b", fails("late"));
  Running run(std::move(graph), GetParam());
  EXPECT_EQ(run.ask(5), 5);
  EXPECT_TRUE(run.settle());
  EXPECT_EQ(run.noted.texts(), (std::vector<std::string>{"b: ValueError: late"}));
}

TEST_P(ExecutorTest, WhenNoEventIsLeftThatCouldAnswerTheCallerGetsNothingAtOnce) {
  Signal release;
  std::atomic<bool> side_done{false};
  Graph graph;
  graph.add("a", pass_on, {1, 3});
  graph.add("filter", [](Event&, Pass&) { return Verdict::kDrop; }, {2});
  graph.add("last", pass_on).responder = true;
  Running* running = nullptr;
  graph.add("side", [&](Event&, Pass&) {
    running->gate.outside([&] { EXPECT_TRUE(release.wait()); });
    side_done = true;
    return Verdict::kEmit;
  });
  Running run(std::move(graph), GetParam());
  running = &run;
  const auto root = running->admit(1);
  std::thread settling([&] { EXPECT_TRUE(running->settle()); });
  EXPECT_FALSE(root->get().body);
  EXPECT_FALSE(root->get().failure);
  EXPECT_FALSE(side_done);
  release.set();
  settling.join();
  EXPECT_TRUE(side_done);
  EXPECT_EQ(root->times, 1);
}

TEST_P(ExecutorTest, AGraphThatCannotAnswerAnswersNothingAtOnce) {
  Seen seen;
  Graph graph;
  graph.add("a", seen.apply());
  Running run(std::move(graph), GetParam());
  EXPECT_EQ(run.ask(1), -1);
  EXPECT_TRUE(run.admit(2)->has());
  EXPECT_TRUE(run.settle());
  EXPECT_EQ(seen.values, (std::vector{1, 2}));
}

TEST_P(ExecutorTest, AnErrorHandlerGetsTheEventAndMayAnswer) {
  Graph graph;
  graph.add("a", fails("bad", 418), {1}).error_handler = 2;
  graph.add("b", pass_on).responder = true;
  graph
      .add("catcher",
           [](Event& event, Pass&) {
             EXPECT_EQ(event.envelope->error, "ValueError: bad");
             EXPECT_EQ(event.envelope->origin, "a");
             thing(event).value += 1000;
             return Verdict::kEmit;
           })
      .responder = true;
  Running run(std::move(graph), GetParam());
  for (int i = 0; i < 50; ++i) ASSERT_EQ(run.ask(i), i + 1000);
  EXPECT_EQ(run.stats(0).failed.get(), 50u);
  EXPECT_EQ(run.stats(1).events.get(), 0u);
  EXPECT_TRUE(run.noted.texts().empty());
}

TEST_P(ExecutorTest, AnErrorHandlerMayLeadBackToTheLine) {
  Graph graph;
  graph.add("a", fails("bad"), {1}).error_handler = 2;
  graph.add("b", adds(1)).responder = true;
  graph.add("repair", adds(10), {1});
  Running run(std::move(graph), GetParam());
  EXPECT_EQ(run.ask(5), 16);
}

TEST_P(ExecutorTest, AFilteredEventAnswersEmpty) {
  Graph graph;
  graph.add("a", [](Event& event, Pass&) { return thing(event).value < 0 ? Verdict::kDrop : Verdict::kEmit; });
  graph.steps[0].responder = true;
  Running run(std::move(graph), GetParam());
  EXPECT_EQ(run.ask(-5), -1);
  EXPECT_EQ(run.ask(5), 5);
  EXPECT_EQ(run.stats(0).dropped.get(), 1u);
}

TEST_P(ExecutorTest, AnEventThatFinishesAnswersWithItsBodyAndEnds) {
  Graph graph;
  graph.add("a", [](Event&, Pass&) { return Verdict::kFinish; }, {1});
  graph.add("b", adds(1)).responder = true;
  Running run(std::move(graph), GetParam());
  EXPECT_EQ(run.ask(5), 5);
  EXPECT_EQ(run.stats(1).events.get(), 0u);
}

TEST_P(ExecutorTest, AnEventMayEnterAtAStepOfItsOwn) {
  Graph graph;
  graph.add("a", adds(1)).responder = true;
  graph.add("other", adds(100)).responder = true;
  Running run(std::move(graph), GetParam());
  auto root = make_ref<Kept>();
  {
    const Inside inside(run.gate);
    EXPECT_EQ(run.executor->admit(root, number(1), make_ref<Envelope>(), 1), Admission::kAccepted);
  }
  EXPECT_TRUE(run.settle());
  EXPECT_EQ(thing(*root->get().body).value, 101);
}

TEST_P(ExecutorTest, OneAtATimeKeepsTheOrder) {
  Seen seen;
  Graph graph;
  graph.add("a", pass_on, {1});
  graph.add("b", pass_on, {2}).fuse = false;
  graph.add("c", seen.apply()).fuse = false;
  Running run(std::move(graph), GetParam());
  for (int i = 0; i < 500; ++i) run.admit(i);
  EXPECT_TRUE(run.settle());
  EXPECT_EQ(seen.values, count_to(500));
}

TEST_P(WorkersTest, AStepFusedOrNotKeepsTheOrderWhileItsNeighbourChanges) {
  Seen seen;
  Graph graph;
  Running* running = nullptr;
  graph.add("a", pass_on, {1});
  graph.add("b",
            [&](Event& event, Pass&) {
              // Slow for a while, then quick again: it leaves the line and comes back.
              if (thing(event).value % 100 < 3) running->gate.outside([] { std::this_thread::sleep_for(2ms); });
              return Verdict::kEmit;
            },
            {2});
  graph.add("c", seen.apply());
  Running run(std::move(graph), GetParam());
  running = &run;
  for (int i = 0; i < 300; ++i) running->admit(i);
  EXPECT_TRUE(running->settle());
  EXPECT_EQ(seen.values, count_to(300));
}

TEST_P(ExecutorTest, CapacityStopsNewWorkAndNeverDeadlocks) {
  constexpr std::size_t kCapacity = 4, kBurst = 16;
  std::atomic<std::size_t> most{0};
  Seen seen;
  Graph graph;
  Running* running = nullptr;
  graph.add("a",
            [&](Event&, Pass&) {
              most = std::max(most.load(), running->executor->waiting(1));
              return Verdict::kEmit;
            },
            {1, 2});
  for (const char* name : {"b", "c"}) {
    StepSpec& spec = graph.add(name, pass_on, {3});
    spec.capacity = kCapacity;
  }
  graph.add("d", seen.apply()).capacity = 1;
  Running run(std::move(graph), GetParam());
  running = &run;
  for (int i = 0; i < 500; ++i) running->admit(i);
  EXPECT_TRUE(running->settle());
  EXPECT_EQ(seen.values.size(), 1000u);
  EXPECT_LE(most, kCapacity + kBurst);
}

TEST_P(ExecutorTest, NoMoreRunAtOnceThanTheConcurrencyAllows) {
  Graph graph;
  std::atomic<int> inside{0}, most{0}, total{0};
  Running* running = nullptr;
  graph
      .add("a",
           [&](Event&, Pass&) {
             const int now = ++inside;
             most = std::max(most.load(), now);
             running->gate.others();
             --inside;
             ++total;
             return Verdict::kEmit;
           })
      .concurrency = 2;
  graph.steps[0].responder = true;
  Running run(std::move(graph), GetParam());
  running = &run;
  std::vector<std::thread> callers;
  for (int c = 0; c < 4; ++c)
    callers.emplace_back([&] {
      for (int i = 0; i < 50; ++i) running->ask(i);
    });
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(total, 200);
  EXPECT_LE(most, 2);
}

TEST_P(ExecutorTest, AGraphMayCallAnotherButNotItself) {
  FakeGate gate;
  Graph inner;
  inner.add("inner", adds(1)).responder = true;
  Running other(std::move(inner), GetParam(), {}, false, &gate);
  Graph graph;
  Running* running = nullptr;
  graph
      .add("outer",
           [&](Event& event, Pass&) {
             Running& target = thing(event).value < 0 ? *running : other;
             const Answer answer = target.executor->call(make_ref<Waiter>(), number(5), make_ref<Envelope>());
             thing(event).value += thing(*answer.body).value;
             return Verdict::kEmit;
           })
      .responder = true;
  Running run(std::move(graph), GetParam(), {}, false, &gate);
  running = &run;
  EXPECT_EQ(run.ask(10), 16);
  const Answer refused = run.call(-1);
  ASSERT_TRUE(refused.failure);
  EXPECT_EQ(refused.failure->step, "outer");
  EXPECT_EQ(refused.failure->kind, "RuntimeError");
  EXPECT_EQ(run.ask(10), 16);
}

}  // namespace
}  // namespace penstock::testing
