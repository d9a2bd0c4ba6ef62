#include <penstock/plan.hpp>

#include "core_fixture.hpp"

namespace penstock::testing {
namespace {

/// A line of so many steps, the last one a responder.
Graph line(StepId count) {
  Graph graph;
  for (StepId id = 0; id < count; ++id)
    graph.add("s" + std::to_string(id), pass_on, id + 1 < count ? std::vector{id + 1} : std::vector<StepId>{});
  graph.steps.back().responder = true;
  return graph;
}

std::string mistake(Graph graph) {
  try {
    graph.compile();
  } catch (const GraphError& error) {
    return error.what();
  }
  return "";
}

template <class Change>
std::string mistake_of(Change change) {
  Graph graph = line(2);
  change(graph);
  return mistake(std::move(graph));
}

TEST(PlanTest, RefusesWhatCannotRunAndNamesTheStep) {
  EXPECT_EQ(mistake(line(2)), "");
  EXPECT_EQ(mistake(Graph{}), "the graph has no steps");
  EXPECT_EQ(mistake_of([](Graph& g) { g.entries.clear(); }), "the graph has no first step");
  EXPECT_EQ(mistake_of([](Graph& g) { g.entries = {2}; }), "the graph starts at a step that does not exist");
  EXPECT_EQ(mistake_of([](Graph& g) { g.steps[1].name = "s0"; }), "step 's0': there are two steps of this name");
  EXPECT_EQ(mistake_of([](Graph& g) { g.steps[0].step.reset(); }), "step 's0': has nothing to run");
  EXPECT_EQ(mistake_of([](Graph& g) { g.steps[0].outlets = {5}; }), "step 's0': leads to a step that does not exist");
  EXPECT_EQ(mistake_of([](Graph& g) { g.steps[0].outlets = {1, 1}; }), "step 's0': leads to the same step twice");
  EXPECT_EQ(mistake_of([](Graph& g) { g.steps[0].error_handler = 7; }), "step 's0': its error handler does not exist");
  EXPECT_EQ(mistake_of([](Graph& g) { g.steps[0].gather = 7; }), "step 's0': its merging step does not exist");
  EXPECT_EQ(mistake_of([](Graph& g) { g.steps[1].concurrency = 0; }), "step 's1': concurrency must be at least 1");
  EXPECT_EQ(mistake_of([](Graph& g) { g.steps[1].batch.size = 0; }), "step 's1': max_size must be at least 1");
  EXPECT_EQ(mistake_of([](Graph& g) { g.steps[1].batch.delay = -1s; }), "step 's1': max_delay must not be negative");
  EXPECT_EQ(mistake_of([](Graph& g) { g.steps[1].batch.goal = 1s; }),
            "step 's1': a target_latency needs adaptive batches");
  EXPECT_EQ(mistake_of([](Graph& g) { g.steps[1].batch = {.size = 8, .preferred = {4, 9}}; }),
            "step 's1': preferred sizes ascend, from 1 to max_size");
  EXPECT_EQ(mistake_of([](Graph& g) { g.steps[1].batch = {.size = 8, .preferred = {4}, .adaptive = true}; }),
            "step 's1': adaptive batches have no preferred sizes");
  EXPECT_EQ(mistake_of([](Graph& g) { g.steps[1].timeout = -1s; }), "step 's1': the timeout must not be negative");
  EXPECT_EQ(mistake_of([](Graph& g) {
              g.steps[1].capacity = 4;
              g.steps[1].batch.size = 8;
            }),
            "step 's1': capacity 4 is smaller than max_size 8, so no batch could fill");
}

TEST(PlanTest, KnowsTheNeighboursOfEveryStep) {
  Graph graph;
  graph.add("a", pass_on, {1, 2});
  graph.add("b", pass_on, {3});
  graph.add("c", pass_on, {3});
  graph.add("d", pass_on);
  const auto plan = graph.compile();
  ASSERT_EQ(plan->size(), 4u);
  EXPECT_EQ(std::vector(plan->outlets(0).begin(), plan->outlets(0).end()), (std::vector<StepId>{1, 2}));
  EXPECT_EQ(std::vector(plan->inlets(3).begin(), plan->inlets(3).end()), (std::vector<StepId>{1, 2}));
  EXPECT_TRUE(plan->inlets(0).empty());
  EXPECT_TRUE(plan->outlets(3).empty());
  EXPECT_TRUE((*plan)[0].source);
  EXPECT_FALSE((*plan)[1].source);
  EXPECT_FALSE(plan->answers());
}

TEST(PlanTest, MarksTheStepsFromWhichAResponderCanBeReached) {
  Graph graph;
  graph.add("a", pass_on, {1, 2});
  graph.add("responder", pass_on, {3}).responder = true;
  graph.add("side", pass_on);
  graph.add("after", pass_on);
  const auto plan = graph.compile();
  EXPECT_TRUE(plan->answers());
  EXPECT_TRUE((*plan)[0].answers);
  EXPECT_TRUE((*plan)[1].answers);
  EXPECT_FALSE((*plan)[2].answers);
  EXPECT_FALSE((*plan)[3].answers) << "it comes after the responder";
}

TEST(PlanTest, AScatteringStepReachesWhatItsMergingStepReaches) {
  Graph graph;
  graph.add_batch("scatter", [](Batch&, Emitter&) {}, {1}).gather = 2;
  graph.add("route", pass_on, {2});
  graph.add("merge", pass_on, {3});
  graph.add("last", pass_on).responder = true;
  const auto plan = graph.compile();
  EXPECT_TRUE((*plan)[0].answers);
  EXPECT_TRUE((*plan)[2].merges);
  EXPECT_FALSE((*plan)[1].merges);
}

TEST(PlanTest, FusesARunOfPlainSteps) {
  const auto plan = line(3).compile();
  EXPECT_EQ((*plan)[0].fused_next, 1u);
  EXPECT_EQ((*plan)[1].fused_next, 2u);
  EXPECT_EQ((*plan)[2].fused_next, kNoStep);
}

TEST(PlanTest, FusesNoStepThatIsNotPlain) {
  const auto fused = [](auto change) {
    Graph graph = line(3);
    change(graph.steps[1]);
    const auto plan = graph.compile();
    return (*plan)[0].fused_next != kNoStep || (*plan)[1].fused_next != kNoStep;
  };
  EXPECT_FALSE(fused([](StepSpec& step) { step.concurrency = 2; }));
  EXPECT_FALSE(fused([](StepSpec& step) { step.batch.size = 2; }));
  EXPECT_FALSE(fused([](StepSpec& step) { step.timeout = 1s; }));
  EXPECT_FALSE(fused([](StepSpec& step) { step.step = std::make_unique<BatchStep>([](Batch&, Emitter&) {}); }));
  EXPECT_FALSE(fused([](StepSpec& step) { step.fuse = false; }));
}

TEST(PlanTest, FusesNoStepThatCanBeReachedInAnotherWay) {
  Graph entry = line(2);
  entry.entries = {0, 1};
  EXPECT_EQ((*entry.compile())[0].fused_next, kNoStep);
  Graph handler = line(3);
  handler.add("other", pass_on);
  handler.steps[3].error_handler = 1;
  handler.entries = {0, 3};
  EXPECT_EQ((*handler.compile())[0].fused_next, kNoStep);
  Graph merge = line(3);
  merge.add("other", pass_on, {1});
  EXPECT_EQ((*merge.compile())[0].fused_next, kNoStep);
  Graph fork = line(3);
  fork.add("side", pass_on);
  fork.steps[0].outlets = {1, 3};
  EXPECT_EQ((*fork.compile())[0].fused_next, kNoStep);
}

TEST(PlanTest, PutsEveryStepBehindThoseThatLeadToIt) {
  Graph graph;
  graph.add("last", pass_on);
  graph.add("middle", pass_on, {0});
  graph.add("first", pass_on, {1});
  graph.entries = {2};
  const auto plan = graph.compile();
  EXPECT_EQ(std::vector<StepId>(plan->order().begin(), plan->order().end()), (std::vector<StepId>{2, 1, 0}));
}

TEST(PlanTest, RefusesALoopThatIsNotSaidToBeOne) {
  Graph loop = line(3);
  loop.steps[2].outlets = {1};
  EXPECT_THROW(loop.compile(), GraphError);
  Graph said = line(3);
  said.steps[2].outlets = {1};
  said.steps[2].returns = {1};
  const auto plan = said.compile();
  EXPECT_EQ(plan->outlets(2).size(), 1U);
  EXPECT_TRUE(plan->bounding(2).empty());
}

}  // namespace
}  // namespace penstock::testing
