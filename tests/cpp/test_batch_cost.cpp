#include <penstock/batch_cost.hpp>

#include <gtest/gtest.h>

namespace penstock::testing {
namespace {

using namespace std::chrono_literals;

Duration call(std::size_t rows) { return 11ms + static_cast<Duration::rep>(rows) * Duration(900us); }

void expect_near(Duration seen, Duration wanted, Duration by) {
  EXPECT_LE(seen, wanted + by);
  EXPECT_GE(seen, wanted - by);
}

TEST(BatchCostTest, TellsWhatACallCostsFromWhatARowCosts) {
  BatchCost cost;
  for (int i = 0; i < 8; ++i)
    for (const std::size_t rows : {1, 31, 4, 16, 2}) cost.learn(rows, call(rows));
  expect_near(cost.of_call(), 11ms, 10us);
  expect_near(cost.of_row(), 900us, 10us);
  expect_near(cost.of(32), call(32), 10us);
}

TEST(BatchCostTest, OfOneSizeItKnowsTheWhole) {
  BatchCost cost;
  for (int i = 0; i < 5; ++i) cost.learn(8, call(8));
  expect_near(cost.of(8), call(8), 10us);
}

TEST(BatchCostTest, KeepsWhatARowCostsWhenAllBatchesAreAlike) {
  BatchCost cost;
  for (int i = 0; i < 8; ++i)
    for (const std::size_t rows : {1, 31, 4, 16}) cost.learn(rows, call(rows));
  for (int i = 0; i < 500; ++i) cost.learn(32, call(32));
  expect_near(cost.of_row(), 900us, 50us);
  expect_near(cost.of(32), call(32), 50us);
}

TEST(BatchCostTest, ForgetsWhatWas) {
  BatchCost cost;
  for (int i = 0; i < 600; ++i) cost.learn(1 + static_cast<std::size_t>(i) % 32, 1s);
  for (int i = 0; i < 600; ++i)
    cost.learn(1 + static_cast<std::size_t>(i) % 32, call(1 + static_cast<std::size_t>(i) % 32));
  expect_near(cost.of_call(), 11ms, 1ms);
}

TEST(BatchCostTest, OneCallThatWasHeldUpChangesLittle) {
  BatchCost cost;
  for (int i = 0; i < 40; ++i)
    cost.learn(1 + static_cast<std::size_t>(i) % 32, call(1 + static_cast<std::size_t>(i) % 32));
  cost.learn(4, 10s);
  EXPECT_LE(cost.of(8), 2 * call(8));
}

TEST(BatchCostTest, NoCostIsNegative) {
  BatchCost falling;
  for (const std::size_t rows : {1, 2, 4, 8}) falling.learn(rows, 100ms / static_cast<Duration::rep>(rows));
  EXPECT_EQ(falling.of_row(), Duration::zero());
  BatchCost steep;
  for (const std::size_t rows : {1, 2, 4, 8}) steep.learn(rows, 1ms * static_cast<Duration::rep>(rows * rows));
  EXPECT_GE(steep.of_call(), Duration::zero());
}

}  // namespace
}  // namespace penstock::testing
