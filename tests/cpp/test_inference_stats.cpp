#include <penstock/inference_stats.hpp>

#include <thread>
#include <vector>

#include <gtest/gtest.h>

namespace penstock {
namespace {

using namespace std::chrono_literals;
using End = InferenceStats::End;

TEST(InferenceStats, ARequestCountsItsRowsAndItsTime) {
  InferenceStats stats;
  stats.request(true, 3, 2ms, 5ms);
  stats.request(false, 4, 1ms, 1ms);
  const auto done = stats.snapshot();
  EXPECT_EQ(done.rows, 3U) << "of those that succeeded";
  EXPECT_EQ(done.success.count, 1U);
  EXPECT_EQ(done.success.time, 7ms) << "the wait is part of it";
  EXPECT_EQ(done.fail.count, 1U);
  EXPECT_EQ(done.queue.count, 2U);
  EXPECT_EQ(done.queue.time, 3ms);
  EXPECT_GT(done.last.time_since_epoch().count(), 0);
}

TEST(InferenceStats, ExecutionsAreCountedByTheirSize) {
  InferenceStats stats;
  stats.execution(8, {1ms, 2ms, 3ms});
  stats.execution(8, {1ms, 2ms, 3ms});
  stats.execution(2, {0ms, 1ms, 0ms});
  const auto done = stats.snapshot();
  EXPECT_EQ(done.executions.infer.count, 3U);
  EXPECT_EQ(done.executions.infer.time, 5ms);
  ASSERT_EQ(done.sizes.size(), 2U);
  EXPECT_EQ(done.sizes.at(8).output.count, 2U);
  EXPECT_EQ(done.sizes.at(8).output.time, 6ms);
  EXPECT_EQ(done.sizes.at(2).infer.count, 1U);
}

TEST(InferenceStats, ResponsesAreCountedByTheirPlaceAndHowTheyEnded) {
  InferenceStats stats;
  stats.response(0, End::kSuccess, 1ms, 1ms);
  stats.response(1, End::kCancel, 0ms, 0ms);
  stats.response(1, End::kFail, 2ms, 0ms);
  const auto done = stats.snapshot();
  EXPECT_EQ(done.responses.at(0).success.time, 2ms);
  EXPECT_EQ(done.responses.at(0).output.count, 1U);
  EXPECT_EQ(done.responses.at(1).cancel.count, 1U);
  EXPECT_EQ(done.responses.at(1).fail.count, 1U);
  EXPECT_EQ(done.responses.at(1).output.count, 0U);
}

TEST(InferenceStats, WhatIsToldApartIsBounded) {
  InferenceStats stats;
  const std::size_t many = InferenceStats::kApart + 100;
  for (std::size_t i = 0; i < many; ++i) {
    stats.response(i, End::kSuccess, 0ms, 0ms);
    stats.execution(i, {});
  }
  const auto done = stats.snapshot();
  EXPECT_EQ(done.responses.size(), InferenceStats::kApart);
  EXPECT_EQ(done.sizes.size(), InferenceStats::kApart);
  EXPECT_EQ(done.responses.rbegin()->second.success.count, 101U);
  EXPECT_EQ(done.executions.infer.count, many);
}

TEST(InferenceStats, ManyThreadsLoseNothing) {
  InferenceStats stats;
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i)
    threads.emplace_back([&stats] {
      for (int j = 0; j < 1000; ++j) {
        stats.request(true, 2, 1ns, 1ns);
        stats.execution(2, {});
      }
    });
  for (std::thread& thread : threads) thread.join();
  const auto done = stats.snapshot();
  EXPECT_EQ(done.rows, 8000U);
  EXPECT_EQ(done.success.count, 4000U);
  EXPECT_EQ(done.sizes.at(2).infer.count, 4000U);
}

}  // namespace
}  // namespace penstock
