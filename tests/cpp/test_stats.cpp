// Counters and histograms, and the ids that events get.
#include <gtest/gtest.h>

#include <set>
#include <thread>
#include <vector>

#include <penstock/ids.hpp>
#include <penstock/stats.hpp>

namespace penstock {
namespace {

using namespace std::chrono_literals;

TEST(CounterTest, SharedAdditionsAreAllCounted) {
  Counter counter;
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i)
    threads.emplace_back([&] {
      for (int n = 0; n < 1000; ++n) counter.add_shared();
    });
  for (std::thread& thread : threads) thread.join();
  counter.add(5);
  EXPECT_EQ(counter.get(), 4005u);
}

TEST(HistogramTest, ADurationFallsInTheFirstBucketThatHoldsIt) {
  Histogram histogram;
  const std::pair<Duration, std::size_t> cases[] = {{0ns, 0},  {1us, 0},     {1us + 1ns, 1}, {2us, 1},
                                                    {3us, 2},  {1024us, 10}, {1025us, 11},   {33s, 25},
                                                    {40s, 26}, {1h, 26},     {-5ns, 0}};
  for (const auto& [duration, bucket] : cases) {
    const std::uint64_t before = histogram.count(bucket);
    histogram.add(duration);
    EXPECT_EQ(histogram.count(bucket), before + 1) << duration.count() << " ns";
    if (bucket + 1 < Histogram::kBuckets) {
      EXPECT_LE(duration, Histogram::bound(bucket));
    }
  }
  EXPECT_EQ(histogram.total(), std::size(cases));
}

TEST(HistogramTest, SumsWhatItWasGiven) {
  Histogram histogram;
  histogram.add(3ms);
  histogram.add(4us);
  EXPECT_EQ(histogram.sum(), 3004us);
  EXPECT_EQ(histogram.total(), 2u);
}

TEST(SizeHistogramTest, ASizeFallsInTheFirstBucketThatHoldsIt) {
  SizeHistogram histogram;
  const std::pair<std::size_t, std::size_t> cases[] = {{0, 0}, {1, 0},     {2, 1},     {3, 2},
                                                       {4, 2}, {1024, 10}, {1025, 11}, {99999, 11}};
  std::size_t sum = 0;
  for (const auto& [size, bucket] : cases) {
    const std::uint64_t before = histogram.count(bucket);
    histogram.add(size);
    sum += size;
    EXPECT_EQ(histogram.count(bucket), before + 1) << size;
    if (bucket + 1 < SizeHistogram::kBuckets) {
      EXPECT_LE(size, SizeHistogram::bound(bucket));
    }
  }
  EXPECT_EQ(histogram.sum(), sum);
}

TEST(IdTest, IsARandomUuidInHexadecimal) {
  std::set<std::string> seen;
  for (int i = 0; i < 1000; ++i) {
    const std::string id = make_id();
    ASSERT_EQ(id.size(), 32u);
    ASSERT_EQ(id.find_first_not_of("0123456789abcdef"), std::string::npos);
    ASSERT_EQ(id[12], '4');
    seen.insert(id);
  }
  std::thread([&] { seen.insert(make_id()); }).join();
  EXPECT_EQ(seen.size(), 1001u);
}

}  // namespace
}  // namespace penstock
