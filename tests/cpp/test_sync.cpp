#include <gtest/gtest.h>

#include <thread>

#include <penstock/sync.hpp>

namespace penstock {
namespace {

using namespace std::chrono_literals;

TEST(ParkerTest, AnUnparkThatComesFirstIsKeptOnce) {
  Parker parker;
  parker.unpark();
  parker.unpark();
  parker.park();
  EXPECT_FALSE(parker.park_until(Clock::now())) << "two are kept as one";
}

TEST(ParkerTest, TellsWhetherItWasWoken) {
  Parker parker;
  EXPECT_FALSE(parker.park_until(Clock::now() + 1ms));
  parker.unpark();
  EXPECT_TRUE(parker.park_until(Clock::now()));
}

TEST(ParkerTest, WakesTheThreadThatSleeps) {
  Parker there, back;
  std::thread sleeper([&] {
    for (int i = 0; i < 1000; ++i) {
      there.park();
      back.unpark();
    }
  });
  for (int i = 0; i < 1000; ++i) {
    there.unpark();
    ASSERT_TRUE(back.park_until(Clock::now() + 30s));
  }
  sleeper.join();
}

TEST(ParkerTest, MayEndAsSoonAsTheThreadWakes) {
  for (int i = 0; i < 200; ++i) {
    auto parker = std::make_unique<Parker>();
    std::thread waker([raw = parker.get()] { raw->unpark(); });
    parker->park();
    parker.reset();
    waker.join();
  }
}

}  // namespace
}  // namespace penstock
