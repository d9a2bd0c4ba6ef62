#include <latch>

#include "core_fixture.hpp"

namespace penstock::testing {
namespace {

class Target final : public GatherTarget {
 public:
  void gathered(std::uint32_t step, Event&& event) override {
    steps.push_back(step);
    events.push_back(std::move(event));
  }
  std::vector<std::uint32_t> steps;
  Batch events;
};

class GatherTest : public CoreTest {
 protected:
  Event make() { return Event(number(0), make_ref<Envelope>(), told, true); }
  /// `count` parts, on their way.
  Batch send(std::uint32_t count) {
    gather = make_ref<Gather>(target, 7, count);
    Event event = make();
    Batch parts;
    for (std::uint32_t slot = 0; slot < count; ++slot) {
      parts.push_back(event.derive(number(static_cast<int>(slot) + 1), false));
      parts.back().enter(gather, slot);
    }
    gather->hold(std::move(event));
    return parts;
  }
  Target target;
  Ref<Told> told = make_ref<Told>();
  Ref<Gather> gather;
};

TEST_F(GatherTest, TheWaitingEventGoesOnWhenAllPartsAreBack) {
  Batch parts = send(3);
  gather->seal();
  parts[2].come_back();
  parts[0].come_back();
  EXPECT_TRUE(target.events.empty());
  parts[1].come_back();
  ASSERT_EQ(target.events.size(), 1u);
  EXPECT_EQ(target.steps[0], 7u);
  EXPECT_EQ(target.events[0].gathered.get(), gather.get());
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(gather->parts[static_cast<std::size_t>(i)].back);
    EXPECT_EQ(thing(gather->parts[static_cast<std::size_t>(i)].body).value, i + 1);
  }
  EXPECT_EQ(told->answers, 0);
  target.events.clear();
  EXPECT_EQ(told->settled, 1);
}

TEST_F(GatherTest, DoesNotEndWhileItsPartsAreSentOut) {
  Batch parts = send(2);
  parts[0].come_back();
  parts[1].come_back();
  EXPECT_TRUE(target.events.empty());
  gather->seal();
  EXPECT_EQ(target.events.size(), 1u);
}

TEST_F(GatherTest, FailedAndDroppedPartsComeBackAsWhatTheyAre) {
  Batch parts = send(3);
  gather->seal();
  parts[0].fail(Failure{"m1", 500, "ValueError", "bad", {}});
  parts[1].filter();
  parts[2] = Event();  // left behind by a step
  ASSERT_EQ(target.events.size(), 1u);
  EXPECT_EQ(gather->parts[0].failure->message, "bad");
  EXPECT_FALSE(gather->parts[1].back);
  EXPECT_FALSE(gather->parts[1].failure);
  EXPECT_FALSE(gather->parts[2].back);
  target.events.clear();
  EXPECT_EQ(told->outcome, Outcome::kOk) << "how bad it is, the merging step decides";
}

TEST_F(GatherTest, NoPartsAreBackAtOnce) {
  send(0);
  gather->seal();
  EXPECT_EQ(target.events.size(), 1u);
}

TEST_F(GatherTest, PartsThatComeBackTogetherSendTheEventOnOnce) {
  for (int round = 0; round < 100; ++round) {
    told = make_ref<Told>();
    target.events.clear();
    Batch parts = send(4);
    std::latch together(5);
    std::vector<std::thread> threads;
    for (Event& part : parts)
      threads.emplace_back([&] {
        together.arrive_and_wait();
        part.come_back();
      });
    together.arrive_and_wait();
    gather->seal();
    for (std::thread& thread : threads) thread.join();
    ASSERT_EQ(target.events.size(), 1u);
    for (const Gather::Part& part : gather->parts) ASSERT_TRUE(part.back);
  }
}

}  // namespace
}  // namespace penstock::testing
