// Adaptive batches, with simulated callers on a simulated clock.
#include <penstock/batch_pacer.hpp>

#include <algorithm>
#include <map>
#include <random>

#include <penstock/channel.hpp>

#include "core_fixture.hpp"

namespace penstock::testing {
namespace {

constexpr Duration kCall = 11ms;
constexpr Duration kRow = 900us;
constexpr Duration kOneBatch = kCall + 32 * kRow;

/// A step in front of which callers wait; what happens at one time happens in the order it was planned.
class Simulated {
 public:
  explicit Simulated(BatchPolicy policy, std::uint64_t seed = 1)
      : channel_({.concurrency = 1, .capacity = 1 << 20, .batch = std::move(policy)}), random_(seed) {}

  /// Callers that ask again some time after their answer.
  void callers(int count, Duration least, Duration most) {
    again_ = [this, least, most](Duration) { later(between(least, most), [this] { ask(); }); };
    for (int i = 0; i < count; ++i) later(between({}, most), [this] { ask(); });
  }
  /// Callers that come as they like, so many a second.
  void arrivals(double rate) {
    const double wait = std::exponential_distribution(rate)(random_);
    later(std::chrono::duration_cast<Duration>(std::chrono::duration<double>(wait)), [this, rate] {
      ask();
      arrivals(rate);
    });
  }
  void run(Duration time) {
    const TimePoint end = now_ + time;
    while (!agenda_.empty() && agenda_.begin()->first <= end) {
      auto next = agenda_.extract(agenda_.begin());
      now_ = next.key();
      next.mapped()();
    }
    now_ = end;
  }
  /// Forgets what was measured until now.
  void measure(Duration time) {
    took.clear();
    sizes.clear();
    shed = 0;
    run(time);
    std::sort(took.begin(), took.end());
  }
  double rate(Duration time) const {
    return static_cast<double>(took.size()) / std::chrono::duration<double>(time).count();
  }
  Duration quantile(double q) const {
    return took.at(static_cast<std::size_t>(q * static_cast<double>(took.size() - 1)));
  }
  Duration mean() const {
    Duration sum{};
    for (const Duration one : took) sum += one;
    return sum / static_cast<Duration::rep>(took.size());
  }
  /// Ends all that still waits.
  void stop() {
    agenda_.clear();
    const auto left = channel_.close();
  }

  std::vector<Duration> took;  ///< from asking to the answer
  std::vector<std::size_t> sizes;
  std::size_t shed = 0;
  Duration call = kCall;
  double noise = 0;  ///< a call takes up to so many times longer

 private:
  Duration between(Duration least, Duration most) {
    return Duration(std::uniform_int_distribution(least.count(), most.count())(random_));
  }
  void later(Duration after, std::function<void()> action) { agenda_.emplace(now_ + after, std::move(action)); }
  void ask() {
    if (channel_.push(Event(number(0), {}, told_, false), now_).what == Channel::Pushed::kLate) {
      ++shed;
      if (again_) again_({});
    }
    look();
  }
  void look() {
    while (channel_.claim(now_)) start();
    if (const auto due = channel_.due(now_); due && *due > now_) agenda_.emplace(*due, [this] { look(); });
  }
  void start() {
    auto batch = std::make_shared<Batch>();
    Batch late;
    const auto taken = channel_.take(*batch, late, 1, now_);
    shed += late.size();
    for (std::size_t i = 0; i < late.size() && again_; ++i) again_({});
    sizes.push_back(taken.rows);
    const Duration cost = call + static_cast<Duration::rep>(taken.rows) * kRow;
    later(cost + between({}, Duration(static_cast<Duration::rep>(noise * static_cast<double>(cost.count())))),
          [this, batch, taken, gone = late.size()] {
            channel_.handled(taken, now_);
            channel_.end(batch->size() + gone);
            for (const Event& event : *batch) {
              took.push_back(now_ - event.queued);
              if (again_) again_(took.back());
            }
            batch->clear();
            look();
          });
  }

  Channel channel_;
  std::mt19937_64 random_;
  TimePoint now_{1h};
  std::multimap<TimePoint, std::function<void()>> agenda_;
  std::function<void(Duration)> again_;
  Ref<Told> told_ = make_ref<Told>();
};

class BatchPacerTest : public CoreTest {};

/// Takes what waits as soon as it can: no delay to speak of, but one that is told, so that none is chosen.
const BatchPolicy kGreedy{.size = 32, .delay = 1ns};

const double kIdeal = 32 / std::chrono::duration<double>(kOneBatch).count();

TEST_F(BatchPacerTest, CallersThatComeBackSoonFillTheBatches) {
  for (const bool adaptive : {false, true}) {
    for (const std::uint64_t seed : {1, 2, 3}) {
      Simulated step({.size = 32, .adaptive = adaptive}, seed);
      step.callers(32, 100us, 1500us);
      step.run(1s);
      step.measure(10s);
      EXPECT_GE(step.rate(10s), 0.95 * kIdeal) << "seed " << seed;
      EXPECT_LE(step.quantile(0.95), kOneBatch * 22 / 10) << "seed " << seed;
      step.stop();
    }
  }
}

TEST_F(BatchPacerTest, OnABusyMachineTheyStillDo) {
  for (const std::uint64_t seed : {1, 2, 3}) {
    Simulated step({.size = 32, .adaptive = true}, seed);
    Simulated greedy(kGreedy, seed);
    for (Simulated* one : {&step, &greedy}) {
      one->noise = 0.4;
      one->callers(32, 500us, 4ms);
      one->run(2s);
      one->measure(20s);
    }
    EXPECT_GE(step.rate(20s), 1.12 * greedy.rate(20s)) << "seed " << seed;
    step.stop();
    greedy.stop();
  }
}

TEST_F(BatchPacerTest, WhoeverTakesThemAtOnceHasTwoGroups) {
  Simulated step(kGreedy);
  step.callers(32, 100us, 1500us);
  step.run(1s);
  step.measure(10s);
  EXPECT_LE(step.rate(10s), 0.85 * kIdeal) << "what the pacer is for";
  step.stop();
}

TEST_F(BatchPacerTest, ALoneCallerNeverWaits) {
  Simulated step({.size = 32, .adaptive = true});
  step.callers(1, 100us, 1500us);
  step.measure(5s);
  EXPECT_EQ(step.took.back(), kCall + kRow);
  step.stop();
}

TEST_F(BatchPacerTest, CallersThatAreLongInComingBackAreNotWaitedFor) {
  Simulated step({.size = 32, .adaptive = true});
  step.callers(4, 400ms, 800ms);
  step.run(5s);
  step.measure(20s);
  Simulated greedy(kGreedy);
  greedy.callers(4, 400ms, 800ms);
  greedy.run(5s);
  greedy.measure(20s);
  EXPECT_LE(step.mean(), greedy.mean() * 102 / 100);
  step.stop();
  greedy.stop();
}

TEST_F(BatchPacerTest, WhoeverComesByChanceIsServedAsSoonAsWithoutIt) {
  for (const double rate : {20.0, 100.0, 300.0, 600.0}) {
    Simulated step({.size = 32, .adaptive = true});
    Simulated greedy(kGreedy);
    for (Simulated* one : {&step, &greedy}) {
      one->arrivals(rate);
      one->run(5s);
      one->measure(60s);
    }
    EXPECT_LE(step.mean(), greedy.mean() * 105 / 100) << rate << " a second";
    EXPECT_EQ(step.shed, 0u);
    step.stop();
    greedy.stop();
  }
}

TEST_F(BatchPacerTest, ADelayIsTheLongestWait) {
  Simulated step({.size = 32, .delay = 200us, .adaptive = true});
  step.callers(32, 1ms, 1500us);
  step.run(1s);
  step.measure(5s);
  EXPECT_LE(step.rate(5s), 0.9 * kIdeal) << "they are not back within 200 µs";
  step.stop();
}

TEST_F(BatchPacerTest, UnderTooMuchLoadTheGoalIsKeptAndTheRestTurnedAway) {
  constexpr Duration kGoal = 80ms;
  Simulated step({.size = 32, .adaptive = true, .goal = kGoal});
  step.arrivals(2 * kIdeal);
  step.run(2s);
  step.measure(20s);
  EXPECT_LE(step.quantile(0.99), kGoal + 5ms);
  EXPECT_GE(step.rate(20s), 0.9 * kIdeal) << "those it takes keep it busy";
  EXPECT_GT(step.shed, step.took.size() / 2);
  step.stop();
}

TEST_F(BatchPacerTest, BatchesStaySmallEnoughForTheGoal) {
  Simulated step({.size = 32, .adaptive = true, .goal = 40ms});
  step.arrivals(400);
  step.run(2s);
  step.measure(20s);
  EXPECT_LE(*std::max_element(step.sizes.begin(), step.sizes.end()), 11u) << "two calls of 20 ms";
  EXPECT_LE(step.quantile(0.99), 42ms);
  step.stop();
}

TEST_F(BatchPacerTest, BelowItsCapacityNobodyIsTurnedAway) {
  Simulated step({.size = 32, .adaptive = true, .goal = 100ms});
  step.arrivals(300);
  step.run(2s);
  step.measure(20s);
  EXPECT_EQ(step.shed, 0u);
  step.stop();
}

TEST_F(BatchPacerTest, AGoalThatCannotBeKeptStillServes) {
  Simulated step({.size = 32, .adaptive = true, .goal = 5ms});
  step.arrivals(50);
  step.run(2s);
  step.measure(20s);
  EXPECT_GE(step.rate(20s), 20.0);
  step.call = 1ms;  // what was learned is unlearned
  step.run(5s);
  step.measure(20s);
  EXPECT_GE(step.rate(20s), 45.0);
  EXPECT_LE(step.quantile(0.95), 6ms);
  step.stop();
}

}  // namespace
}  // namespace penstock::testing
