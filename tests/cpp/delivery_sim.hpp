#pragma once

// A world in one thread: processes that run the same graph with the core's own executor, completions and offsets;
// a broker with partitions, a group and a topic of results; a clock for each; and faults. All that is random comes
// from one generator, so that a seed gives the same run again.

#include <algorithm>
#include <array>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <penstock/delivery.hpp>
#include <penstock/joined.hpp>

namespace penstock::testing::delivery_sim {

using std::chrono::microseconds;
using std::chrono::milliseconds;

// ---- what goes through the graphs

/// One thing that was made of a record, and the way that it took.
struct Unit {
  int record = 0;
  std::string trail;
  bool operator<(const Unit& other) const { return std::tie(record, trail) < std::tie(other.record, other.trail); }
};

/// A body: what a batch has put together are several units.
struct Cargo {
  explicit Cargo(std::vector<Unit> holds) : units(std::move(holds)) { ++live(); }
  ~Cargo() { --live(); }
  Cargo(const Cargo&) = delete;
  Cargo& operator=(const Cargo&) = delete;
  static int& live() {
    static int count = 0;
    return count;
  }
  std::vector<Unit> units;
  int references = 1;
};

inline Object object_of(std::vector<Unit> units) {
  static constexpr ObjectTraits kTraits{
      [](void* object) { ++static_cast<Cargo*>(object)->references; },
      [](void* object) noexcept {
        auto* cargo = static_cast<Cargo*>(object);
        if (--cargo->references == 0) delete cargo;
      },
      [](void* object) -> void* { return new Cargo(static_cast<Cargo*>(object)->units); }};
  return Object(new Cargo(std::move(units)), &kTraits);
}
inline std::vector<Unit>& units_of(Event& event) { return static_cast<Cargo*>(event.body.object()->get())->units; }

// ---- what can go wrong

/// How often, in 1000, each may happen where it could; 0 for never.
struct Faults {
  int step_fails = 0, step_hangs = 0, batch_item_fails = 0;
  int write_fails = 0, report_lost = 0, letter_fails = 0;
  int commit_fails = 0, commit_unanswered = 0;
  int rebalance = 0, lost = 0, crash = 0;
  int clock_leaps = 0;
};

/// A consumer that is wrong in one way: the checks must find it.
enum class Flaw : std::uint8_t { kNone, kAckOnDispatch, kAckOnEnqueue, kCountsOffsets, kNeverRevoked };

// ---- the graph, as a description that the checks can follow, too

enum class Kind : std::uint8_t { kMap, kFilter, kFlatMap, kBatch, kEach, kMerge, kSink, kCatcher };

struct StepShape {
  Kind kind = Kind::kMap;
  std::vector<StepId> outlets{};
  std::size_t concurrency = 1, capacity = 8, batch = 1, attempts = 1;
  Duration delay{}, timeout{};
  bool by_key = false, later = false, responder = false;
  StepId handler = kNoStep;
};

struct Shape {
  std::vector<StepShape> steps;
  bool keeps_order = false;
};

inline std::string name_of(StepId id) { return std::string(1, static_cast<char>('a' + id)); }

/// A number that depends on nothing but these.
inline std::uint64_t hash_of(int record, const std::string& trail, StepId step) {
  std::uint64_t hash = 1469598103934665603ULL ^ step;
  const auto mix = [&](std::uint64_t part) { hash = (hash ^ part) * 1099511628211ULL; };
  mix(static_cast<std::uint64_t>(record));
  for (const char each : trail) mix(static_cast<unsigned char>(each));
  return hash ^ (hash >> 29U);
}
inline bool is_dropped(const Unit& unit, StepId step) { return hash_of(unit.record, unit.trail, step) % 6 == 0; }
inline std::size_t parts_of(const Unit& unit, StepId step) { return hash_of(unit.record, unit.trail, step) % 4; }
inline Unit through(const Unit& unit, StepId step, const std::string& mark = "") {
  return {unit.record, unit.trail + name_of(step) + mark};
}

class Dice {
 public:
  explicit Dice(std::uint64_t seed) : random_(seed) {}
  std::size_t below(std::size_t bound) { return static_cast<std::size_t>(random_() % bound); }
  bool chance(int of_1000) { return of_1000 > 0 && below(1000) < static_cast<std::size_t>(of_1000); }
  template <class T>
  T one_of(std::initializer_list<T> values) {
    return *(values.begin() + below(values.size()));
  }

 private:
  std::mt19937_64 random_;
};

/// A graph of up to twelve steps, all of which the first one leads to.
inline Shape shape_of(Dice& dice) {
  Shape shape;
  shape.keeps_order = dice.below(2) == 0;
  const StepId inner = 1 + static_cast<StepId>(dice.below(8));
  for (StepId id = 0; id < inner; ++id) {
    StepShape& step = shape.steps.emplace_back();
    step.kind = dice.one_of({Kind::kMap, Kind::kMap, Kind::kFilter, Kind::kFlatMap, Kind::kBatch, Kind::kEach,
                             shape.keeps_order ? Kind::kMap : Kind::kMerge});
    const bool batched = step.kind == Kind::kBatch || step.kind == Kind::kEach;
    step.capacity = 1 + dice.below(8);
    step.later = dice.below(3) == 0;
    if (batched) {
      step.batch = 2 + dice.below(4);
      step.capacity += step.batch;
      step.delay = milliseconds(dice.one_of({0, 5, 40}));
    } else if (step.kind != Kind::kMerge) {
      if (dice.below(3) == 0 && step.kind != Kind::kFlatMap) step.timeout = milliseconds(200);
      if (dice.below(3) == 0) step.concurrency = 1 + dice.below(4);
      step.by_key = step.concurrency > 1 && (shape.keeps_order || dice.below(2) == 0);
    }
    if (dice.below(3) == 0 && (!shape.keeps_order || step.by_key)) step.attempts = 2 + dice.below(3);
    if (id > 0) shape.steps[dice.below(id)].outlets.push_back(id);
  }
  for (StepId id = 1; id < inner; ++id) {  // some paths meet again
    auto& from = shape.steps[dice.below(id)].outlets;
    if (dice.below(3) == 0 && std::find(from.begin(), from.end(), id) == from.end()) from.push_back(id);
  }
  const auto add_end = [&](Kind kind) {
    const auto id = static_cast<StepId>(shape.steps.size());
    StepShape& step = shape.steps.emplace_back();
    step.kind = kind;
    step.later = true;
    step.timeout = milliseconds(400);
    step.concurrency = shape.keeps_order ? 1 : 1 + dice.below(3);
    step.attempts = shape.keeps_order ? 1 : 1 + dice.below(4);
    step.capacity = 2 + dice.below(6);
    return id;
  };
  const StepId sink = add_end(Kind::kSink);
  for (StepId id = 0; id < inner; ++id)
    if (shape.steps[id].outlets.empty() || dice.below(6) == 0) shape.steps[id].outlets.push_back(sink);
  const StepId catcher = dice.below(2) == 0 ? add_end(Kind::kCatcher) : kNoStep;
  for (StepId id = 0; id < inner && catcher != kNoStep; ++id)
    if (dice.below(2) == 0) shape.steps[id].handler = catcher;
  shape.steps[dice.below(inner)].responder = dice.below(2) == 0;
  // What batches have joined has one key for all: only one at a time keeps their orders.
  if (shape.keeps_order && std::any_of(shape.steps.begin(), shape.steps.end(),
                                       [](const StepShape& step) { return step.kind == Kind::kBatch; })) {
    for (StepShape& step : shape.steps) {
      step.concurrency = step.attempts = 1;
      step.by_key = false;
    }
  }
  return shape;
}

/// A line for each step, for who looks into a seed.
inline std::string text_of(const Shape& shape) {
  static constexpr std::array kKinds{"map", "filter", "flat_map", "batch", "each", "merge", "sink", "catcher"};
  std::string text = shape.keeps_order ? "in order\n" : "";
  for (StepId id = 0; id < shape.steps.size(); ++id) {
    const StepShape& step = shape.steps[id];
    text += name_of(id) + " " + kKinds[static_cast<std::size_t>(step.kind)] + " -> ";
    for (const StepId outlet : step.outlets) text += name_of(outlet);
    text += ", concurrency " + std::to_string(step.concurrency) + (step.by_key ? " by key" : "") + ", attempts " +
            std::to_string(step.attempts) + ", batch " + std::to_string(step.batch) + ", capacity " +
            std::to_string(step.capacity) + (step.timeout > Duration::zero() ? ", timeout" : "") +
            (step.later ? ", later" : "") + (step.responder ? ", responds" : "") +
            (step.handler != kNoStep ? ", caught by " + name_of(step.handler) : "") + "\n";
  }
  return text;
}

}  // namespace penstock::testing::delivery_sim
