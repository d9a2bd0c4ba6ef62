// Batches, timeouts, deadlines, cancelling, and steps that take long.
#include <algorithm>
#include <numeric>

#include "core_fixture.hpp"

namespace penstock::testing {
namespace {

class TimeTest : public ExecutorTest {};
INSTANTIATE_TEST_SUITE_P(Workers, TimeTest, ::testing::Values(0, 1, 4));

/// What needs a thread beside the one that is held up.
class HeldUpTest : public ExecutorTest {};
INSTANTIATE_TEST_SUITE_P(Workers, HeldUpTest, ::testing::Values(1, 4));

struct Sizes {
  RunBatch run() {
    return [this](Batch& batch, Emitter& out) {
      {
        const std::lock_guard lock(mutex);
        sizes.push_back(batch.size());
      }
      for (Event& event : batch) out.emit(std::move(event));
    };
  }
  std::size_t total() { return std::accumulate(sizes.begin(), sizes.end(), std::size_t{0}); }
  std::mutex mutex;
  std::vector<std::size_t> sizes;
};

Graph batching(Sizes& sizes, std::size_t size, Duration delay) {
  Graph graph;
  StepSpec& spec = graph.add_batch("a", sizes.run());
  spec.batch.size = size;
  spec.batch.delay = delay;
  spec.responder = true;
  return graph;
}

TEST_P(TimeTest, ABatchRunsWhenItIsFull) {
  Sizes sizes;
  Running run(batching(sizes, 4, 1h), GetParam());
  std::vector<std::thread> callers;
  for (int i = 0; i < 8; ++i) callers.emplace_back([&run, i] { EXPECT_EQ(run.ask(i), i); });
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(sizes.sizes, (std::vector<std::size_t>{4, 4}));
  EXPECT_EQ(run.stats(0).batches.get(), 2u);
  EXPECT_EQ(run.stats(0).events.get(), 8u);
}

TEST_P(TimeTest, ABatchRunsWhenItsFirstEventHasWaited) {
  Sizes sizes;
  Running run(batching(sizes, 100, 5ms), GetParam());
  for (int i = 0; i < 3; ++i) ASSERT_EQ(run.ask(i), i);
  EXPECT_EQ(sizes.sizes, (std::vector<std::size_t>{1, 1, 1}));
}

TEST_P(TimeTest, ABatchWithoutDelayTakesWhatWaits) {
  Sizes sizes;
  Running run(batching(sizes, 8, 0ms), GetParam());
  std::vector<Ref<Kept>> roots;
  {
    const Inside inside(run.gate);  // no step can start
    for (int i = 0; i < 11; ++i) {
      roots.push_back(make_ref<Kept>());
      ASSERT_EQ(run.executor->admit(roots.back(), number(i), make_ref<Envelope>()), Admission::kAccepted);
    }
  }
  EXPECT_TRUE(run.settle());
  EXPECT_EQ(sizes.sizes, (std::vector<std::size_t>{8, 3}));
  for (int i = 0; i < 11; ++i) EXPECT_EQ(thing(*roots[static_cast<std::size_t>(i)]->get().body).value, i);
}

TEST_P(TimeTest, SettlingLetsNoBatchWait) {
  Sizes sizes;
  Running run(batching(sizes, 8, 1h), GetParam());
  for (int i = 0; i < 11; ++i) run.admit(i);
  EXPECT_TRUE(run.settle());
  EXPECT_EQ(sizes.total(), 11u);
}

TEST_P(TimeTest, AFailingBatchFailsWhatIsLeftInIt) {
  Graph graph;
  StepSpec& spec = graph.add_batch("a", [](Batch& batch, Emitter& out) {
    out.emit(std::move(batch[0]));
    throw Failure{"", 500, "ValueError", "bad", {}};
  });
  spec.batch.size = 3;
  spec.batch.delay = 1h;
  spec.responder = true;
  Running run(std::move(graph), GetParam());
  std::vector<Ref<Kept>> roots;
  for (int i = 0; i < 3; ++i) roots.push_back(run.admit(i));
  EXPECT_TRUE(run.settle());
  EXPECT_TRUE(roots[0]->get().body);
  EXPECT_EQ(roots[1]->get().failure->text(), "ValueError: bad");
  EXPECT_EQ(roots[2]->get().failure->step, "a");
  EXPECT_EQ(run.stats(0).failed.get(), 2u);
}

/// A step that waits for `release` outside the gate if its number is negative.
struct Blocking {
  explicit Blocking(Running*& run) : running(run) {}
  Apply apply() {
    return [this](Event& event, Pass&) {
      ++started;
      if (thing(event).value < 0) {
        running->gate.outside([&] {
          entered.set();
          EXPECT_TRUE(release.wait());
        });
        thing(event).value += 1000;
        left.set();
      }
      return Verdict::kEmit;
    };
  }
  Running*& running;
  std::atomic<int> started{0};
  Signal entered, release, left;
};

TEST_P(HeldUpTest, ACallThatTakesTooLongIsAnsweredAndItsPlaceGivenAway) {
  Running* running = nullptr;
  Blocking blocking(running);
  Graph graph;
  StepSpec& spec = graph.add("a", blocking.apply());
  spec.timeout = 20ms;
  spec.responder = true;
  Running run(std::move(graph), GetParam(), {}, true);
  running = &run;
  const Answer answer = run.call(-1);  // comes back although its handler does not
  ASSERT_TRUE(answer.failure);
  EXPECT_EQ(answer.failure->status, 504);
  EXPECT_EQ(answer.failure->step, "a");
  EXPECT_FALSE(blocking.left.is_set());
  EXPECT_EQ(run.ask(1), 1) << "the neighbour is not affected";
  EXPECT_TRUE(run.settle()) << "a call that does not come back keeps nobody waiting";
  blocking.release.set();
  EXPECT_TRUE(blocking.left.wait());
  EXPECT_EQ(run.stats(0).events.get(), 2u);
  EXPECT_EQ(run.stats(0).failed.get(), 1u);
}

TEST_P(HeldUpTest, TheLateResultGoesNowhere) {
  Running* running = nullptr;
  Blocking blocking(running);
  std::atomic<int> arrived{0}, caught{0};
  Graph graph;
  StepSpec& spec = graph.add("a", blocking.apply(), {1});
  spec.timeout = 20ms;
  spec.error_handler = 2;
  graph
      .add("b",
           [&](Event&, Pass&) {
             ++arrived;
             return Verdict::kEmit;
           })
      .responder = true;
  graph
      .add("catcher",
           [&](Event& event, Pass&) {
             EXPECT_EQ(event.envelope->origin, "a");
             ++caught;
             blocking.release.set();
             return Verdict::kEmit;
           })
      .responder = true;
  Running run(std::move(graph), GetParam(), {}, true);
  running = &run;
  EXPECT_TRUE(run.call(-1).body);
  EXPECT_TRUE(run.settle());
  EXPECT_TRUE(blocking.left.wait());
  EXPECT_EQ(arrived, 0);
  EXPECT_EQ(caught, 1);
}

TEST_P(TimeTest, ACallInTimeIsNotDisturbedByItsTimeout) {
  Graph graph;
  StepSpec& spec = graph.add("a", adds(1), {1});
  spec.timeout = 1h;
  graph.add("b", adds(1)).responder = true;
  Running run(std::move(graph), GetParam());
  for (int i = 0; i < 100; ++i) ASSERT_EQ(run.ask(i), i + 2);
}

TEST_P(HeldUpTest, ADeadlineAnswersAndWhatHasNotStartedDoesNot) {
  Running* running = nullptr;
  Blocking blocking(running);
  Graph graph;
  graph.add("a", blocking.apply()).responder = true;
  Running run(std::move(graph), GetParam());
  running = &run;
  const auto first = run.admit(-1);
  ASSERT_TRUE(blocking.entered.wait());
  auto second = make_ref<Kept>();
  second->deadline = Clock::now() + 10ms;
  {
    const Inside inside(run.gate);
    ASSERT_EQ(run.executor->admit(second, number(2), make_ref<Envelope>()), Admission::kAccepted);
  }
  EXPECT_EQ(second->get().failure->status, 504);
  blocking.release.set();
  EXPECT_TRUE(run.settle());
  EXPECT_EQ(thing(*first->get().body).value, 999);
  EXPECT_EQ(blocking.started, 1);
  EXPECT_EQ(second->times, 1);
}

TEST_P(TimeTest, DeadlinesThatFireWhileTheAnswerIsMadeAnswerOnce) {
  Graph graph;
  graph.add("a", adds(1)).responder = true;
  Running run(std::move(graph), GetParam());
  int late = 0;
  for (int i = 0; i < 300; ++i) {
    const Answer answer = run.call(number(i), std::chrono::microseconds(i % 60));
    if (answer.failure) {
      ++late;
      ASSERT_EQ(answer.failure->status, 504);
    } else if (answer.body) {
      ASSERT_EQ(thing(*answer.body).value, i + 1);
    }
    ASSERT_TRUE(answer.failure || answer.body);
  }
  EXPECT_TRUE(run.settle());
  EXPECT_EQ(run.executor->in_flight(), 0u);
  RecordProperty("late", late);
}

TEST_P(HeldUpTest, WhatIsCancelledIsNotStarted) {
  Running* running = nullptr;
  Blocking blocking(running);
  Graph graph;
  graph.add("a", blocking.apply()).responder = true;
  Running run(std::move(graph), GetParam());
  running = &run;
  const auto first = run.admit(-1);
  ASSERT_TRUE(blocking.entered.wait());
  std::vector<Ref<Kept>> waiting;
  for (int i = 0; i < 10; ++i) waiting.push_back(run.admit(i));
  for (std::size_t i = 0; i < 10; i += 2) waiting[i]->cancel();
  blocking.release.set();
  EXPECT_TRUE(run.settle());
  EXPECT_EQ(blocking.started, 6);
  for (std::size_t i = 0; i < 10; ++i) EXPECT_EQ(waiting[i]->get().body.has_value(), i % 2 == 1);
}

TEST_P(TimeTest, AStepThatIsSlowAgainAndAgainGoesToWorkersAndComesBack) {
  Running* running = nullptr;
  Graph graph;
  graph
      .add("a",
           [&](Event& event, Pass&) {
             if (thing(event).value < 0) running->gate.outside([] { std::this_thread::sleep_for(3ms); });
             return Verdict::kEmit;
           })
      .responder = true;
  Running run(std::move(graph), GetParam());
  running = &run;
  // Every 16th call is measured, and those after one that stalled.
  for (int i = 0; i < 200 && !run.executor->slow(0); ++i) run.ask(-1000);
  EXPECT_TRUE(run.executor->slow(0));
  for (int i = 0; i < 5000 && run.executor->slow(0); ++i) run.ask(i);
  EXPECT_FALSE(run.executor->slow(0));
}

/// Sends negative numbers to outlet 0, others to 1.
Graph two_ways(Apply slow, Apply quick) {
  Graph graph;
  graph.add_batch("choose",
                  [](Batch& batch, Emitter& out) {
                    for (Event& event : batch) {
                      const bool negative = thing(event).value < 0;
                      out.emit(std::move(event), negative ? 0 : 1);
                    }
                  },
                  {1, 2});
  graph.add("slow", std::move(slow)).responder = true;
  graph.add("quick", std::move(quick)).responder = true;
  return graph;
}

TEST_P(TimeTest, AStepThatSleepsDoesNotHoldUpAnother) {
  Running* running = nullptr;
  Blocking blocking(running);
  Running run(two_ways(blocking.apply(), adds(1)), GetParam());
  running = &run;
  std::thread sleeper([&] { EXPECT_EQ(run.ask(-1), 999); });
  ASSERT_TRUE(blocking.entered.wait());
  for (int i = 0; i < 100; ++i) ASSERT_EQ(run.ask(i), i + 1);
  EXPECT_FALSE(blocking.left.is_set());
  blocking.release.set();
  sleeper.join();
}

TEST_P(TimeTest, AStepThatComputesDoesNotHoldUpAnother) {
  Running* running = nullptr;
  Signal entered;
  std::atomic<bool> release{false};
  Running run(two_ways(
                  [&](Event&, Pass&) {
                    entered.set();
                    while (!release) running->gate.others();
                    return Verdict::kEmit;
                  },
                  adds(1)),
              GetParam());
  running = &run;
  std::thread spinner([&] { run.ask(-1); });
  ASSERT_TRUE(entered.wait());
  for (int i = 0; i < 20; ++i) ASSERT_EQ(run.ask(i), i + 1);
  release = true;
  spinner.join();
}

TEST_P(HeldUpTest, OneEventHeldUpBlocksOnlyThoseForItsStep) {
  Running* running = nullptr;
  Blocking blocking(running);
  Running run(two_ways(blocking.apply(), adds(1)), GetParam(), {}, true);
  running = &run;
  const auto held = run.admit(-1);
  ASSERT_TRUE(blocking.entered.wait());
  const auto behind = run.admit(-2);
  std::vector<Ref<Kept>> free;
  for (int i = 0; i < 50; ++i) free.push_back(run.admit(i));
  for (int i = 0; i < 50; ++i) EXPECT_EQ(thing(*free[static_cast<std::size_t>(i)]->get().body).value, i + 1);
  EXPECT_FALSE(behind->has());
  blocking.release.set();
  EXPECT_EQ(thing(*behind->get().body).value, 998);
  EXPECT_EQ(thing(*held->get().body).value, 999);
}

}  // namespace
}  // namespace penstock::testing
