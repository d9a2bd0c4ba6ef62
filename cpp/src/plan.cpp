#include <penstock/plan.hpp>

#include <algorithm>
#include <set>

namespace penstock {
namespace {

[[noreturn]] void refuse(const StepSpec& step, const std::string& why) {
  throw GraphError("step '" + step.name + "': " + why);
}

void check_batch(const StepSpec& step) {
  const BatchPolicy& batch = step.batch;
  if (batch.size < 1) refuse(step, "max_size must be at least 1");
  if (batch.delay < Duration::zero()) refuse(step, "max_delay must not be negative");
  if (batch.goal < Duration::zero()) refuse(step, "target_latency must not be negative");
  if (batch.goal > Duration::zero() && !batch.adaptive) refuse(step, "a target_latency needs adaptive batches");
  if (batch.adaptive && !batch.preferred.empty()) refuse(step, "adaptive batches have no preferred sizes");
  std::size_t last = 0;
  for (const std::size_t size : batch.preferred) {
    if (size <= last || size > batch.size) refuse(step, "preferred sizes ascend, from 1 to max_size");
    last = size;
  }
  if (batch.size == 1) return;
  if (step.timeout > Duration::zero())
    refuse(step, "a step with .batch() cannot have a .timeout(): callers have deadlines of their own");
  if (step.by_key) refuse(step, "a step with .batch() cannot keep keys in order");
  if (step.capacity < batch.size)
    refuse(step, "capacity " + std::to_string(step.capacity) + " is smaller than max_size " +
                     std::to_string(batch.size) + ", so no batch could fill");
}

void check_step(const StepSpec& step, std::size_t count) {
  if (step.step == nullptr) refuse(step, "has nothing to run");
  if (step.concurrency < 1) refuse(step, "concurrency must be at least 1");
  if (step.attempts < 1) refuse(step, "attempts must be at least 1");
  if (step.timeout < Duration::zero()) refuse(step, "the timeout must not be negative");
  check_batch(step);
  if (std::set(step.outlets.begin(), step.outlets.end()).size() != step.outlets.size())
    refuse(step, "leads to the same step twice");
  for (const StepId outlet : step.outlets)
    if (outlet >= count) refuse(step, "leads to a step that does not exist");
  if (step.error_handler != kNoStep && step.error_handler >= count) refuse(step, "its error handler does not exist");
  if (step.gather != kNoStep && step.gather >= count) refuse(step, "its merging step does not exist");
}

}  // namespace

std::shared_ptr<Plan> Plan::compile(std::vector<StepSpec> specs, std::vector<StepId> entries) {
  std::shared_ptr<Plan> plan(new Plan);
  plan->entries_ = std::move(entries);
  plan->check(specs);
  plan->link(specs);
  plan->sort(specs);
  plan->find_answering();
  plan->find_fusions(specs);
  for (StepSpec& spec : specs) plan->owned_.push_back(std::move(spec.step));
  return plan;
}

void Plan::check(const std::vector<StepSpec>& specs) const {
  if (specs.empty()) throw GraphError("the graph has no steps");
  if (entries_.empty()) throw GraphError("the graph has no first step");
  std::set<std::string> names;
  for (const StepSpec& spec : specs) {
    check_step(spec, specs.size());
    if (!names.insert(spec.name).second) refuse(spec, "there are two steps of this name");
  }
  for (const StepId entry : entries_)
    if (entry >= specs.size()) throw GraphError("the graph starts at a step that does not exist");
}

void Plan::link(const std::vector<StepSpec>& specs) {
  std::vector<std::vector<StepId>> inlets(specs.size());
  for (StepId id = 0; id < specs.size(); ++id) {
    const StepSpec& spec = specs[id];
    auto* transform = spec.batch.size > 1 ? nullptr : dynamic_cast<Transform*>(spec.step.get());
    steps_.push_back(Entry{spec.name,
                           spec.label.empty() ? spec.name : spec.label,
                           spec.concurrency,
                           spec.capacity,
                           spec.batch,
                           spec.timeout,
                           spec.attempts,
                           spec.backoff,
                           spec.by_key,
                           spec.responder,
                           spec.copy,
                           spec.stamp,
                           false,
                           false,
                           false,
                           spec.error_handler,
                           spec.gather,
                           kNoStep,
                           spec.step.get(),
                           transform});
    first_outlet_.push_back(outlets_.size());
    outlets_.insert(outlets_.end(), spec.outlets.begin(), spec.outlets.end());
    for (const StepId outlet : spec.outlets) inlets[outlet].push_back(id);
    first_bounding_.push_back(bounding_.size());
    for (const StepId outlet : spec.outlets)
      if (std::find(spec.returns.begin(), spec.returns.end(), outlet) == spec.returns.end())
        bounding_.push_back(outlet);
    answers_ = answers_ || spec.responder;
  }
  first_outlet_.push_back(outlets_.size());
  first_bounding_.push_back(bounding_.size());
  for (const auto& list : inlets) {
    first_inlet_.push_back(inlets_.size());
    inlets_.insert(inlets_.end(), list.begin(), list.end());
  }
  first_inlet_.push_back(inlets_.size());
  for (const StepId entry : entries_) steps_[entry].source = true;
  for (const StepSpec& spec : specs)
    if (spec.gather != kNoStep) steps_[spec.gather].merges = true;
}

/// Error handlers and merging steps count as led to, too.
void Plan::sort(const std::vector<StepSpec>& specs) {
  const auto next = [&](StepId id) {
    std::vector<StepId> led_to(bounding(id).begin(), bounding(id).end());
    for (const StepId other : {specs[id].error_handler, specs[id].gather})
      if (other != kNoStep) led_to.push_back(other);
    return led_to;
  };
  std::vector<std::size_t> waiting_for(size(), 0);
  for (StepId id = 0; id < size(); ++id)
    for (const StepId later : next(id)) ++waiting_for[later];
  for (StepId id = 0; id < size(); ++id)
    if (waiting_for[id] == 0) order_.push_back(id);
  for (std::size_t at = 0; at < order_.size(); ++at)
    for (const StepId later : next(order_[at]))
      if (--waiting_for[later] == 0) order_.push_back(later);
  if (order_.size() == size()) return;
  const auto looping = std::find_if(waiting_for.begin(), waiting_for.end(), [](std::size_t n) { return n > 0; });
  throw GraphError("step '" + specs[static_cast<std::size_t>(looping - waiting_for.begin())].name +
                   "': leads back to itself");
}

/// Marks every step from which a responder can be reached, backwards along the edges. A step that
/// sends out parts reaches what its merging step reaches.
void Plan::find_answering() {
  std::vector<StepId> reached;
  const auto mark = [&](StepId id) {
    if (std::exchange(steps_[id].answers, true)) return;
    reached.push_back(id);
  };
  for (StepId id = 0; id < size(); ++id)
    if (steps_[id].responder) mark(id);
  while (!reached.empty()) {
    const StepId id = reached.back();
    reached.pop_back();
    for (const StepId inlet : inlets(id)) mark(inlet);
    for (StepId scatter = 0; scatter < size(); ++scatter)
      if (steps_[scatter].gather == id) mark(scatter);
  }
}

/// A step may run in one go with the one before it if that is the only way to reach it: then whoever
/// runs the first is the only one who could start the second.
void Plan::find_fusions(const std::vector<StepSpec>& specs) {
  std::vector<bool> reached_otherwise(size(), false);
  for (const Entry& step : steps_) {
    if (step.error_handler != kNoStep) reached_otherwise[step.error_handler] = true;
    if (step.gather != kNoStep) reached_otherwise[step.gather] = true;
  }
  const auto plain = [&](StepId id) {
    const Entry& step = steps_[id];
    return step.transform != nullptr && step.concurrency == 1 && step.timeout == Duration::zero() && specs[id].fuse;
  };
  for (StepId id = 0; id < size(); ++id) {
    if (!plain(id) || outlets(id).size() != 1) continue;
    const StepId next = outlets(id).front();
    if (plain(next) && inlets(next).size() == 1 && !steps_[next].source && !reached_otherwise[next] && next != id)
      steps_[id].fused_next = next;
  }
}

void Plan::close() {
  for (const auto& step : owned_) step->close();
}

}  // namespace penstock
