#include <penstock/feed.hpp>

#include "core_fixture.hpp"

namespace penstock::testing {
namespace {

class FeedTest : public CoreTest {};

Ref<Root> nobody() {
  class Silent final : public Root {
    void on_reply(Answer&&) override {}
  };
  return make_ref<Silent>();
}

/// Writes down in which order portions are admitted and events handled.
struct Story {
  explicit Story(std::size_t workers) : run(graph(), workers) {}

  Graph graph() {
    Graph made;
    made.add("writes", [this](Event& event, Pass&) {
      told.push_back(thing(event).value);
      return Verdict::kEmit;
    });
    return made;
  }
  /// Two events, of which the first says which portion it is.
  bool portion() {
    told.push_back(-1);
    for (int i = 0; i < 2; ++i)
      EXPECT_EQ(run.executor->admit(nobody(), number(portions), make_ref<Envelope>()), Admission::kAccepted);
    return ++portions < 3;
  }

  std::vector<int> told;  ///< touched inside the gate
  int portions = 0;
  Running run;
};

TEST_F(FeedTest, WhatAPortionAdmitsIsHandledBeforeTheNextPortion) {
  Story story(1);
  feed(*story.run.executor, story.run.gate, [&] { return story.portion(); });
  {
    const Inside inside(story.run.gate);
    EXPECT_TRUE(story.run.executor->settle(30s));
  }
  EXPECT_EQ(story.told, (std::vector{-1, 0, 0, -1, 1, 1, -1, 2, 2}));
}

TEST_F(FeedTest, WhatAPortionThrowsComesOut) {
  Story story(1);
  EXPECT_THROW(feed(*story.run.executor, story.run.gate, []() -> bool { throw Failure{"", 500, "", "no", {}}; }),
               Failure);
}

TEST_F(FeedTest, WhereNoThreadComesTheCallerDoesIt) {
  Story story(0);
  feed(*story.run.executor, story.run.gate, [&] { return story.portion(); });
  EXPECT_EQ(story.portions, 3);
}

TEST_F(FeedTest, AClosedGraphHoldsNobodyUp) {
  Story story(1);
  story.run.close();
  Admission admission = Admission::kAccepted;
  feed(*story.run.executor, story.run.gate, [&] {
    admission = story.run.executor->admit(nobody(), number(1), make_ref<Envelope>());
    return false;
  });
  EXPECT_EQ(admission, Admission::kClosed);
}

}  // namespace
}  // namespace penstock::testing
