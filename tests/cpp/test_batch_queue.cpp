#include <penstock/batch_queue.hpp>

#include "core_fixture.hpp"

namespace penstock::testing {
namespace {

class BatchQueueTest : public CoreTest {
 protected:
  void push(BatchQueue& queue, int value, Fit fit = {}, Duration after = {}) {
    EXPECT_FALSE(queue.push(Event(number(value), {}, told, true), fit, start + after));
  }
  std::vector<int> take(BatchQueue& queue, Duration after = {}) {
    Batch batch;
    Batch late;
    taken = queue.take(batch, late, start + after);
    EXPECT_TRUE(late.empty());
    std::vector<int> values;
    for (const Event& event : batch) values.push_back(thing(event).value);
    return values;
  }
  std::shared_ptr<const InferRequest> request(std::vector<std::int64_t> shape, DataType type = DataType::kFp32,
                                              std::string name = "x") {
    InferRequest made;
    made.inputs.push_back(Tensor{std::move(name), type, std::move(shape), nullptr, 0, {}, {}, {}});
    return std::make_shared<const InferRequest>(std::move(made));
  }
  Fit fit(std::shared_ptr<const InferRequest> body, bool ragged = false) {
    return fit_of(Event(Payload(std::move(body)), make_ref<Envelope>(), told, true), ragged);
  }
  using Values = std::vector<int>;
  const TimePoint start{1h};
  Ref<Told> told = make_ref<Told>();
  BatchQueue::Taken taken;
};

TEST_F(BatchQueueTest, CountsRowsNotEvents) {
  BatchQueue queue({.size = 8}, 1);
  for (int i = 0; i < 4; ++i) push(queue, i, {1, 3});
  EXPECT_EQ(take(queue), (Values{0, 1})) << "a third would make it 9 rows";
  EXPECT_EQ(taken.rows, 6u);
  EXPECT_EQ(take(queue), (Values{2, 3}));
}

TEST_F(BatchQueueTest, WhoHasMoreRowsThanABatchGoesAlone) {
  BatchQueue queue({.size = 8, .delay = 1h}, 1);
  push(queue, 1, {1, 20});
  push(queue, 2, {1, 1});
  EXPECT_TRUE(queue.ready(start)) << "it is full by itself";
  EXPECT_EQ(take(queue), (Values{1}));
  EXPECT_FALSE(queue.ready(start));
}

TEST_F(BatchQueueTest, NobodyOvertakesOneThatDoesNotFit) {
  BatchQueue queue({.size = 8, .delay = 1h}, 1);
  push(queue, 1, {1, 5});
  push(queue, 2, {1, 5});
  push(queue, 3, {1, 1});
  EXPECT_TRUE(queue.ready(start)) << "more does not fit, so there is nothing to wait for";
  EXPECT_EQ(take(queue), (Values{1}));
  EXPECT_EQ(take(queue), (Values{2, 3}));
}

TEST_F(BatchQueueTest, FormsAreNeverMixed) {
  BatchQueue queue({.size = 8}, 1);
  for (int i = 0; i < 6; ++i) push(queue, i, {static_cast<std::uint64_t>(i % 2), 1});
  EXPECT_EQ(take(queue), (Values{0, 2, 4}));
  EXPECT_EQ(take(queue), (Values{1, 3, 5}));
  EXPECT_EQ(queue.size(), 0u);
}

TEST_F(BatchQueueTest, AFullBatchOfAnotherFormNeedNotWait) {
  BatchQueue queue({.size = 2, .delay = 1h}, 1);
  push(queue, 1, {1, 1});
  push(queue, 2, {2, 1});
  EXPECT_FALSE(queue.ready(start));
  push(queue, 3, {2, 1});
  EXPECT_TRUE(queue.ready(start));
  EXPECT_EQ(take(queue), (Values{2, 3}));
  EXPECT_EQ(queue.due(start), start + 1h);
}

TEST_F(BatchQueueTest, EachFormIsDueWhenItsFirstEventHasWaited) {
  BatchQueue queue({.size = 8, .delay = 10ms}, 1);
  push(queue, 1, {1, 1});
  push(queue, 2, {2, 1}, 4ms);
  push(queue, 3, {1, 1}, 6ms);
  EXPECT_EQ(queue.due(start), start + 10ms);
  EXPECT_FALSE(queue.ready(start + 9ms));
  EXPECT_EQ(take(queue, 10ms), (Values{1, 3}));
  EXPECT_EQ(queue.due(start), start + 14ms);
  EXPECT_EQ(take(queue, 14ms), (Values{2}));
}

TEST_F(BatchQueueTest, APreferredSizeGoesAtOnceAndTheRestWaits) {
  BatchQueue queue({.size = 16, .delay = 10ms, .preferred = {4, 8}}, 1);
  for (int i = 0; i < 3; ++i) push(queue, i);
  EXPECT_FALSE(queue.ready(start));
  push(queue, 3);
  EXPECT_TRUE(queue.ready(start));
  push(queue, 4);
  EXPECT_EQ(take(queue), (Values{0, 1, 2, 3}));
  EXPECT_FALSE(queue.ready(start)) << "one is no preferred size";
  EXPECT_EQ(take(queue, 10ms), (Values{4})) << "it has waited long enough";
  for (int i = 0; i < 11; ++i) push(queue, i);
  EXPECT_EQ(take(queue).size(), 8u) << "the largest";
}

TEST_F(BatchQueueTest, AFullBatchBeatsAPreferredSize) {
  BatchQueue queue({.size = 6, .preferred = {4}}, 1);
  for (int i = 0; i < 7; ++i) push(queue, i);
  EXPECT_EQ(take(queue).size(), 6u);
}

TEST_F(BatchQueueTest, LowerNumbersGoFirstAndOrderIsKeptWithinOne) {
  BatchQueue queue({.size = 2}, 1);
  push(queue, 1);
  push(queue, 2, {0, 1, 200});
  push(queue, 3, {0, 1, 2});
  push(queue, 4, {0, 1, 1});
  push(queue, 5, {0, 1, kUsualPriority});
  push(queue, 6, {0, 1, 2});
  EXPECT_EQ(take(queue), (Values{4, 3}));
  EXPECT_EQ(take(queue), (Values{6, 1}));
  EXPECT_EQ(take(queue), (Values{5, 2}));
}

TEST_F(BatchQueueTest, CancelledEventsGoOutWithoutTakingAPlace) {
  BatchQueue queue({.size = 2}, 1);
  auto left = make_ref<Told>();
  EXPECT_FALSE(queue.push(Event(number(7), {}, left, true), {}, start));
  for (int i = 0; i < 3; ++i) push(queue, i);
  left->cancel();
  EXPECT_EQ(take(queue), (Values{7, 0, 1}));
  EXPECT_EQ(taken.events, 2u);
  EXPECT_EQ(queue.size(), 1u);
}

TEST_F(BatchQueueTest, ACancelledEventIsNotWaitedFor) {
  BatchQueue queue({.size = 8, .delay = 1h}, 1);
  auto left = make_ref<Told>();
  EXPECT_FALSE(queue.push(Event(number(7), {}, left, true), {}, start));
  EXPECT_FALSE(queue.ready(start));
  left->cancel();
  EXPECT_TRUE(queue.ready(start)) << "a call clears it out";
  EXPECT_EQ(take(queue), (Values{7}));
  EXPECT_EQ(taken.events, 0u);
}

TEST_F(BatchQueueTest, InAHurryNothingWaits) {
  BatchQueue queue({.size = 8, .delay = 1h}, 1);
  push(queue, 1);
  queue.hurry();
  EXPECT_TRUE(queue.ready(start));
  EXPECT_EQ(queue.clear().size(), 1u);
}

TEST_F(BatchQueueTest, TheFormOfTensorsIsAllButTheRows) {
  const Fit rows = fit(request({5, 3}));
  EXPECT_EQ(rows.rows, 5u);
  EXPECT_EQ(rows.form, fit(request({1, 3})).form);
  EXPECT_NE(rows.form, fit(request({5, 4})).form);
  EXPECT_NE(rows.form, fit(request({5, 3, 1})).form);
  EXPECT_NE(rows.form, fit(request({5, 3}, DataType::kFp64)).form);
  EXPECT_NE(rows.form, fit(request({5, 3}, DataType::kFp32, "y")).form);
}

TEST_F(BatchQueueTest, WherePaddingIsWantedLengthsDoNotMatter) {
  EXPECT_EQ(fit(request({5, 3}), true).form, fit(request({5, 4}), true).form);
  EXPECT_NE(fit(request({5, 3}), true).form, fit(request({5, 3, 1}), true).form);
}

TEST_F(BatchQueueTest, AValueWithoutRowsIsLikeNoOther) {
  const auto one = request({});
  const auto other = request({});
  EXPECT_NE(fit(one).form, fit(other).form);
  EXPECT_EQ(fit(one).rows, 1u);
}

TEST_F(BatchQueueTest, APriorityIsReadFromTheParameters) {
  EXPECT_EQ(priority_in(R"({"a":1,"priority":7})"), 7u);
  EXPECT_EQ(priority_in(R"({"priority":"high"})"), 0u);
  EXPECT_EQ(priority_in(R"({"priority":-1})"), 0u);
  EXPECT_EQ(priority_in(R"({"x":{"priority":3}})"), 0u);
  EXPECT_EQ(priority_in(""), 0u);
}

}  // namespace
}  // namespace penstock::testing
