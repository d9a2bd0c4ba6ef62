// Batches in a running graph: forms and rows, priorities, deadlines, the latency goal.
#include <algorithm>
#include <numeric>

#include "core_fixture.hpp"

namespace penstock::testing {
namespace {

class BatchTest : public ExecutorTest {};
INSTANTIATE_TEST_SUITE_P(Workers, BatchTest, ::testing::Values(0, 1, 4));

/// What needs a thread beside the one that is held up.
class BusyBatchTest : public ExecutorTest {};
INSTANTIATE_TEST_SUITE_P(Workers, BusyBatchTest, ::testing::Values(1, 4));

/// Emits what it gets; notes each batch. Bodies are numbers, whose hundreds are their form.
class Noting final : public Step {
 public:
  void run(Batch& batch, Emitter& out) override {
    std::vector<int> values;
    for (const Event& event : batch) values.push_back(thing(event).value);
    {
      const std::lock_guard lock(mutex);
      batches.push_back(values);
    }
    if (meanwhile) meanwhile();
    for (Event& event : batch) out.emit(std::move(event));
  }
  Fit fit(Event& event) const override {
    return {static_cast<std::uint64_t>(thing(event).value / 100), 1, event.envelope->priority};
  }
  std::mutex mutex;
  std::vector<std::vector<int>> batches;
  std::function<void()> meanwhile;
};

struct Made {
  Graph graph;
  Noting* step;
};

Made noting(BatchPolicy policy) {
  Made made;
  auto step = std::make_unique<Noting>();
  made.step = step.get();
  StepSpec& spec = made.graph.add("a", std::move(step), {});
  spec.batch = std::move(policy);
  spec.responder = true;
  return made;
}

Ref<Kept> admit(Running& run, int value, std::uint32_t priority = 0, std::optional<Duration> timeout = std::nullopt) {
  auto root = make_ref<Kept>();
  auto envelope = make_ref<Envelope>();
  envelope->priority = priority;
  if (timeout) root->deadline = Clock::now() + *timeout;
  const Inside inside(run.gate);
  EXPECT_EQ(run.executor->admit(root, number(value), std::move(envelope)), Admission::kAccepted);
  return root;
}

TEST_P(BatchTest, EventsOfDifferentFormsAreNeverInOneCall) {
  Made made = noting({.size = 4, .delay = 1h});
  Noting* step = made.step;
  Running run(std::move(made.graph), GetParam());
  for (const int value : {1, 101, 2, 102, 3}) admit(run, value);
  EXPECT_TRUE(run.settle());
  const std::lock_guard lock(step->mutex);
  EXPECT_EQ(step->batches, (std::vector<std::vector<int>>{{1, 2, 3}, {101, 102}}));
}

TEST_P(BatchTest, PrioritiesGoFirst) {
  Made made = noting({.size = 2, .delay = 1h});
  Noting* step = made.step;
  Graph graph = std::move(made.graph);
  graph.steps[0].capacity = 8;
  Running run(std::move(graph), GetParam());
  admit(run, 1);
  EXPECT_TRUE(run.executor->waiting(0) == 1u);
  admit(run, 2, 1);
  EXPECT_TRUE(run.settle());
  const std::lock_guard lock(step->mutex);
  EXPECT_EQ(step->batches, (std::vector<std::vector<int>>{{2, 1}}));
}

TEST_P(BatchTest, WhoseTimeIsUpInTheQueueIsAnsweredAndNotStarted) {
  Made made = noting({.size = 8, .delay = 1h});
  Noting* step = made.step;
  Running run(std::move(made.graph), GetParam());
  const auto hasty = admit(run, 1, 0, Duration(1ms));
  const auto patient = admit(run, 2);
  EXPECT_EQ(hasty->get().failure->status, 504);
  EXPECT_TRUE(run.settle());
  EXPECT_TRUE(patient->get().body);
  const std::lock_guard lock(step->mutex);
  EXPECT_EQ(step->batches, (std::vector<std::vector<int>>{{2}}));
}

/// With a goal that no call can keep, whoever comes while one runs would miss it.
TEST_P(BusyBatchTest, WhoWouldMissTheGoalIsTurnedAway) {
  Made made = noting({.size = 8, .adaptive = true, .goal = 1ns});
  Noting* step = made.step;
  Running run(std::move(made.graph), GetParam());
  for (int i = 0; i < 8; ++i) ASSERT_EQ(run.ask(i), i) << "it has to learn first";
  Signal entered;
  Signal release;
  step->meanwhile = [&] {
    run.gate.outside([&] {
      entered.set();
      EXPECT_TRUE(release.wait());
    });
  };
  Ref<Kept> first;
  while (!entered.is_set()) {  // it may itself come before the last one is quite through
    first = admit(run, 50);
    while (!entered.is_set() && !first->has()) std::this_thread::yield();
  }
  const auto second = admit(run, 51);
  if (GetParam() > 1) {
    EXPECT_TRUE(second->wait()) << "it is told at once";
  }
  release.set();
  EXPECT_TRUE(first->get().body);
  EXPECT_EQ(second->get().failure->status, 503);
  EXPECT_EQ(second->get().failure->retry_after, 1);
  EXPECT_EQ(second->get().failure->step, "a");
  EXPECT_GE(run.stats(0).failed.get(), 1u);
}

TEST_P(BatchTest, AThousandCallersEachGetTheirOwn) {
  Made made = noting({.size = 32, .adaptive = true});
  Noting* step = made.step;
  Running run(std::move(made.graph), GetParam(), {.max_events = 1 << 20});
  constexpr int kCallers = 1000;
  std::vector<Ref<Kept>> roots;
  roots.reserve(kCallers);
  for (int i = 0; i < kCallers; ++i) roots.push_back(admit(run, i % 100));
  EXPECT_TRUE(run.settle());
  for (int i = 0; i < kCallers; ++i) EXPECT_EQ(thing(*roots[static_cast<std::size_t>(i)]->get().body).value, i % 100);
  const std::lock_guard lock(step->mutex);
  const std::size_t handled =
      std::accumulate(step->batches.begin(), step->batches.end(), std::size_t{0},
                      [](std::size_t sum, const std::vector<int>& batch) { return sum + batch.size(); });
  EXPECT_EQ(handled, static_cast<std::size_t>(kCallers));
}

}  // namespace
}  // namespace penstock::testing
