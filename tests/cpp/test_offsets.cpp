#include <atomic>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include <penstock/offsets.hpp>

namespace penstock::testing {
namespace {

TEST(OffsetsTest, ThePositionIsTheLowestOffsetThatIsNotSettled) {
  const auto offsets = make_ref<Offsets>(5);
  std::vector<std::uint64_t> delivered;
  for (const int offset : {5, 6, 7}) delivered.push_back(offsets->deliver(offset));
  EXPECT_TRUE(offsets->settle(delivered[1]));
  EXPECT_EQ(offsets->position(), 5);
  EXPECT_TRUE(offsets->settle(delivered[0]));
  EXPECT_EQ(offsets->position(), 7);
  EXPECT_TRUE(offsets->settle(delivered[2]));
  EXPECT_EQ(offsets->position(), 8);
}

TEST(OffsetsTest, GapsHoldNothingBack) {
  const auto offsets = make_ref<Offsets>(0);
  const std::uint64_t first = offsets->deliver(10);
  const std::uint64_t second = offsets->deliver(20);
  EXPECT_TRUE(offsets->settle(first));
  EXPECT_EQ(offsets->position(), 20);
  EXPECT_TRUE(offsets->settle(second));
  EXPECT_EQ(offsets->position(), 21);
}

TEST(OffsetsTest, SeveralAreDeliveredUnderNumbersInARow) {
  const auto offsets = make_ref<Offsets>(0);
  offsets->settle(offsets->deliver(3));
  const std::uint64_t first = offsets->deliver(std::vector<std::int64_t>{5, 6, 9});
  EXPECT_TRUE(offsets->settle(first + 2));
  EXPECT_EQ(offsets->position(), 5);
  EXPECT_TRUE(offsets->settle(first));
  EXPECT_TRUE(offsets->settle(first + 1));
  EXPECT_EQ(offsets->position(), 10);
}

TEST(OffsetsTest, APositionIsDueOnceUnlessItWasNotWritten) {
  const auto offsets = make_ref<Offsets>(3);
  EXPECT_EQ(offsets->due(), std::nullopt);
  offsets->settle(offsets->deliver(3));
  EXPECT_EQ(offsets->due(), 4);
  EXPECT_EQ(offsets->due(), std::nullopt);
  offsets->not_written();
  EXPECT_EQ(offsets->due(), 4);
}

TEST(OffsetsTest, WhatIsRevokedIsNeverDueAndCountsWhoComesLate) {
  const auto offsets = make_ref<Offsets>(0);
  const std::uint64_t delivery = offsets->deliver(0);
  offsets->settle(offsets->deliver(1));
  offsets->revoke();
  EXPECT_FALSE(offsets->settle(delivery));
  EXPECT_EQ(offsets->due(), std::nullopt);
  EXPECT_EQ(offsets->position(), 0);
  EXPECT_EQ(offsets->late(), 1U);
}

TEST(OffsetsTest, SettlesOnce) {
  const auto offsets = make_ref<Offsets>(0);
  const std::uint64_t delivery = offsets->deliver(0);
  offsets->deliver(1);
  EXPECT_TRUE(offsets->settle(delivery));
  EXPECT_FALSE(offsets->settle(delivery));
  EXPECT_FALSE(offsets->settle(7));
  EXPECT_EQ(offsets->unsettled(), 1U);
}

TEST(OffsetsTest, WhatIsRetractedComesAgain) {
  const auto offsets = make_ref<Offsets>(0);
  offsets->settle(offsets->deliver(4));
  offsets->deliver(9);
  offsets->retract();
  EXPECT_EQ(offsets->open(), 0U);
  offsets->settle(offsets->deliver(9));
  EXPECT_EQ(offsets->position(), 10);
  EXPECT_THROW(offsets->deliver(9), std::invalid_argument);
  EXPECT_THROW(offsets->retract(), std::logic_error);
}

TEST(OffsetsTest, ThreadsThatSettleTogetherNeverMoveThePositionBackOrTooFar) {
  constexpr int kRecords = 20000;
  const auto offsets = make_ref<Offsets>(0);
  std::vector<std::atomic<bool>> settled(kRecords);
  for (int offset = 0; offset < kRecords; ++offset) offsets->deliver(offset);
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 4; ++thread)
    threads.emplace_back([&, thread] {
      for (int delivery = thread; delivery < kRecords; delivery += 4) {
        settled[static_cast<std::size_t>(delivery)] = true;
        offsets->settle(static_cast<std::uint64_t>(delivery));
      }
    });
  std::int64_t last = 0;
  while (last < kRecords) {
    const std::int64_t position = offsets->position();
    EXPECT_GE(position, last);
    for (; last < position; ++last) EXPECT_TRUE(settled[static_cast<std::size_t>(last)].load());
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(offsets->unsettled(), 0U);
}

}  // namespace
}  // namespace penstock::testing
