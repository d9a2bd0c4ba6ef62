#pragma once

#include <algorithm>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "delivery_sim.hpp"

namespace penstock::testing::delivery_sim {

inline constexpr int kCallers = 1'000'000;  // records from here on are calls, which no partition has

/// The logs, who reads them and how far; and the judge: whatever breaks a promise is noted with the promise's name.
class Broker {
 public:
  struct Record {
    std::int64_t offset;
    int id;
    int key;
  };
  struct Partition {
    std::vector<Record> log;
    std::int64_t end = 0, committed = 0;
    std::uint64_t owner = 0;   ///< the assignment that may commit; 0 is none
    std::size_t verified = 0;  ///< so many records are known to be done
  };

  Broker(const Shape& shape, std::size_t count) : partitions(count), shape_(shape) {}

  int produce(std::size_t number, std::int64_t gap, int key) {
    Partition& partition = partitions[number];
    partition.log.push_back({partition.end + gap, next_id_, key});
    partition.end += gap + 1;
    keys_[next_id_] = key;
    return next_id_++;
  }
  void commit(std::size_t number, std::uint64_t assignment, std::int64_t position) {
    Partition& partition = partitions[number];
    note('c', static_cast<std::uint64_t>(position) * 31 + number);
    // A member of the group may commit what it does not own: Kafka takes it.
    if (partition.owner != assignment) broken("I3: a commit for a partition that went elsewhere");
    partition.committed = position;
    while (partition.verified < partition.log.size() && partition.log[partition.verified].offset < position) {
      const int id = partition.log[partition.verified].id;
      if (!is_done(id)) broken("I1: a commit passes record " + std::to_string(id) + ", which is not done");
      ++partition.verified;
    }
  }
  /// What a sink, or the step that catches failures, has written.
  void write(bool caught, const Unit& unit) {
    note('w', hash_of(unit.record, unit.trail, caught));
    const bool first = (caught ? caught_ : written_).insert(unit).second;
    if (!first) ++duplicates;
    if (!first || caught || unit.record >= kCallers) return;
    arrivals_.push_back(unit);
  }
  void letter(int id) { letters_.insert(id); }
  void failed(int id) { failed_.insert(id); }

  /// Whether nothing of a record is missing: it is a dead letter, or all that should have been made of it was written.
  [[nodiscard]] bool is_done(int id) const { return letters_.count(id) != 0 || is_covered({id, ""}, 0); }

  void check_order() {
    std::map<std::pair<int, std::string>, int> latest;
    for (const Unit& unit : arrivals_) {
      if (failed_.count(unit.record) != 0) continue;
      int& last = latest.try_emplace({keys_.at(unit.record), unit.trail}, -1).first->second;
      if (unit.record < last) broken("I6: record " + std::to_string(unit.record) + " after one of its key behind it");
      last = std::max(last, unit.record);
    }
  }
  void broken(std::string what) { violations.insert(std::move(what)); }
  /// All that happens goes in: two runs that end with the same number went the same way.
  void note(char what, std::uint64_t number) {
    digest = (digest ^ static_cast<unsigned char>(what) ^ number) * 1099511628211ULL;
  }

  std::vector<Partition> partitions;
  std::set<std::string> violations;
  std::uint64_t digest = 1469598103934665603ULL;
  std::size_t duplicates = 0;
  [[nodiscard]] int produced() const { return next_id_; }
  [[nodiscard]] std::size_t letters() const { return letters_.size(); }
  [[nodiscard]] std::size_t written() const { return written_.size(); }

 private:
  bool is_covered(const Unit& unit, StepId id) const {
    const StepShape& step = shape_.steps[id];
    if (step.kind == Kind::kSink) return written_.count(unit) != 0;
    if (step.handler != kNoStep && caught_.count({unit.record, unit.trail + "!" + name_of(id)}) != 0) return true;
    std::vector<Unit> made;
    if (step.kind == Kind::kFlatMap) {
      for (std::size_t part = 0; part < parts_of(unit, id); ++part)
        made.push_back(through(unit, id, std::to_string(part)));
    } else if (step.kind != Kind::kFilter || !is_dropped(unit, id)) {
      made.push_back(through(unit, id));
    }
    for (const Unit& each : made)
      for (const StepId outlet : step.outlets)
        if (!is_covered(each, outlet)) return false;
    return true;
  }

  const Shape& shape_;
  int next_id_ = 0;
  std::map<int, int> keys_;
  std::set<Unit> written_, caught_;
  std::vector<Unit> arrivals_;
  std::set<int> letters_, failed_;
};

/// The time of the world, and what is to happen outside of the processes.
struct World {
  World(std::uint64_t seed, const Shape& graph, std::size_t partitions)
      : dice(seed), shape(graph), broker(graph, partitions) {}

  Dice dice;
  const Shape& shape;
  Broker broker;
  Faults faults;
  Flaw flaw = Flaw::kNone;
  bool is_calm = false;  ///< the faults are over, and all is quick
  TimePoint now{std::chrono::hours(1)};
  std::multimap<TimePoint, std::pair<std::weak_ptr<bool>, std::function<void()>>> agenda;

  /// Has it happen after a while, if the process is still there.
  void later(const std::shared_ptr<bool>& alive, Duration longest, std::function<void()> action) {
    if (is_calm) longest /= 10;
    const auto wait = microseconds(dice.below(static_cast<std::size_t>(longest / microseconds(1)) + 1));
    agenda.emplace(now + wait, std::make_pair(std::weak_ptr(alive), std::move(action)));
  }
  /// Drops what processes that are gone had under way.
  void forget_the_dead() {
    std::vector<std::function<void()>> dropped;  // they end events, which may put others on the agenda
    for (auto it = agenda.begin(); it != agenda.end();) {
      if (!it->second.first.expired()) {
        ++it;
        continue;
      }
      dropped.push_back(std::move(it->second.second));
      it = agenda.erase(it);
    }
  }
  bool happen() {
    if (agenda.empty() || agenda.begin()->first > now) return false;
    auto next = agenda.extract(agenda.begin()).mapped();
    if (const auto alive = next.first.lock()) next.second();
    return true;
  }
};

class OpenGate final : public Gate {
 public:
  void enter() override {}
  void leave() override {}
};

/// A call that is to be answered once, whatever happens.
class Call final : public Root {
 public:
  explicit Call(int& answers) : answers_(answers) {}

 private:
  void on_reply(Answer&& /*answer*/) override { ++answers_; }
  int& answers_;
};

// ---- steps

struct Host {
  World& world;
  std::shared_ptr<bool> alive = std::make_shared<bool>(true);
  std::vector<Emitter> hung{};  ///< of calls that never come back
  TimePoint told{};             ///< the time of the process, when it last looked
};

/// A record that has failed somewhere, in any process, may come in its order no more.
class Noting final : public Observer {
 public:
  explicit Noting(Broker& broker) : broker_(broker) {}
  void failed(const Failure& failure, const Event& event, bool /*heard*/) override {
    if (failure.kind == "GraphClosed" || event.body.object() == nullptr) return;
    for (const Unit& unit : static_cast<const Cargo*>(event.body.object()->get())->units) broker_.failed(unit.record);
  }

 private:
  Broker& broker_;
};

inline Failure failure_in(const char* kind) { return Failure{"", 500, kind, "simulated", {}}; }

/// A step that makes one of one, or several of one.
class OneByOne final : public Transform {
 public:
  OneByOne(Host& host, StepId id) : host_(host), world_(host.world), id_(id), shape_(host.world.shape.steps[id]) {}

  Verdict apply(Event& event, Pass& pass) override {
    const auto deadline = event.completion()->deadline;
    if (deadline && *deadline <= host_.told && !event.completion()->answered())
      world_.broker.broken("I8: work was begun after its deadline");
    if (event.cancelled()) world_.broker.broken("I8: work was begun that nobody waits for");
    if (shape_.kind == Kind::kCatcher)
      for (const Unit& unit : units_of(event)) world_.broker.failed(unit.record);
    if (world_.dice.chance(world_.faults.step_fails)) {
      pass.failure = failure_in("StepFailed");
      return Verdict::kFail;
    }
    if (shape_.timeout > Duration::zero() && world_.dice.chance(world_.faults.step_hangs)) {
      host_.hung.push_back(pass.detach());
      held_.push_back(std::move(event));
      return Verdict::kTaken;
    }
    if (shape_.kind == Kind::kSink || shape_.kind == Kind::kCatcher) return write(event, pass);
    if (shape_.kind == Kind::kFlatMap) return split(event, pass);
    if (!shape_.later) return change(event) ? Verdict::kEmit : Verdict::kDrop;
    with(event, pass, milliseconds(30), [this](Emitter& out, Event& moved) {
      change(moved) ? out.emit(std::move(moved)) : out.drop(std::move(moved));
    });
    return Verdict::kTaken;
  }
  void close() override { held_.clear(); }

 private:
  using Then = std::function<void(Emitter&, Event&)>;

  void with(Event& event, Pass& pass, Duration longest, Then then) {
    auto kept = std::make_shared<std::pair<Emitter, Event>>(pass.detach(), std::move(event));
    world_.later(host_.alive, longest, [kept, then = std::move(then)] { then(kept->first, kept->second); });
  }
  bool change(Event& event) {
    std::vector<Unit> kept;
    for (const Unit& unit : units_of(event))
      if (shape_.kind != Kind::kFilter || !is_dropped(unit, id_)) kept.push_back(through(unit, id_));
    const bool any = !kept.empty();
    if (any) event.body = Payload(object_of(std::move(kept)));  // others may hold the old one
    return any;
  }
  /// The parts go out one by one; the event itself lives until the last has.
  Verdict split(Event& event, Pass& pass) {
    auto kept = std::make_shared<std::pair<Emitter, Event>>(pass.detach(), std::move(event));
    next_part(kept, 0);
    return Verdict::kTaken;
  }
  void next_part(const std::shared_ptr<std::pair<Emitter, Event>>& kept, std::size_t part) {
    std::vector<Unit> made;
    std::size_t most = 0;
    for (const Unit& unit : units_of(kept->second)) {
      most = std::max(most, parts_of(unit, id_));
      if (part < parts_of(unit, id_)) made.push_back(through(unit, id_, std::to_string(part)));
    }
    if (part >= most) return kept->first.drop(std::move(kept->second));
    kept->first.emit(kept->second.derive(Payload(object_of(std::move(made))), true));
    if (!shape_.later) return next_part(kept, part + 1);
    world_.later(host_.alive, milliseconds(10), [this, kept, part] { next_part(kept, part + 1); });
  }
  /// As a producer does: the record is at the broker some time after it was sent, and the report comes later still.
  Verdict write(Event& event, Pass& pass) {
    const bool caught = shape_.kind == Kind::kCatcher;
    const std::string mark = caught ? "!" + event.envelope->origin : "";
    std::vector<Unit> units = units_of(event);
    const auto put = [this, caught, mark, units = std::move(units)] {
      for (const Unit& unit : units) world_.broker.write(caught, {unit.record, unit.trail + mark});
    };
    if (world_.flaw == Flaw::kAckOnEnqueue) {
      if (!world_.dice.chance(world_.faults.write_fails)) world_.later(host_.alive, milliseconds(50), put);
      return Verdict::kEmit;
    }
    with(event, pass, milliseconds(50), [this, put](Emitter& out, Event& moved) {
      if (world_.dice.chance(world_.faults.write_fails)) return out.fail(std::move(moved), failure_in("NotWritten"));
      put();
      auto kept = std::make_shared<std::pair<Emitter, Event>>(std::move(out), std::move(moved));
      if (world_.dice.chance(world_.faults.report_lost)) return host_.hung.push_back(std::move(kept->first));
      world_.later(host_.alive, milliseconds(50), [kept] { kept->first.emit(std::move(kept->second)); });
    });
    return Verdict::kTaken;
  }

  Host& host_;
  World& world_;
  const StepId id_;
  const StepShape& shape_;
  Batch held_;
};

/// Takes batches: makes one event of each, or handles its events one by one.
class InBatches final : public Step {
 public:
  InBatches(Host& host, StepId id) : host_(host), world_(host.world), id_(id), shape_(host.world.shape.steps[id]) {}

  void run(Batch& batch, Emitter& out) override {
    if (world_.dice.chance(world_.faults.step_fails)) throw failure_in("BatchFailed");
    if (!shape_.later) return finish(batch, out);
    auto kept = std::make_shared<std::pair<Emitter, Batch>>(std::move(out), std::move(batch));
    world_.later(host_.alive, milliseconds(30), [this, kept] { finish(kept->second, kept->first); });
  }

 private:
  void finish(Batch& batch, Emitter& out) {
    if (shape_.kind == Kind::kBatch) {
      std::vector<Unit> all;
      for (Event& event : batch)
        for (const Unit& unit : units_of(event)) all.push_back(through(unit, id_));
      Ref<Envelope> envelope = batch.front().envelope;
      auto joined = make_ref<Joined>(std::move(batch));
      const bool answering = joined->answering();
      return out.emit(
          Event(Payload(object_of(std::move(all))), std::move(envelope), Ref<Completion>(joined), answering));
    }
    for (Event& event : batch) {
      if (world_.dice.chance(world_.faults.batch_item_fails)) {
        out.fail(std::move(event), failure_in("ItemFailed"));
        continue;
      }
      std::vector<Unit> units;
      for (const Unit& unit : units_of(event)) units.push_back(through(unit, id_));
      event.body = Payload(object_of(std::move(units)));
      out.emit(std::move(event));
    }
  }

  Host& host_;
  World& world_;
  const StepId id_;
  const StepShape& shape_;
};

/// Holds events until nothing else of their root is under way, and sends them on as one.
class Merging final : public Step {
 public:
  explicit Merging(StepId id) : id_(id) {}

  void start(const Outlet& outlet) override { outlet_ = outlet; }
  void run(Batch& batch, Emitter& /*out*/) override {
    for (Event& event : batch) event.completion() == nullptr ? send_on() : hold(std::move(event));
  }
  void close() override {
    for (auto& [token, event] : held_) event.completion()->wait_no_more(&event);
    auto held = std::exchange(held_, {});
    outlet_.hold(-static_cast<std::ptrdiff_t>(held.size()));
    for (auto& [token, event] : held) outlet_.fail(std::move(event), Failure{"", 503, "GraphClosed", "closed", {}});
  }

 private:
  void hold(Event&& event) {
    const int token = ++last_;
    Event& kept = held_[token] = std::move(event);
    outlet_.hold(1);
    kept.completion()->wait(&kept, outlet_.rank(), [this, token] {
      stranded_.push_back(token);
      outlet_.wake();
    });
  }
  void send_on() {
    for (const int token : std::exchange(stranded_, {})) {
      const auto found = held_.find(token);
      if (found == held_.end()) continue;
      const Completion* root = found->second.completion();
      Batch group;
      std::vector<Unit> all;
      for (auto it = held_.begin(); it != held_.end();) {
        if (it->second.completion() != root) {
          ++it;
          continue;
        }
        it->second.completion()->wait_no_more(&it->second);
        for (const Unit& unit : units_of(it->second)) all.push_back(through(unit, id_));
        group.push_back(std::move(it->second));
        it = held_.erase(it);
      }
      outlet_.hold(-static_cast<std::ptrdiff_t>(group.size()));
      Ref<Envelope> envelope = group.front().envelope;
      auto joined = make_ref<Joined>(std::move(group));
      const bool answering = joined->answering();
      outlet_.emit(Event(Payload(object_of(std::move(all))), std::move(envelope), Ref<Completion>(joined), answering));
    }
  }

  const StepId id_;
  Outlet outlet_;
  std::map<int, Event> held_;
  std::vector<int> stranded_;
  int last_ = 0;
};

inline std::shared_ptr<Plan> plan_of(Host& host) {
  std::vector<StepSpec> specs;
  for (StepId id = 0; id < host.world.shape.steps.size(); ++id) {
    const StepShape& shape = host.world.shape.steps[id];
    StepSpec& spec = specs.emplace_back();
    spec.name = name_of(id);
    if (shape.batch > 1)
      spec.step = std::make_unique<InBatches>(host, id);
    else if (shape.kind == Kind::kMerge)
      spec.step = std::make_unique<Merging>(id);
    else
      spec.step = std::make_unique<OneByOne>(host, id);
    spec.concurrency = shape.concurrency;
    spec.capacity = shape.capacity;
    spec.batch.size = shape.batch;
    spec.batch.delay = shape.delay;
    spec.timeout = shape.timeout;
    spec.attempts = shape.attempts;
    spec.backoff = milliseconds(20);
    spec.by_key = shape.by_key;
    spec.responder = shape.responder;
    spec.outlets = shape.outlets;
    spec.error_handler = shape.handler;
  }
  return Plan::compile(std::move(specs), {0});
}

}  // namespace penstock::testing::delivery_sim
