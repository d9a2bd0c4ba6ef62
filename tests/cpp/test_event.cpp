#include "core_fixture.hpp"

namespace penstock::testing {
namespace {

class EventTest : public CoreTest {
 protected:
  Event make(int value, bool answering = true) { return Event(number(value), make_ref<Envelope>(), told, answering); }
  Ref<Told> told = make_ref<Told>();
};

TEST_F(EventTest, DestroyingItEndsIt) {
  {
    const Event event = make(1);
  }
  EXPECT_EQ(told->answers, 1);
  EXPECT_FALSE(told->answer_given.body);
  EXPECT_EQ(told->settled, 1);
  EXPECT_EQ(told->outcome, Outcome::kOk);
}

TEST_F(EventTest, MovingItEndsNothing) {
  Event first = make(1);
  Event second = std::move(first);
  first.end();  // NOLINT(bugprone-use-after-move): nothing is left that could end
  EXPECT_EQ(told->settled, 0);
  EXPECT_TRUE(second.answering());
  second.end();
  EXPECT_EQ(told->settled, 1);
  second.end();
  EXPECT_EQ(told->settled, 1);
}

TEST_F(EventTest, AssigningToItEndsWhatItWas) {
  auto other = make_ref<Told>();
  Event event = make(1);
  event = Event(number(2), {}, other, true);
  EXPECT_EQ(told->settled, 1);
  EXPECT_EQ(other->settled, 0);
  EXPECT_EQ(thing(event).value, 2);
}

TEST_F(EventTest, RespondAnswersAndTheEventGoesOn) {
  Event event = make(1);
  event.respond(number(5));
  EXPECT_EQ(thing(*told->answer_given.body).value, 5);
  EXPECT_EQ(told->settled, 0);
  event.end();
  EXPECT_EQ(told->answers, 1);
  EXPECT_EQ(told->settled, 1);
}

TEST_F(EventTest, AnEventOffTheLineDoesNotAnswer) {
  Event main = make(1);
  Event side = main.derive(number(2), false);
  side.respond(number(3));
  side.fail(Failure{"side", 500, "", "broken", {}});
  EXPECT_EQ(told->answers, 0);
  main.respond(number(4));
  EXPECT_EQ(thing(*told->answer_given.body).value, 4);
  main.end();
  EXPECT_EQ(told->settled, 1);
  EXPECT_EQ(told->outcome, Outcome::kFailed);
}

TEST_F(EventTest, TheCallerGetsNothingAtOnceWhenTheLastGivesUp) {
  Event first = make(1);
  Event second = first.derive(number(2), true);
  first.give_up_answering();
  EXPECT_EQ(told->answers, 0);
  second.give_up_answering();
  EXPECT_EQ(told->answers, 1);
  EXPECT_EQ(told->settled, 0);
  EXPECT_FALSE(first.derive(number(3), true).answering());
}

TEST_F(EventTest, FailingAnswersWithTheFailure) {
  Event event = make(1);
  event.fail(Failure{"step", 404, "KeyError", "'x'", {}});
  EXPECT_EQ(told->answer_given.failure->status, 404);
  EXPECT_EQ(told->outcome, Outcome::kFailed);
  EXPECT_EQ(told->settled, 1);
}

TEST_F(EventTest, AFilteredEventAnswersEmpty) {
  Event event = make(1);
  event.filter();
  EXPECT_EQ(told->answers, 1);
  EXPECT_FALSE(told->answer_given.body);
  EXPECT_FALSE(told->answer_given.failure);
  EXPECT_EQ(told->outcome, Outcome::kFiltered);
}

TEST_F(EventTest, AnEnvelopeIsCopiedWhenOthersShareIt) {
  Event event = make(1);
  event.own_envelope().path = "/a";
  const Envelope* alone = event.envelope.get();
  EXPECT_EQ(&event.own_envelope(), alone);
  Event branch = event.derive(number(2), false);
  branch.own_envelope().path = "/b";
  EXPECT_EQ(event.envelope->path, "/a");
  EXPECT_EQ(branch.envelope->path, "/b");
  Event bare;
  EXPECT_EQ(bare.own_envelope().path, "/");
}

TEST_F(EventTest, IsCancelledWithItsCompletion) {
  const Event event = make(1);
  EXPECT_FALSE(event.cancelled());
  told->cancel();
  EXPECT_TRUE(event.cancelled());
  EXPECT_FALSE(Event().cancelled());
}

}  // namespace
}  // namespace penstock::testing
