#include <penstock/delivery.hpp>

#include <algorithm>
#include <numeric>

#include "core_fixture.hpp"

namespace penstock::testing {
namespace {

/// A graph that a stream's records enter.
struct Fed {
  explicit Fed(Graph graph) : run(std::move(graph), 1) {}

  void deliver(int value) {
    const Inside inside(run.gate);
    auto delivery = make_ref<Delivery>(deliveries, offsets, offsets->deliver(value), object(value), 1);
    EXPECT_EQ(run.executor->admit(delivery, number(value), make_ref<Envelope>()), Admission::kAccepted);
  }
  Admission deliver(const std::vector<std::int64_t>& values) {
    const Inside inside(run.gate);
    std::uint64_t number_of = offsets->deliver(values);
    std::vector<Arrival> arrivals;
    for (const std::int64_t value : values)
      arrivals.push_back({make_ref<Delivery>(deliveries, offsets, number_of++, object(static_cast<int>(value)), 1),
                          number(static_cast<int>(value)), make_ref<Envelope>()});
    return run.executor->admit(arrivals);
  }
  void wait_for_end() { deliveries->wait(0, 30s); }

  Running run;
  Ref<Deliveries> deliveries = make_ref<Deliveries>();
  Ref<Offsets> offsets = make_ref<Offsets>(0);
};

class DeliveryTest : public CoreTest {};

TEST_F(DeliveryTest, OneThatEndedWellOrWasFilteredIsSettled) {
  Graph graph;
  graph.add("filter", [](Event& event, Pass&) { return thing(event).value == 1 ? Verdict::kDrop : Verdict::kEmit; });
  Fed fed(std::move(graph));
  for (int value = 0; value < 3; ++value) fed.deliver(value);
  fed.wait_for_end();
  EXPECT_EQ(fed.deliveries->in_flight(), 0U);
  EXPECT_EQ(fed.deliveries->bytes(), 0U);
  EXPECT_EQ(fed.offsets->position(), 3);
}

TEST_F(DeliveryTest, SeveralEnterTogetherInTheirOrderAndTakeNoPlace) {
  std::vector<int> seen;
  Graph graph;
  graph.add("first", [&](Event& event, Pass&) {
    seen.push_back(thing(event).value);
    return Verdict::kEmit;
  });
  Fed fed(std::move(graph));
  std::vector<std::int64_t> values(3000);
  std::iota(values.begin(), values.end(), 0);
  EXPECT_EQ(fed.deliver(values), Admission::kAccepted) << "of events that take a place there may be 1,024";
  fed.wait_for_end();
  EXPECT_EQ(fed.offsets->position(), 3000);
  EXPECT_TRUE(std::equal(seen.begin(), seen.end(), values.begin(), values.end()));
}

TEST_F(DeliveryTest, SeveralEnterWhereverAnEventDoes) {
  std::atomic<int> batched{0};
  Graph graph;
  graph.add("one", pass_on);
  graph.add_batch("other", [&](Batch& batch, Emitter&) { batched += static_cast<int>(batch.size()); }).batch.size = 8;
  graph.entries = {0, 1};
  Fed fed(std::move(graph));
  EXPECT_EQ(fed.deliver({3, 4, 7}), Admission::kAccepted);
  fed.wait_for_end();
  EXPECT_EQ(batched, 3);
  EXPECT_EQ(fed.offsets->position(), 8);
}

TEST_F(DeliveryTest, NoneOfSeveralEntersAGraphThatHasEnded) {
  Graph graph;
  graph.add("a", pass_on);
  Fed fed(std::move(graph));
  fed.run.close();
  EXPECT_EQ(fed.deliver({0, 1}), Admission::kClosed);
  EXPECT_EQ(fed.deliveries->in_flight(), 0U);
  EXPECT_EQ(fed.offsets->unsettled(), 2U) << "to be retracted by who delivered them";
}

TEST_F(DeliveryTest, WhoWaitsIsWokenWhenAsManyHaveFailedAsAreWanted) {
  Batch held;
  std::vector<Emitter> places;
  Graph graph;
  graph
      .add("fails",
           [&](Event& event, Pass& pass) {
             pass.failure = Failure{"", 500, "ValueError", "no", {}};
             if (thing(event).value > 0) return Verdict::kFail;
             places.push_back(pass.detach());
             held.push_back(std::move(event));
             return Verdict::kTaken;
           })
      .concurrency = 8;
  Fed fed(std::move(graph));
  fed.deliver(0);
  std::thread later([&] {
    for (const int value : {1, 2, 3}) fed.deliver(value);
  });
  fed.deliveries->wait(0, 30s, 3);
  EXPECT_EQ(fed.deliveries->take_failed().size(), 3U);
  later.join();
  const Inside inside(fed.run.gate);
  held.clear();
  places.clear();
}

TEST_F(DeliveryTest, IsOpenWhileAnyEventOfItLives) {
  Event held;
  Signal holds;
  Graph graph;
  graph.add("start", pass_on, {1, 2});
  graph.add("quick", pass_on);
  graph.add_batch("holds", [&](Batch& batch, Emitter&) {
    held = std::move(batch.front());
    holds.set();
  });
  Fed fed(std::move(graph));
  fed.deliver(0);
  ASSERT_TRUE(holds.wait());
  EXPECT_EQ(fed.offsets->position(), 0);
  EXPECT_EQ(fed.deliveries->in_flight(), 1U);
  held.end();
  fed.wait_for_end();
  EXPECT_EQ(fed.offsets->position(), 1);
}

TEST_F(DeliveryTest, ACallThatNeverComesBackHoldsItUpNoLongerThanItsTimeout) {
  Batch stuck;
  std::vector<Emitter> places;
  Graph graph;
  graph
      .add("sticks",
           [&](Event& event, Pass& pass) {
             places.push_back(pass.detach());
             stuck.push_back(std::move(event));
             return Verdict::kTaken;
           })
      .timeout = 10ms;
  Fed fed(std::move(graph));
  fed.deliver(0);
  fed.wait_for_end();
  const std::vector<Deliveries::Failed> failed = fed.deliveries->take_failed();
  ASSERT_EQ(failed.size(), 1U);
  EXPECT_EQ(failed[0].failure.kind, "Timeout");
  fed.wait_for_end();  // it is told of first
  EXPECT_EQ(fed.deliveries->in_flight(), 0U);
  const Inside inside(fed.run.gate);
  stuck.clear();
  places.clear();
}

TEST_F(DeliveryTest, OneThatFailedStaysOpenAndIsHeardOfOnceWithItsFirstFailure) {
  Graph graph;
  graph.add("start", pass_on, {1, 2});
  graph.add("one", fails("one"));
  graph.add("other", fails("other"));
  Fed fed(std::move(graph));
  fed.deliver(7);
  fed.wait_for_end();
  while (fed.deliveries->in_flight() > 0) std::this_thread::yield();
  const Inside inside(fed.run.gate);
  const std::vector<Deliveries::Failed> failed = fed.deliveries->take_failed();
  ASSERT_EQ(failed.size(), 1U);
  EXPECT_EQ(static_cast<Thing*>(failed[0].origin.get())->value, 7);
  EXPECT_EQ(failed[0].failure.message, "one");
  EXPECT_EQ(fed.offsets->position(), 7);
  EXPECT_TRUE(fed.deliveries->take_failed().empty());
  EXPECT_TRUE(failed[0].offsets->settle(failed[0].delivery));
  EXPECT_EQ(fed.offsets->position(), 8);
}

TEST_F(DeliveryTest, OneThatIsNotAdmittedLeavesNothingBehind) {
  Graph graph;
  graph.add("a", pass_on);
  Fed fed(std::move(graph));
  fed.run.close();
  {
    const Inside inside(fed.run.gate);
    auto delivery = make_ref<Delivery>(fed.deliveries, fed.offsets, fed.offsets->deliver(0), object(0), 1);
    EXPECT_EQ(fed.run.executor->admit(delivery, number(0), make_ref<Envelope>()), Admission::kClosed);
    fed.offsets->retract();
  }
  EXPECT_EQ(fed.deliveries->in_flight(), 0U);
  EXPECT_EQ(fed.offsets->position(), 0);
}

}  // namespace
}  // namespace penstock::testing
