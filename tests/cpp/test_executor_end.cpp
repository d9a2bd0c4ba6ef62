// Admission, settling, closing, and what is left at the end.
#include "core_fixture.hpp"

namespace penstock::testing {
namespace {

class EndTest : public ExecutorTest {};
INSTANTIATE_TEST_SUITE_P(Workers, EndTest, ::testing::Values(0, 1, 4));

/// What needs a thread beside the one that is held up.
class BusyEndTest : public ExecutorTest {};
INSTANTIATE_TEST_SUITE_P(Workers, BusyEndTest, ::testing::Values(1, 4));

/// A step that stays in its handler until it is released.
struct Held {
  Apply apply() {
    return [this](Event&, Pass&) {
      ++started;
      running->gate.outside([&] {
        entered.set();
        EXPECT_TRUE(release.wait());
      });
      return Verdict::kEmit;
    };
  }
  Graph graph() {
    Graph made;
    made.add("a", apply()).responder = true;
    return made;
  }
  Running* running = nullptr;
  std::atomic<int> started{0};
  Signal entered, release;
};

/// Counts how often it is closed.
class ClosingStep final : public Transform {
 public:
  explicit ClosingStep(std::atomic<int>& closed) : closed_(closed) {}
  Verdict apply(Event&, Pass&) override { return Verdict::kEmit; }
  void close() override { ++closed_; }

 private:
  std::atomic<int>& closed_;
};

TEST_P(BusyEndTest, AFullGraphRefusesAndTakesNothing) {
  Held held;
  Executor::Options options;
  options.max_events = 2;
  Running run(held.graph(), GetParam(), std::move(options));
  held.running = &run;
  const auto first = run.admit(1), second = run.admit(2);
  Payload body = number(3);
  auto third = make_ref<Kept>();
  {
    const Inside inside(run.gate);
    EXPECT_EQ(run.executor->admit(third, std::move(body), make_ref<Envelope>()), Admission::kFull);
  }
  EXPECT_TRUE(body.object() != nullptr && *body.object());  // NOLINT(bugprone-use-after-move): refused, so not taken
  EXPECT_EQ(run.executor->in_flight(), 2u);
  held.release.set();
  EXPECT_TRUE(first->get().body);
  EXPECT_TRUE(second->get().body);
  EXPECT_TRUE(run.settle());
  EXPECT_EQ(third->times, 0);
  EXPECT_EQ(held.started, 2);
}

TEST_P(BusyEndTest, BodiesAreBoundedInBytesButOneAlwaysFits) {
  Held held;
  Executor::Options options;
  options.max_bytes = 100;
  Running run(held.graph(), GetParam(), std::move(options));
  held.running = &run;
  const auto huge = run.admit(1, Admission::kAccepted, 1000);
  run.admit(2, Admission::kFull, 1);
  held.release.set();
  EXPECT_TRUE(huge->get().body);
  while (run.executor->in_flight() > 0) std::this_thread::yield();  // it settles right after its answer
  const auto next = run.admit(3, Admission::kAccepted, 60);
  EXPECT_TRUE(next->get().body);
  EXPECT_TRUE(run.settle());
}

TEST_P(EndTest, PostingWaitsForRoom) {
  std::atomic<int> handled{0};
  Graph graph;
  graph.add("a", [&](Event&, Pass&) {
    ++handled;
    return Verdict::kEmit;
  });
  Executor::Options options;
  options.max_events = 3;
  Running run(std::move(graph), GetParam(), std::move(options));
  std::vector<std::thread> posting;
  for (int t = 0; t < 3; ++t)
    posting.emplace_back([&] {
      for (int i = 0; i < 100; ++i) run.post(i);
    });
  for (std::thread& thread : posting) thread.join();
  EXPECT_TRUE(run.settle());
  EXPECT_EQ(handled, 300);
}

TEST_P(EndTest, CallersWaitForRoom) {
  Graph graph;
  graph.add("a", adds(1)).responder = true;
  Executor::Options options;
  options.max_events = 1;
  Running run(std::move(graph), GetParam(), std::move(options));
  std::vector<std::thread> callers;
  for (int t = 0; t < 4; ++t)
    callers.emplace_back([&] {
      for (int i = 0; i < 100; ++i) ASSERT_EQ(run.ask(i), i + 1);
    });
  for (std::thread& thread : callers) thread.join();
  EXPECT_EQ(run.stats(0).events.get(), 400u);
}

TEST_P(EndTest, NothingIsAdmittedOnceItSettles) {
  Graph graph;
  graph.add("a", adds(1)).responder = true;
  Running run(std::move(graph), GetParam());
  EXPECT_EQ(run.ask(1), 2);
  EXPECT_TRUE(run.settle());
  EXPECT_TRUE(run.settle());
  run.admit(1, Admission::kClosed);
  EXPECT_THROW(run.call(1), Failure);
  EXPECT_THROW(run.post(1), Failure);
  run.close();
  run.close();
  run.admit(1, Admission::kClosed);
}

TEST_P(EndTest, WhatIsAdmittedWhileItSettlesIsEitherRefusedOrAnswered) {
  for (int round = 0; round < 30; ++round) {
    std::atomic<int> handled{0};
    Graph graph;
    graph
        .add("a",
             [&](Event&, Pass&) {
               ++handled;
               return Verdict::kEmit;
             })
        .responder = true;
    Running run(std::move(graph), GetParam());
    std::atomic<int> accepted{0};
    Signal started;
    std::vector<std::thread> posting;
    for (int t = 0; t < 2; ++t)
      posting.emplace_back([&] {
        try {
          for (;; ++accepted) {
            run.post(1);
            started.set();
          }
        } catch (const Failure& failure) {
          EXPECT_EQ(failure.kind, "GraphClosed");
        }
      });
    ASSERT_TRUE(started.wait());
    EXPECT_TRUE(run.settle());
    const int at_end = handled;
    for (std::thread& thread : posting) thread.join();
    EXPECT_EQ(accepted, at_end);
    EXPECT_EQ(handled, at_end);
  }
}

TEST_P(BusyEndTest, SettlingGivesUpWhenItsTimeIsOver) {
  Held held;
  Running run(held.graph(), GetParam());
  held.running = &run;
  const auto root = run.admit(1);
  ASSERT_TRUE(held.entered.wait());
  EXPECT_FALSE(run.settle(5ms));
  EXPECT_FALSE(root->has());
  held.release.set();
  EXPECT_TRUE(run.settle());
  EXPECT_TRUE(root->get().body);
}

/// The thread that is to serve has been started, but has not come yet.
TEST_F(ExecutorTest, WhoMustBeBackInTimeRunsNoStepEvenIfNobodyElseDoes) {
  std::atomic<int> handled{0};
  Graph graph;
  graph.add("a", [&](Event&, Pass&) {
    ++handled;
    return Verdict::kEmit;
  });
  Running run(std::move(graph), 0);
  const auto root = run.admit(1);
  {
    const Inside inside(run.gate);
    EXPECT_FALSE(run.executor->settle(5ms, false, true));
  }
  EXPECT_EQ(handled, 0);
  EXPECT_TRUE(run.settle());
  EXPECT_EQ(handled, 1);
}

TEST_P(BusyEndTest, SeveralMaySettleAtOnce) {
  Held held;
  Running run(held.graph(), GetParam());
  held.running = &run;
  const auto root = run.admit(1);
  ASSERT_TRUE(held.entered.wait());
  std::vector<std::thread> settling;
  for (int i = 0; i < 3; ++i) settling.emplace_back([&] { EXPECT_TRUE(run.settle()); });
  EXPECT_FALSE(run.settle(5ms));
  held.release.set();
  for (std::thread& thread : settling) thread.join();
}

TEST_P(BusyEndTest, ClosingFailsWhatIsQueuedAndLetsWhatRunsEnd) {
  Held held;
  Graph graph;
  graph.add("a", held.apply(), {1}).fuse = false;
  graph.add("b", pass_on).responder = true;
  graph.steps[1].fuse = false;
  Running run(std::move(graph), GetParam());
  held.running = &run;
  const auto first = run.admit(0);
  ASSERT_TRUE(held.entered.wait());
  std::vector<Ref<Kept>> queued;
  for (int i = 1; i <= 5; ++i) queued.push_back(run.admit(i));
  run.close();
  for (const auto& root : queued) {
    ASSERT_TRUE(root->has());
    EXPECT_EQ(root->get().failure->status, 503);
    EXPECT_EQ(root->get().failure->kind, "GraphClosed");
  }
  EXPECT_FALSE(first->has());
  held.release.set();
  EXPECT_EQ(first->get().failure->step, "b") << "what it sent on found the next step closed";
  EXPECT_EQ(held.started, 1);
}

TEST_P(EndTest, ClosingNotesTheSideBranchesThatWereQueued) {
  Graph graph;
  graph.add("a", pass_on).batch.size = 8;
  graph.steps[0].step = std::make_unique<BatchStep>([](Batch&, Emitter&) {});
  graph.steps[0].batch.delay = 1h;
  Running run(std::move(graph), GetParam());
  for (int i = 0; i < 3; ++i) run.admit(i);
  run.close();
  EXPECT_EQ(run.noted.texts().size(), 3u);
  EXPECT_EQ(run.executor->in_flight(), 0u);
}

TEST_P(EndTest, CallersWhoseEventsAreQueuedAreToldOfTheClose) {
  Graph graph;
  StepSpec& spec = graph.add_batch("a", [](Batch&, Emitter&) {});
  spec.batch.size = 8;
  spec.batch.delay = 1h;
  spec.responder = true;
  Running run(std::move(graph), GetParam());
  std::vector<std::thread> callers;
  for (int i = 0; i < 3; ++i)
    callers.emplace_back([&] {
      const Answer answer = run.call(1);
      ASSERT_TRUE(answer.failure);
      EXPECT_EQ(answer.failure->kind, "GraphClosed");
    });
  while (run.executor->waiting(0) < 3) std::this_thread::yield();
  run.close();
  for (std::thread& caller : callers) caller.join();
}

TEST_P(EndTest, TheStepsAreClosedOnce) {
  std::atomic<int> closed{0};
  Graph graph;
  graph.add("a", std::make_unique<ClosingStep>(closed), {1});
  graph.add("b", std::make_unique<ClosingStep>(closed), {});
  graph.steps[1].responder = true;
  Running run(std::move(graph), GetParam());
  EXPECT_EQ(run.ask(3), 3);
  EXPECT_TRUE(run.settle());
  EXPECT_EQ(closed, 0);
  run.stop();
  EXPECT_EQ(closed, 2);
}

TEST_P(BusyEndTest, TheStepsAreNotClosedBeforeTheLastCallHasEnded) {
  std::atomic<int> closed{0};
  Held held;
  Graph graph = held.graph();
  graph.add("b", std::make_unique<ClosingStep>(closed), {});
  Running run(std::move(graph), GetParam());
  held.running = &run;
  auto root = run.admit(1);
  ASSERT_TRUE(held.entered.wait());
  run.close();
  EXPECT_EQ(closed, 0);
  held.release.set();
  EXPECT_TRUE(root->get().body);
  root.reset();
  run.stop();
  EXPECT_EQ(closed, 1);
}

TEST_P(EndTest, MayEndWithWorkQueuedAndDeadlinesAhead) {
  for (int round = 0; round < 20; ++round) {
    Graph graph;
    graph.add("a", pass_on, {1, 2});
    graph.add("b", pass_on).responder = true;
    graph.add("c", pass_on).concurrency = 2;
    Running run(std::move(graph), GetParam());
    std::vector<Ref<Kept>> roots;
    for (int i = 0; i < 50; ++i) {
      roots.push_back(make_ref<Kept>());
      roots.back()->deadline = Clock::now() + (i % 2 == 0 ? Duration(1h) : Duration(50us));
      const Inside inside(run.gate);
      ASSERT_EQ(run.executor->admit(roots.back(), number(i), make_ref<Envelope>()), Admission::kAccepted);
    }
    run.close();
    for (const auto& root : roots) {
      ASSERT_TRUE(root->wait());
      ASSERT_EQ(root->times, 1);
    }
    roots.clear();
  }
}

TEST_P(EndTest, NobodyNeedsToHaveUsedIt) {
  Graph graph;
  graph.add("a", pass_on);
  const Running run(std::move(graph), GetParam());
}

TEST_F(CoreTest, ADeadlineMayDropTheLastReferenceToTheExecutor) {
  FakeGate gate;
  Thing::gate() = &gate;
  std::weak_ptr<Executor> left;
  Signal gone;
  /// Answered by its deadline, on the executor's own thread, as the only one who still knows it.
  class Last final : public Root {
   public:
    explicit Last(Signal& gone) : gone_(gone) {}
    ~Last() override { gone_.set(); }

   private:
    void on_reply(Answer&&) override {}
    Signal& gone_;
  };
  {
    Graph graph;
    graph.add("a", pass_on).responder = true;
    auto executor = Executor::create(graph.compile(), gate, {});
    left = executor;
    auto root = make_ref<Last>(gone);
    root->deadline = Clock::now() + 5ms;
    const Inside inside(gate);
    ASSERT_EQ(executor->admit(std::move(root), number(1), make_ref<Envelope>()), Admission::kAccepted);
  }
  // Nobody runs it: the event stays queued, and with it its executor, until it is closed.
  {
    const auto executor = left.lock();
    ASSERT_TRUE(executor);
    const Inside inside(gate);
    executor->close();
  }
  EXPECT_TRUE(gone.wait());
  while (!left.expired()) std::this_thread::yield();
  Thing::gate() = nullptr;
}

}  // namespace
}  // namespace penstock::testing
