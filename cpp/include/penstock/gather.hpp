#pragma once

#include <atomic>
#include <cstdint>
#include <optional>
#include <vector>

#include <penstock/event.hpp>

namespace penstock {

/// Takes the event whose parts are all back; the executor's side of a gather.
class GatherTarget {
 public:
  virtual ~GatherTarget() = default;
  virtual void gathered(std::uint32_t step, Event&& event) = 0;
};

/// The parts of one event that were sent out in parallel, and the event that waits for them.
///
/// Each part comes back exactly once: with a body, failed, or empty because it was dropped. The last
/// one sends the waiting event, `gathered` set to this, to the step that merges. Thread-safe.
class Gather : public RefCounted {
 public:
  struct Part {
    std::uint32_t outlet = 0;
    Payload body;
    Ref<Envelope> envelope;
    std::optional<Failure> failure;
    bool back = false;  ///< guarded by `taken`
    std::atomic<bool> taken{false};
  };

  /// `count` parts, plus one that `seal` stands for, so that it cannot end while being sent out.
  Gather(GatherTarget& target, std::uint32_t step, std::size_t count);

  /// From now on this event waits. Then send the parts, then `seal`.
  void hold(Event&& event);
  void seal() { arrive(); }

  void come_back(std::uint32_t slot, Payload&& body, Ref<Envelope> envelope);
  void fail(std::uint32_t slot, Failure&& failure);
  void drop(std::uint32_t slot);

  std::vector<Part> parts;
  const TimePoint begun = Clock::now();

 private:
  void arrive();

  GatherTarget& target_;
  const std::uint32_t step_;
  std::atomic<std::size_t> missing_;
  Event waiting_;
};

}  // namespace penstock
