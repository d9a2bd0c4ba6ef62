#include <latch>

#include "core_fixture.hpp"

namespace penstock::testing {
namespace {

class CompletionTest : public CoreTest {
 protected:
  Ref<Told> told = make_ref<Told>();
};

TEST_F(CompletionTest, TheFirstAnswerCounts) {
  told->join(true);
  EXPECT_TRUE(told->answer({std::nullopt, number(1)}));
  EXPECT_FALSE(told->answer({std::nullopt, number(2)}));
  EXPECT_FALSE(told->answer({Failure{"", 500, "", "late", {}}, std::nullopt}));
  told->leave(true);
  EXPECT_EQ(told->answers, 1);
  EXPECT_EQ(thing(*told->answer_given.body).value, 1);
}

TEST_F(CompletionTest, NothingIsAnsweredWhenTheLastEventThatCouldHasEnded) {
  told->join(true);
  told->join(true);
  told->join(false);
  told->leave(true);
  EXPECT_EQ(told->answers, 0);
  told->give_up();
  EXPECT_EQ(told->answers, 1);
  EXPECT_FALSE(told->answer_given.body);
  EXPECT_FALSE(told->answer_given.failure);
  EXPECT_EQ(told->settled, 0);
  told->leave(false);
  EXPECT_EQ(told->settled, 0);
  told->leave(false);
  EXPECT_EQ(told->settled, 1);
}

TEST_F(CompletionTest, SettlesWithTheWorstOutcome) {
  told->join(false);
  told->join(false);
  told->worsen(Outcome::kFailed);
  told->leave(false);
  told->worsen(Outcome::kFiltered);
  told->leave(false);
  EXPECT_EQ(told->settled, 1);
  EXPECT_EQ(told->outcome, Outcome::kFailed);
}

TEST_F(CompletionTest, CancellingIsSeenByAll) {
  EXPECT_FALSE(told->cancelled());
  told->cancel();
  EXPECT_TRUE(told->cancelled());
  EXPECT_FALSE(told->answered());
}

TEST_F(CompletionTest, WhatEndsBecauseItIsCancelledDoesNotAnswerFirst) {
  told->join(true);
  told->on_cancel([&] {
    EXPECT_EQ(told->answers, 0);
    told->leave(true);  // with nothing
  });
  told->cancel({Failure{"", 504, "Timeout", "late", {}}, std::nullopt});
  EXPECT_TRUE(told->cancelled());
  EXPECT_EQ(told->answers, 1);
  ASSERT_TRUE(told->answer_given.failure);
  EXPECT_EQ(told->answer_given.failure->status, 504);
}

TEST_F(CompletionTest, ThreadsThatEndTogetherAnswerAndSettleOnce) {
  constexpr int kThreads = 4;
  for (int round = 0; round < 200; ++round) {
    auto shared = make_ref<Told>();
    for (int i = 0; i < kThreads; ++i) shared->join(true);
    std::latch together(kThreads);
    std::vector<std::thread> threads;
    for (int i = 0; i < kThreads; ++i)
      threads.emplace_back([&, i] {
        together.arrive_and_wait();
        if (i % 2 == 0) shared->answer({});
        shared->leave(true);
      });
    for (std::thread& thread : threads) thread.join();
    ASSERT_EQ(shared->answers, 1);
    ASSERT_EQ(shared->settled, 1);
  }
}

TEST_F(CompletionTest, TellsWhoWaitsWhenNoOtherPartIsLeft) {
  int stranded = 0;
  Event held(Payload(), {}, Ref<Completion>(told), true);
  {
    Event other = held.derive(Payload(), true);
    told->wait(&held, 0, [&] { ++stranded; });
    EXPECT_EQ(stranded, 0);
  }
  EXPECT_EQ(stranded, 1);
  told->wait_no_more(&held);
  {
    const Event another = held.derive(Payload(), true);
  }
  EXPECT_EQ(stranded, 1);
}

TEST_F(CompletionTest, TellsTheFirstInRankOfThoseThatWait) {
  std::vector<int> order;
  Event later(Payload(), {}, Ref<Completion>(told), true);
  Event first = later.derive(Payload(), true);
  told->wait(&later, 7, [&] { order.push_back(7); });
  EXPECT_TRUE(order.empty());
  told->wait(&first, 3, [&] { order.push_back(3); });
  EXPECT_EQ(order, std::vector<int>{3});
  told->wait_no_more(&first);
  first.end();
  EXPECT_EQ(order, (std::vector<int>{3, 7}));
  told->wait_no_more(&later);
}

}  // namespace
}  // namespace penstock::testing
