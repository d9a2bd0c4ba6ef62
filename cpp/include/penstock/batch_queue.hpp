#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <vector>

#include <penstock/batch_pacer.hpp>
#include <penstock/event.hpp>

namespace penstock {

/// What an event is to a batch.
struct Fit {
  std::uint64_t form = 0;  ///< events of different forms are never in one batch
  std::uint32_t rows = 1;
  std::uint32_t priority = 0;  ///< 1 goes first; 0 is none, and as good as kUsualPriority
};
inline constexpr std::uint32_t kUsualPriority = 100;

/// The fit of an event whose body is a request of tensors: its rows, and a form of names, datatypes and
/// all dimensions but the first, or, if `ragged`, the number of dimensions only. Others: one row, form 0.
[[nodiscard]] Fit fit_of(const Event& event, bool ragged);
/// The number under "priority" in a JSON object; 0 if there is none, or no whole number.
[[nodiscard]] std::uint32_t priority_in(const std::string& parameters);

/// How a step that takes batches wants them.
struct BatchPolicy {
  std::size_t size = 1;                  ///< rows at most; a single event may have more
  Duration delay{};                      ///< how long the first has to wait; 0 takes what is there
  std::vector<std::size_t> preferred{};  ///< sizes in rows, ascending
  bool adaptive = false;                 ///< a delay is the longest wait, not one that has to be
  Duration goal{};                       ///< if adaptive: the latency to keep, 0 is none
  bool eager = false;                    ///< takes what is there: who sends its events waits for no answer

  /// Whether a batch waits for callers who are about to come back, where that pays.
  [[nodiscard]] bool paced() const noexcept {
    return adaptive || (size > 1 && !eager && delay == Duration::zero() && preferred.empty());
  }
  /// Whether events may have to wait for others.
  [[nodiscard]] bool waits() const noexcept { return delay > Duration::zero() || paced(); }
};

/// The events that wait for a batch: by priority, and by age within one. Not thread-safe, and destroys
/// no event: cancelled ones go out with the next batch, and do not count.
class BatchQueue {
 public:
  struct Taken {
    std::size_t events = 0;  ///< that are to be handled
    std::size_t rows = 0;
    TimePoint at{};
  };

  BatchQueue(const BatchPolicy& policy, std::size_t concurrency);

  /// Nothing if it was taken; else how long it would be until it could start, too late for the goal.
  std::optional<Duration> push(Event&& event, const Fit& fit, TimePoint now);
  [[nodiscard]] bool ready(TimePoint now) const;
  /// When it will be ready, if no further event comes.
  [[nodiscard]] std::optional<TimePoint> due(TimePoint now) const;
  /// Moves out the batch that is to run now. Those that cannot make the goal any more go to `late`.
  Taken take(Batch& into, Batch& late, TimePoint now);
  void ended(const Taken& taken, TimePoint now);
  /// From now on no batch waits.
  void hurry() noexcept { hurried_ = true; }
  std::deque<Event> clear();

  [[nodiscard]] std::size_t size() const noexcept { return entries_.size(); }
  [[nodiscard]] const Event* next() const noexcept { return entries_.empty() ? nullptr : &entries_.front().event; }

 private:
  struct Entry {
    Event event;
    Fit fit;
    bool going = false;
  };
  /// Entries of one form, from the front, as many as one batch may have.
  struct Group {
    std::uint64_t form = 0;
    std::size_t events = 0, rows = 0;
    std::size_t preferred = 0;  ///< rows of the largest cut that has a preferred size
    TimePoint oldest = TimePoint::max();
    bool full = false;
  };

  [[nodiscard]] bool waits() const noexcept {
    return !hurried_ && (policy_.delay > Duration::zero() || (pacer_ && pacer_->may_hold()));
  }
  [[nodiscard]] bool has_goal() const noexcept { return pacer_ && policy_.goal > Duration::zero(); }
  [[nodiscard]] std::size_t limit() const noexcept { return pacer_ ? pacer_->limit() : policy_.size; }
  [[nodiscard]] bool is_ready(const Group& group, TimePoint now) const;
  [[nodiscard]] TimePoint until(const Group& group, TimePoint now) const;
  void add(Group& group, const Entry& entry, std::size_t limit) const;
  [[nodiscard]] std::vector<Group> groups() const;
  void drop_late(Batch& late, TimePoint now);

  const BatchPolicy policy_;
  std::deque<Entry> entries_;
  std::optional<BatchPacer> pacer_;
  bool hurried_ = false;
};

}  // namespace penstock
