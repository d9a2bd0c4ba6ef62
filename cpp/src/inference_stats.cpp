#include <penstock/inference_stats.hpp>

namespace penstock {
namespace {

template <class T>
T& slot(std::map<std::size_t, T>& slots, std::size_t number) {
  const auto found = slots.find(number);
  if (found != slots.end()) return found->second;
  return slots.size() < InferenceStats::kApart ? slots[number] : slots.rbegin()->second;
}

}  // namespace

void InferenceStats::request(bool success, std::size_t rows, Duration waited, Duration taken) {
  const auto now = std::chrono::system_clock::now();
  const std::lock_guard lock(mutex_);
  (success ? done_.success : done_.fail).add(waited + taken);
  done_.queue.add(waited);
  if (success) done_.rows += rows;
  done_.last = now;
}

void InferenceStats::execution(std::size_t rows, const Phases& phases) {
  const std::lock_guard lock(mutex_);
  done_.executions.add(phases);
  slot(done_.sizes, rows).add(phases);
}

void InferenceStats::response(std::size_t number, End end, Duration infer, Duration output) {
  const std::lock_guard lock(mutex_);
  Responses& responses = slot(done_.responses, number);
  responses.infer.add(infer);
  if (end == End::kSuccess) responses.output.add(output);
  Timed& ended = end == End::kSuccess ? responses.success
                 : end == End::kFail  ? responses.fail
                 : end == End::kEmpty ? responses.empty
                                      : responses.cancel;
  ended.add(infer + output);
}

InferenceStats::Snapshot InferenceStats::snapshot() const {
  const std::lock_guard lock(mutex_);
  return done_;
}

}  // namespace penstock
