// Steps that hold events beyond their calls: Outlet, Joined, and how a graph that has some comes to rest.

#include <penstock/joined.hpp>

#include "core_fixture.hpp"

namespace penstock::testing {
namespace {

class HoldingTest : public CoreTest, public ::testing::WithParamInterface<int> {};
INSTANTIATE_TEST_SUITE_P(Workers, HoldingTest, ::testing::Values(0, 1, 4));

Event joined(Batch&& members) {
  int sum = 0;
  for (const Event& member : members) sum += thing(member).value;
  auto completion = make_ref<Joined>(std::move(members));
  const bool answering = completion->answering();
  return Event(number(sum), make_ref<Envelope>(), Ref<Completion>(std::move(completion)), answering);
}

/// Sends on the sum of so many events at a time, and at the end of what is left.
class Summing final : public Step {
 public:
  explicit Summing(std::size_t many) : many_(many) {}
  void start(const Outlet& outlet) override { outlet_ = outlet; }
  bool finishes() const override { return true; }
  bool ask_to_finish() override { return !finishing_.exchange(true); }
  void run(Batch& batch, Emitter&) override {
    for (Event& event : batch) {
      if (event.completion() == nullptr) {
        if (!held_.empty()) send();
        continue;
      }
      held_.push_back(std::move(event));
      outlet_.hold(1);
      if (held_.size() == many_) send();
    }
  }
  void close() override {
    for (Event& event : std::exchange(held_, {})) outlet_.fail(std::move(event), Failure{"", 503, "Closed", "", {}});
  }

 private:
  void send() {
    outlet_.hold(-static_cast<std::ptrdiff_t>(held_.size()));
    outlet_.emit(joined(std::exchange(held_, {})));
  }
  const std::size_t many_;
  Outlet outlet_;
  Batch held_;
  std::atomic<bool> finishing_{false};
};

Graph summing(std::size_t many) {
  Graph graph;
  graph.add("add", adds(1), {1});
  graph.add("sum", std::make_unique<Summing>(many), {2});
  graph.add("last", adds(0)).responder = true;
  return graph;
}

TEST_P(HoldingTest, OneEventThatStandsForSeveralAnswersThemAll) {
  Running running(summing(3), GetParam());
  std::vector<Ref<Kept>> roots;
  for (int i = 0; i < 3; ++i) roots.push_back(running.admit(i));
  if (GetParam() == 0) running.settle(10s);
  for (const auto& root : roots) EXPECT_EQ(thing(*root->get().body).value, 6);
}

TEST_P(HoldingTest, WhatIsHeldGoesOnWhenTheGraphDrains) {
  Running running(summing(4), GetParam());
  std::vector<Ref<Kept>> roots;
  for (int i = 0; i < 6; ++i) roots.push_back(running.admit(0));
  EXPECT_TRUE(running.settle(10s));
  for (std::size_t i = 0; i < 6; ++i) EXPECT_EQ(thing(*roots[i]->get().body).value, i < 4 ? 4 : 2) << i;
}

TEST_P(HoldingTest, StepsFinishInTheOrderOfTheGraph) {
  Graph graph;
  graph.add("first", std::make_unique<Summing>(3), {1});
  graph.add("second", std::make_unique<Summing>(2), {2});
  graph.add("last", adds(0)).responder = true;
  Running running(std::move(graph), GetParam());
  std::vector<Ref<Kept>> roots;
  for (int i = 0; i < 4; ++i) roots.push_back(running.admit(1));
  EXPECT_TRUE(running.settle(10s));
  for (const auto& root : roots) EXPECT_EQ(thing(*root->get().body).value, 4);
}

TEST_P(HoldingTest, AFailureBehindFailsAllThatItStandsFor) {
  Graph graph = summing(2);
  graph.steps[2].step = std::make_unique<FunctionStep>(fails("broken"));
  Running running(std::move(graph), GetParam());
  const auto one = running.admit(1);
  const auto two = running.admit(2);
  EXPECT_TRUE(running.settle(10s));
  EXPECT_EQ(one->get().failure->message, "broken");
  EXPECT_EQ(two->get().failure->message, "broken");
}

TEST_P(HoldingTest, ClosingFailsWhatIsHeld) {
  Running running(summing(2), GetParam());
  const auto root = running.admit(1);
  if (GetParam() > 0)
    while (running.executor->stats(1).events.get() == 0) std::this_thread::yield();
  running.close();
  EXPECT_EQ(root->get().failure->status, 503);
}

TEST_P(HoldingTest, HeldEventsTakeNoPlaceFromOthers) {
  if (GetParam() == 0) return;  // somebody has to run what is admitted
  Executor::Options options;
  options.max_events = 4;
  Running running(summing(50), GetParam(), std::move(options));
  std::vector<Ref<Kept>> roots;
  for (int i = 0; i < 50; ++i) {
    for (;;) {
      auto root = make_ref<Kept>();
      Admission admission = Admission::kFull;
      {
        const Inside inside(running.gate);
        admission = running.executor->admit(root, number(0), make_ref<Envelope>());
      }
      if (admission == Admission::kAccepted) {
        roots.push_back(std::move(root));
        break;
      }
      std::this_thread::yield();
    }
  }
  for (const auto& root : roots) EXPECT_EQ(thing(*root->get().body).value, 50);
}

}  // namespace
}  // namespace penstock::testing
