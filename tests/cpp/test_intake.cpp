#include <penstock/intake.hpp>

#include "core_fixture.hpp"

namespace penstock::testing {
namespace {

Ref<Root> nobody() {
  class Silent final : public Root {
    void on_reply(Answer&&) override {}
  };
  return make_ref<Silent>();
}

class IntakeTest : public CoreTest {
 protected:
  /// A graph of one step that calls `handle`, inside the gate.
  void serve(std::size_t workers, std::size_t calls = 1) {
    Graph graph;
    auto& step = graph.add("handles", [this](Event& event, Pass&) {
      handle(thing(event).value);
      return Verdict::kEmit;
    });
    step.concurrency = calls;
    run.emplace(std::move(graph), workers);
  }
  Admission admit(int value) { return run->executor->admit(nobody(), number(value), make_ref<Envelope>()); }
  bool settle() {
    const Inside inside(run->gate);
    return run->executor->settle(30s);
  }

  std::function<void(int)> handle = [this](int value) { told.push_back(value); };
  std::vector<int> told;  ///< touched inside the gate
  std::optional<Running> run;
};

TEST_F(IntakeTest, WhatATurnAdmitsIsHandledBeforeTheNextByTheSameThread) {
  serve(1);
  std::vector<std::thread::id> threads;
  handle = [&](int value) {
    told.push_back(value);
    threads.push_back(std::this_thread::get_id());
  };
  int turns = 0;
  take_in(*run->executor, run->gate, [&] {
    told.push_back(-1);
    if (turns == 3) return false;
    for (int i = 0; i < 2; ++i) EXPECT_EQ(admit(turns), Admission::kAccepted);
    return ++turns > 0;
  });
  EXPECT_TRUE(settle());
  EXPECT_EQ(told, (std::vector{-1, 0, 0, -1, 1, 1, -1, 2, 2, -1}));
  EXPECT_EQ(threads, std::vector(6, std::this_thread::get_id()));
}

TEST_F(IntakeTest, WhileAStepHoldsItsThreadUpOthersTakeTheTurns) {
  serve(2);
  Signal go_on;
  const std::thread::id owner = std::this_thread::get_id();
  std::atomic<int> turns_of_others{0};
  handle = [&](int value) {
    if (value == 0) run->gate.outside([&] { EXPECT_TRUE(go_on.wait()); });
  };
  int turns = 0;
  take_in(*run->executor, run->gate, [&] {
    if (turns == 0) {
      EXPECT_EQ(admit(0), Admission::kAccepted);
    }
    ++turns;
    if (std::this_thread::get_id() == owner) return turns < 3;
    if (++turns_of_others == 5) go_on.set();
    return true;
  });
  EXPECT_GE(turns_of_others.load(), 5);
  EXPECT_TRUE(settle());
}

TEST_F(IntakeTest, ThoseWhoTakeTheTurnsMayBeHeldUpThemselves) {
  serve(3, 3);
  Signal go_on;
  int held = 0;
  handle = [&](int) {
    const bool last = ++held == 3;
    run->gate.outside([&] {
      if (last) go_on.set();
      EXPECT_TRUE(go_on.wait());
    });
  };
  int turns = 0;
  take_in(*run->executor, run->gate, [&] {
    if (turns < 3) {
      EXPECT_EQ(admit(turns), Admission::kAccepted);
    }
    return ++turns <= 3;
  });
  EXPECT_TRUE(settle());
  EXPECT_EQ(held, 3);
}

TEST_F(IntakeTest, OneThatWaitsLeavesTheStepsToOthers) {
  serve(1);
  Signal handled;
  handle = [&](int) { handled.set(); };
  take_in(*run->executor, run->gate, [&] {
    EXPECT_EQ(admit(1), Admission::kAccepted);
    run->gate.outside([&] {
      Executor::rest();
      EXPECT_TRUE(handled.wait());
    });
    return false;
  });
}

TEST_F(IntakeTest, OneThatStallsIsNotWaitedFor) {
  serve(1);
  Signal handled;
  handle = [&](int) { handled.set(); };
  take_in(*run->executor, run->gate, [&] {
    EXPECT_EQ(admit(1), Admission::kAccepted);
    run->gate.outside([&] { EXPECT_TRUE(handled.wait()); });
    return false;
  });
}

TEST_F(IntakeTest, WhatATurnThrowsComesOut) {
  serve(1);
  EXPECT_THROW(take_in(*run->executor, run->gate, []() -> bool { throw Failure{"", 500, "", "no", {}}; }), Failure);
}

TEST_F(IntakeTest, ItNeedsNoOtherThread) {
  serve(0);
  int turns = 0;
  take_in(*run->executor, run->gate, [&] {
    if (turns < 3) {
      EXPECT_EQ(admit(turns), Admission::kAccepted);
    }
    return ++turns <= 3;
  });
  EXPECT_EQ(told, (std::vector{0, 1, 2}));
}

TEST_F(IntakeTest, AClosedGraphHoldsNobodyUp) {
  serve(1);
  run->close();
  Admission admission = Admission::kAccepted;
  take_in(*run->executor, run->gate, [&] {
    admission = admit(1);
    return false;
  });
  EXPECT_EQ(admission, Admission::kClosed);
}

}  // namespace
}  // namespace penstock::testing
