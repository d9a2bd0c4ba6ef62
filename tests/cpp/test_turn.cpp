// An executor whose host has one thread and a clock of its own: nothing happens but in `turn`.

#include "core_fixture.hpp"

namespace penstock::testing {
namespace {

/// Runs a graph with a clock that stands still until it is moved.
struct Stepwise {
  explicit Stepwise(Graph graph) : run(std::move(graph), 0, options()) {}

  Executor::Options options() {
    Executor::Options made;
    made.now = [this] { return now; };
    return made;
  }
  /// Turns until nothing is ready; fails if that does not come.
  void rest() {
    const Inside inside(run.gate);
    int turns = 0;
    while (run.executor->turn()) ASSERT_LT(++turns, 10'000) << "it is busy with nothing";
  }

  TimePoint now{1h};
  Running run;
};

class TurnTest : public CoreTest {};

TEST_F(TurnTest, AStepThatFinishesLaterHandlesOneEventAtATimeAndInOrder) {
  std::vector<std::pair<Emitter, Event>> under_way;
  std::vector<int> seen;
  Graph graph;
  graph.add("later",
            [&](Event& event, Pass& pass) {
              under_way.emplace_back(pass.detach(), std::move(event));
              return Verdict::kTaken;
            },
            {1});
  graph.add("seen", [&](Event& event, Pass&) {
    seen.push_back(thing(event).value);
    return Verdict::kEmit;
  });
  Stepwise host(std::move(graph));
  for (int i = 0; i < 40; ++i) host.run.admit(i);
  for (int i = 0; i < 40; ++i) {
    host.rest();
    ASSERT_EQ(under_way.size(), 1U);
    const Inside inside(host.run.gate);
    under_way[0].first.emit(std::move(under_way[0].second));
    under_way.clear();
  }
  host.rest();
  ASSERT_EQ(seen.size(), 40U);
  EXPECT_TRUE(std::is_sorted(seen.begin(), seen.end()));
}

TEST_F(TurnTest, AnEventThatRestsForItsNextTryDoesNotKeepStepsFromBeingClosed) {
  class Holding final : public Step {
   public:
    void run(Batch& batch, Emitter&) override {
      for (Event& event : batch) held_.push_back(std::move(event));
    }
    void close() override { held_.clear(); }

   private:
    Batch held_;
  };
  Graph graph;
  graph.add("start", pass_on, {1, 2});
  StepSpec& tried = graph.add("tried", fails("not yet"));
  tried.attempts = 5;
  tried.backoff = 1s;
  tried.concurrency = 2;
  tried.by_key = true;
  graph.add("holds", std::make_unique<Holding>(), {});
  Stepwise host(std::move(graph));
  host.run.admit(1);
  host.rest();
  EXPECT_EQ(host.run.executor->in_flight(), 1U);
  host.run.close();
  EXPECT_EQ(host.run.executor->in_flight(), 0U);
}

TEST_F(TurnTest, ABatchThatIsDueAndHasNowhereToGoKeepsNobodyBusy) {
  std::vector<std::pair<Emitter, Event>> under_way;
  Graph graph;
  StepSpec& batched = graph.add_batch("batched",
                                      [](Batch& batch, Emitter& out) {
                                        for (Event& event : batch) out.emit(std::move(event));
                                      },
                                      {1});
  batched.batch.size = 2;
  batched.batch.delay = 10ms;
  graph
      .add("narrow",
           [&](Event& event, Pass& pass) {
             under_way.emplace_back(pass.detach(), std::move(event));
             return Verdict::kTaken;
           })
      .capacity = 1;
  Stepwise host(std::move(graph));
  for (int i = 0; i < 3; ++i) host.run.admit(i);
  host.rest();
  ASSERT_EQ(under_way.size(), 1U);
  host.now += 20ms;
  host.rest();
  for (int i = 0; i < 3; ++i) {
    ASSERT_EQ(under_way.size(), 1U);
    {
      const Inside inside(host.run.gate);
      under_way[0].first.emit(std::move(under_way[0].second));
      under_way.clear();
    }
    host.rest();
    host.now += 20ms;
    host.rest();
  }
  EXPECT_TRUE(under_way.empty());
  EXPECT_EQ(host.run.executor->in_flight(), 0U);
}

}  // namespace
}  // namespace penstock::testing
