// Objects, and the payloads and failures that carry them.
#include "core_fixture.hpp"

namespace penstock::testing {
namespace {

class ObjectTest : public CoreTest {};
class PayloadTest : public CoreTest {};

TEST_F(ObjectTest, CopiesShareAndTheLastOneReleases) {
  Object first = object(1);
  {
    const Object second = first;
    EXPECT_EQ(second.get(), first.get());
  }
  EXPECT_EQ(Thing::live(), 1);
  first = Object();
  EXPECT_FALSE(first);
  EXPECT_EQ(Thing::live(), 0);
}

TEST_F(ObjectTest, MovingTakesTheReference) {
  Object first = object(1);
  const Object second = std::move(first);
  EXPECT_FALSE(first);  // NOLINT(bugprone-use-after-move): that it is empty is what is tested
  EXPECT_TRUE(second);
  EXPECT_EQ(Thing::live(), 1);
}

TEST_F(ObjectTest, DetachGivesTheReferenceUp) {
  Object first = object(1);
  void* raw = first.detach();
  EXPECT_FALSE(first);
  const Object second(raw, Thing::traits());
  EXPECT_EQ(Thing::live(), 1);
}

TEST_F(ObjectTest, ACloneIsAnotherObject) {
  const Object first = object(7);
  const Object second = first.clone();
  EXPECT_NE(second.get(), first.get());
  EXPECT_EQ(static_cast<Thing*>(second.get())->value, 7);
  EXPECT_FALSE(Object().clone());
}

TEST_F(PayloadTest, IsOneThingAtATime) {
  EXPECT_TRUE(Payload().empty());
  EXPECT_NE(number(1).object(), nullptr);
  EXPECT_EQ(number(1).bytes(), nullptr);
  const Payload bytes(Bytes{std::make_shared<const std::string>("{}"), true, false});
  EXPECT_EQ(*bytes.bytes()->data, "{}");
  EXPECT_EQ(bytes.object(), nullptr);
  EXPECT_EQ(bytes.request(), nullptr);
  const auto request = std::make_shared<const InferRequest>();
  EXPECT_EQ(Payload(request).request(), request);
  const auto response = std::make_shared<const InferResponse>();
  EXPECT_EQ(Payload(response).response(), response);
  EXPECT_EQ(Payload(response).request(), nullptr);
}

TEST_F(PayloadTest, CloneCopiesAnObjectAndSharesWhatIsImmutable) {
  const Payload mutable_body = number(1);
  EXPECT_NE(mutable_body.clone().object()->get(), mutable_body.object()->get());
  const Payload bytes(Bytes{std::make_shared<const std::string>("text"), false, true});
  const Payload copy = bytes.clone();
  EXPECT_EQ(copy.bytes()->data, bytes.bytes()->data);
  EXPECT_TRUE(copy.bytes()->maybe_json);
  EXPECT_TRUE(Payload().clone().empty());
}

TEST_F(PayloadTest, CloneSaysThatAnObjectCannotBeCopied) {
  const Payload body = number(1);
  thing(body).copiable = false;
  EXPECT_THROW((void)body.clone(), Failure);
}

TEST(FailureTest, TextNamesTheKindIfThereIsOne) {
  EXPECT_EQ((Failure{"step", 500, "KeyError", "'x'", {}}.text()), "KeyError: 'x'");
  EXPECT_EQ((Failure{"step", 500, "", "broken", {}}.text()), "broken");
}

}  // namespace
}  // namespace penstock::testing
