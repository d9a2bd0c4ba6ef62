#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include <penstock/step.hpp>

namespace penstock {

/// A mistake in how a graph is put together, found before it runs.
class GraphError : public std::invalid_argument {
 public:
  using std::invalid_argument::invalid_argument;
};

/// One step as it is asked for. Events are counted; durations are C++ durations.
struct StepSpec {
  std::string name;
  std::unique_ptr<Step> step;
  std::string label{};          ///< what failures call it, as several may be one to the user; default: `name`
  std::size_t concurrency = 1;  ///< calls at once; 1 keeps the order
  std::size_t capacity = 1024;  ///< events waiting: a high-water mark, see channel.hpp
  BatchPolicy batch{};          ///< size > 1: `run` gets batches
  Duration timeout{};           ///< for one call; 0 is none
  std::size_t attempts = 1;     ///< calls in all, if they fail: 1 is no retry
  Duration backoff{};           ///< before the second call; doubled before each further one
  bool by_key = false;          ///< events of one key stay in order, whatever the concurrency
  bool responder = false;
  bool copy = true;    ///< a further branch gets a deep copy of the body
  bool fuse = true;    ///< may run in one go with the step before it
  bool stamp = false;  ///< it is to know how long its events have waited for it, see `Event::queued`
  std::vector<StepId> outlets{};
  std::vector<StepId> returns{};  ///< those of the outlets that lead back: they close a loop
  StepId error_handler = kNoStep;
  StepId gather = kNoStep;  ///< where the parts that this step sends out are merged
};

/// A graph that has been checked: immutable, in flat arrays, for any number of threads.
class Plan {
 public:
  struct Entry {
    std::string name, label;
    std::size_t concurrency, capacity;
    BatchPolicy batch;
    Duration timeout;
    std::size_t attempts;
    Duration backoff;
    bool by_key, responder, copy, stamp;
    bool answers;  ///< a responder can be reached from here
    bool source;   ///< events enter here
    bool merges;   ///< parts come back here
    StepId error_handler;
    StepId gather;
    StepId fused_next;  ///< the step that may run in the same go, or kNoStep
    Step* step;
    Transform* transform;  ///< null if it is not one, or takes batches
  };

  /// Throws GraphError. `entries` are the steps that every admitted event goes to.
  static std::shared_ptr<Plan> compile(std::vector<StepSpec> steps, std::vector<StepId> entries);

  [[nodiscard]] std::size_t size() const noexcept { return steps_.size(); }
  [[nodiscard]] const Entry& operator[](StepId id) const noexcept { return steps_[id]; }
  [[nodiscard]] std::span<const StepId> outlets(StepId id) const noexcept {
    return std::span(outlets_).subspan(first_outlet_[id], first_outlet_[id + 1] - first_outlet_[id]);
  }
  [[nodiscard]] std::span<const StepId> inlets(StepId id) const noexcept {
    return std::span(inlets_).subspan(first_inlet_[id], first_inlet_[id + 1] - first_inlet_[id]);
  }
  /// The outlets that must have room before the step starts: a loop must not wait for itself.
  [[nodiscard]] std::span<const StepId> bounding(StepId id) const noexcept {
    return std::span(bounding_).subspan(first_bounding_[id], first_bounding_[id + 1] - first_bounding_[id]);
  }
  /// All steps, each behind those that lead to it but for what closes a loop.
  [[nodiscard]] std::span<const StepId> order() const noexcept { return order_; }
  [[nodiscard]] std::span<const StepId> entries() const noexcept { return entries_; }
  /// Some step answers the caller.
  [[nodiscard]] bool answers() const noexcept { return answers_; }
  /// Releases what the steps hold. Inside the gate, when nothing runs any more.
  void close();

 private:
  Plan() = default;
  void check(const std::vector<StepSpec>& specs) const;
  void link(const std::vector<StepSpec>& specs);
  void sort(const std::vector<StepSpec>& specs);
  void find_answering();
  void find_fusions(const std::vector<StepSpec>& specs);

  std::vector<Entry> steps_;
  std::vector<std::unique_ptr<Step>> owned_;
  std::vector<StepId> outlets_, inlets_, bounding_, entries_, order_;
  std::vector<std::size_t> first_outlet_, first_inlet_, first_bounding_;
  bool answers_ = false;
};

}  // namespace penstock
