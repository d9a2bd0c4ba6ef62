#include <penstock/channel.hpp>

#include "core_fixture.hpp"

namespace penstock::testing {
namespace {

class ChannelTest : public CoreTest {
 protected:
  void push(Channel& channel, int value, TimePoint at = {}) {
    EXPECT_EQ(channel.push(Event(number(value), {}, told, true), at).what, Channel::Pushed::kTaken);
  }
  std::vector<int> take(Channel& channel, std::size_t burst = 1) {
    Batch batch;
    Batch late;
    channel.take(batch, late, burst, start);
    std::vector<int> values;
    for (const Event& event : batch) values.push_back(thing(event).value);
    return values;
  }
  const TimePoint start{1h};
  Ref<Told> told = make_ref<Told>();
};

TEST_F(ChannelTest, GivesEventsInOrder) {
  Channel channel({.concurrency = 1, .capacity = 8});
  EXPECT_FALSE(channel.claim({}));
  for (int i = 0; i < 5; ++i) push(channel, i);
  EXPECT_EQ(channel.next_owner(), told.get());
  ASSERT_TRUE(channel.claim({}));
  EXPECT_EQ(take(channel, 3), (std::vector{0, 1, 2}));
  EXPECT_FALSE(channel.claim({})) << "its concurrency is 1";
  channel.end(3, 0);
  ASSERT_TRUE(channel.claim({}));
  EXPECT_EQ(take(channel, 16), (std::vector{3, 4}));
  channel.end(2, 0);
  EXPECT_EQ(channel.pending(), 0u);
  EXPECT_EQ(channel.next_owner(), nullptr);
}

TEST_F(ChannelTest, TakesSeveralInOrderAndNoneOnceItIsClosed) {
  Channel channel({.concurrency = 1, .capacity = 8});
  push(channel, 0);
  Batch events;
  for (const int value : {1, 2}) events.emplace_back(number(value), Ref<Envelope>(), told, true);
  EXPECT_TRUE(channel.push(events).may_start);
  EXPECT_EQ(channel.pending(), 3u);
  ASSERT_TRUE(channel.claim({}));
  EXPECT_EQ(take(channel, 16), (std::vector{0, 1, 2}));
  static_cast<void>(channel.close());
  events.clear();
  events.emplace_back(number(3), Ref<Envelope>(), told, true);
  EXPECT_EQ(channel.push(events).what, Channel::Pushed::kClosed);
  EXPECT_EQ(thing(events[0]).value, 3) << "it is left as it was";
}

TEST_F(ChannelTest, APushTellsWhetherAnActivationMightStart) {
  Channel channel({.concurrency = 1, .capacity = 8});
  const auto may_start = [&](int value) { return channel.push(Event(number(value), {}, told, true), {}).may_start; };
  EXPECT_TRUE(may_start(0));
  ASSERT_TRUE(channel.claim({}));
  EXPECT_FALSE(may_start(1));
  EXPECT_EQ(take(channel), (std::vector{0}));
  EXPECT_FALSE(may_start(2)) << "it runs";
  channel.end(1, 0);
  EXPECT_TRUE(may_start(3));
}

TEST_F(ChannelTest, ClaimsNoMoreActivationsThanThereAreEventsOrPlaces) {
  Channel channel({.concurrency = 3, .capacity = 8});
  push(channel, 1);
  EXPECT_TRUE(channel.claim({}));
  EXPECT_FALSE(channel.claim({})) << "one event, one activation";
  for (int i = 0; i < 5; ++i) push(channel, i);
  EXPECT_TRUE(channel.claim({}));
  EXPECT_TRUE(channel.claim({}));
  EXPECT_FALSE(channel.claim({})) << "three are under way";
  EXPECT_EQ(channel.running(), 0u);
  EXPECT_EQ(take(channel).size(), 1u);
  EXPECT_EQ(channel.running(), 1u);
  channel.end(1, 0);
  EXPECT_TRUE(channel.claim({}));
}

TEST_F(ChannelTest, CapacityIsAHighWaterMark) {
  Channel channel({.concurrency = 1, .capacity = 2});
  push(channel, 1);
  EXPECT_FALSE(channel.full());
  push(channel, 2);
  EXPECT_TRUE(channel.full());
  push(channel, 3);  // what runs already may always push
  EXPECT_EQ(channel.pending(), 3u);
  ASSERT_TRUE(channel.claim({}));
  take(channel, 1);
  EXPECT_TRUE(channel.full()) << "what is being handled counts";
  EXPECT_FALSE(channel.end(1, 0)) << "2 left: at the mark";
  ASSERT_TRUE(channel.claim({}));
  take(channel, 1);
  EXPECT_TRUE(channel.end(1, 0)) << "1 left: below the mark";
  EXPECT_FALSE(channel.full());
}

TEST_F(ChannelTest, ABatchIsReadyWhenItIsFull) {
  Channel channel({.concurrency = 1, .capacity = 8, .batch = {.size = 3, .delay = 1h}});
  push(channel, 1, start);
  push(channel, 2, start + 1s);
  EXPECT_FALSE(channel.claim(start + 2s));
  EXPECT_EQ(channel.due(start), start + 1h);
  push(channel, 3, start + 2s);
  push(channel, 4, start + 2s);
  ASSERT_TRUE(channel.claim(start + 2s));
  EXPECT_EQ(take(channel), (std::vector{1, 2, 3}));
  EXPECT_EQ(channel.due(start), start + 2s + 1h);
}

TEST_F(ChannelTest, ABatchIsReadyWhenItsFirstEventHasWaited) {
  Channel channel({.concurrency = 1, .capacity = 8, .batch = {.size = 3, .delay = 10ms}});
  push(channel, 1, start);
  EXPECT_FALSE(channel.claim(start + 9ms));
  ASSERT_TRUE(channel.claim(start + 10ms));
  EXPECT_EQ(take(channel), (std::vector{1}));
  EXPECT_FALSE(channel.due(start));
}

TEST_F(ChannelTest, WithoutDelayABatchTakesWhatWaits) {
  Channel channel({.concurrency = 1, .capacity = 8, .batch = {.size = 3}});
  push(channel, 1);
  push(channel, 2);
  EXPECT_FALSE(channel.due(start));
  ASSERT_TRUE(channel.claim({}));
  EXPECT_EQ(take(channel), (std::vector{1, 2}));
}

TEST_F(ChannelTest, InAHurryNoBatchWaits) {
  Channel channel({.concurrency = 1, .capacity = 8, .batch = {.size = 3, .delay = 1h}});
  push(channel, 1, start);
  EXPECT_FALSE(channel.claim(start));
  channel.hurry();
  EXPECT_TRUE(channel.claim(start));
}

TEST_F(ChannelTest, AnAdoptedActivationTakesAPlace) {
  Channel channel({.concurrency = 1, .capacity = 8});
  channel.adopt(0);
  push(channel, 1);
  EXPECT_FALSE(channel.claim({}));
  EXPECT_EQ(channel.pending(), 2u);
  channel.end(1, 0);
  EXPECT_TRUE(channel.claim({}));
}

TEST_F(ChannelTest, ClosedItGivesBackWhatWaitsAndTakesNoMore) {
  Channel channel({.concurrency = 2, .capacity = 8});
  for (int i = 0; i < 3; ++i) push(channel, i);
  ASSERT_TRUE(channel.claim({}));
  ASSERT_TRUE(channel.claim({}));
  take(channel);
  EXPECT_EQ(channel.close().size(), 2u);
  EXPECT_EQ(channel.pending(), 1u);
  EXPECT_TRUE(take(channel).empty()) << "claimed before, but nothing is left";
  Event late(number(9), {}, told, false);
  EXPECT_EQ(channel.push(std::move(late), {}).what, Channel::Pushed::kClosed);
  EXPECT_EQ(late.completion(), told.get()) << "a refused event is not taken";  // NOLINT(bugprone-use-after-move)
}

}  // namespace
}  // namespace penstock::testing
