#include <gtest/gtest.h>

#include <thread>
#include <utility>
#include <vector>

#include <penstock/ref.hpp>

namespace penstock {
namespace {

struct Counted : RefCounted {
  explicit Counted(int& gone) : gone_(gone) {}
  ~Counted() override { ++gone_; }
  int& gone_;
};
struct Special : Counted {
  using Counted::Counted;
};

TEST(RefTest, TheLastReferenceEndsTheObject) {
  int gone = 0;
  auto first = make_ref<Counted>(gone);
  EXPECT_TRUE(first->unique());
  Ref<Counted> second = first;
  EXPECT_FALSE(first->unique());
  first.reset();
  EXPECT_FALSE(first);
  EXPECT_EQ(gone, 0);
  EXPECT_TRUE(second->unique());
  second = Ref<Counted>();
  EXPECT_EQ(gone, 1);
}

TEST(RefTest, MovingLeavesTheCountAsItIs) {
  int gone = 0;
  auto first = make_ref<Counted>(gone);
  const Ref<Counted> second = std::move(first);
  EXPECT_FALSE(first);  // NOLINT(bugprone-use-after-move): that it is empty is what is tested
  EXPECT_TRUE(second->unique());
}

TEST(RefTest, AssigningToItselfKeepsTheObject) {
  int gone = 0;
  auto first = make_ref<Counted>(gone);
  const Ref<Counted>& same = first;
  first = same;
  EXPECT_EQ(gone, 0);
  EXPECT_TRUE(first->unique());
}

TEST(RefTest, ADerivedObjectIsSharedAsItsBase) {
  int gone = 0;
  auto special = make_ref<Special>(gone);
  Ref<Counted> base = special;
  EXPECT_EQ(base.get(), special.get());
  special.reset();
  EXPECT_EQ(gone, 0);
  base.reset();
  EXPECT_EQ(gone, 1);
}

TEST(RefTest, ThreadsMayCopyAndDropAtOnce) {
  int gone = 0;
  {
    auto shared = make_ref<Counted>(gone);
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i)
      threads.emplace_back([shared] {
        for (int n = 0; n < 1000; ++n) Ref<Counted>(shared).reset();
      });
    shared.reset();
    for (std::thread& thread : threads) thread.join();
  }
  EXPECT_EQ(gone, 1);
}

}  // namespace
}  // namespace penstock
