#include <penstock/watchdog.hpp>

#include "core_fixture.hpp"

namespace penstock::testing {
namespace {

TEST(Watchdog, ActsWhenNobodyBeats) {
  Signal acted;
  const Watchdog dog(20ms, [&] { acted.set(); });
  EXPECT_TRUE(acted.wait());
}

TEST(Watchdog, LeavesAloneWhoBeats) {
  Signal acted;
  Watchdog dog(2s, [&] { acted.set(); });
  const TimePoint end = Clock::now() + 2500ms;
  while (Clock::now() < end) {
    dog.beat();
    EXPECT_FALSE(acted.wait(20ms));
  }
}

TEST(Watchdog, EndsAtOnce) {
  const TimePoint start = Clock::now();
  {
    const Watchdog dog(1h, [] { FAIL(); });
  }
  EXPECT_LT(Clock::now() - start, 30s);
}

}  // namespace
}  // namespace penstock::testing
