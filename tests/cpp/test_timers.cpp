#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include <penstock/timers.hpp>

namespace penstock {
namespace {

using namespace std::chrono_literals;

class TimersTest : public ::testing::Test {
 protected:
  Timers::Action note(int n) {
    return [this, n] { ran.push_back(n); };
  }
  const TimePoint start{1h};
  Timers timers;
  std::vector<int> ran;
};

TEST_F(TimersTest, RunWhatIsDueInOrder) {
  EXPECT_FALSE(timers.next());
  bool earliest = false;
  timers.add(start + 3s, note(3), &earliest);
  EXPECT_TRUE(earliest);
  timers.add(start + 1s, note(1), &earliest);
  EXPECT_TRUE(earliest);
  timers.add(start + 2s, note(2), &earliest);
  EXPECT_FALSE(earliest);
  EXPECT_EQ(timers.next(), start + 1s);
  timers.run(start);
  EXPECT_TRUE(ran.empty());
  timers.run(start + 2s);
  EXPECT_EQ(ran, (std::vector{1, 2}));
  EXPECT_EQ(timers.next(), start + 3s);
}

TEST_F(TimersTest, OfTheSameTimeRunAsTheyWereAdded) {
  for (int i = 0; i < 4; ++i) timers.add(start, note(i));
  timers.run(start);
  EXPECT_EQ(ran, (std::vector{0, 1, 2, 3}));
}

TEST_F(TimersTest, ACancelledOneDoesNotRun) {
  const std::uint64_t id = timers.add(start, note(1));
  EXPECT_NE(id, 0u);
  EXPECT_TRUE(timers.cancel(id));
  EXPECT_FALSE(timers.cancel(id));
  EXPECT_FALSE(timers.cancel(0));
  timers.run(start);
  EXPECT_TRUE(ran.empty());
  const std::uint64_t done = timers.add(start, note(2));
  timers.run(start);
  EXPECT_FALSE(timers.cancel(done)) << "it is no longer to come";
}

TEST_F(TimersTest, ActionsMayAddAndCancel) {
  const std::uint64_t later = timers.add(start + 1s, note(9));
  timers.add(start, [&] {
    timers.cancel(later);
    timers.add(start, note(2));
  });
  timers.run(start + 1s);
  EXPECT_EQ(ran, (std::vector{2}));
}

TEST_F(TimersTest, LetGoOfWhatTheyHoldWhenCancelledOrRun) {
  auto held = std::make_shared<int>(1);
  const std::weak_ptr<int> watch = held;
  const std::uint64_t id = timers.add(start, [held] {});
  timers.add(start, [held] {});
  held.reset();
  timers.cancel(id);
  EXPECT_FALSE(watch.expired());
  timers.run(start);
  EXPECT_TRUE(watch.expired());
}

}  // namespace
}  // namespace penstock
