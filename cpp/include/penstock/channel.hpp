#pragma once

#include <atomic>
#include <cstddef>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <unordered_map>

#include <penstock/batch_queue.hpp>
#include <penstock/event.hpp>

namespace penstock {

/// What waits in front of a step, and the tally of the step's activations.
///
/// `capacity` (events) is a high-water mark: it stops new work from starting, never work that is
/// already running. `push` never blocks. An activation is claimed, then takes its batch, then ends;
/// at most `concurrency` are under way. Events go in the order they came; batches of more than one row are
/// put together by a BatchQueue.
/// Thread-safe. Its mutex is a leaf: no event is destroyed and nothing is called under it.
class Channel {
 public:
  struct Policy {
    std::size_t concurrency = 1;
    std::size_t capacity = 1024;
    BatchPolicy batch{};
    bool by_key = false;  ///< events of one key one after the other, whatever the concurrency
  };

  /// Whether an event was taken; if not, it is left as it was.
  enum class Pushed : std::uint8_t { kTaken, kClosed, kLate };
  struct Push {
    Pushed what = Pushed::kTaken;
    Duration until{};  ///< if it came too late for the latency goal: when it could have started
    /// An activation might be claimed now; if not, whoever ends the next one has to look.
    bool may_start = false;
  };

  explicit Channel(Policy policy);

  /// `fit` and `now` are needed only if it has batches.
  [[nodiscard]] Push push(Event&& event, TimePoint now, const Fit& fit = {});
  /// Several, all or none, if it has no batches.
  [[nodiscard]] Push push(std::span<Event> events);
  /// Claims an activation if one may start; the caller must see that it does.
  bool claim(TimePoint now);
  /// Starts a claimed activation with at most `burst` events, or with a batch. Events that would miss the latency
  /// goal go to `late`; cancelled ones may be among those taken.
  BatchQueue::Taken take(Batch& into, Batch& late, std::size_t burst, TimePoint now);
  /// Events that an activation has taken and not begun go to the front again; false if none are taken any more.
  bool put_back(std::span<Event> events);
  /// Counts an activation of one event that the channel has not seen or that outlives its own.
  void adopt(std::uint64_t key = 0);
  /// The batch that an activation took has been handled; to be called before its `end`.
  void handled(const BatchQueue::Taken& batch, TimePoint now);
  /// An activation of `events` events has ended; `key` is that of its first. True if the channel went
  /// below its mark.
  bool end(std::size_t events, std::uint64_t key = 0);
  /// From now on no batch waits for its delay.
  void hurry();
  /// Takes no more events and gives back those that wait.
  [[nodiscard]] std::deque<Event> close();

  /// When the waiting batch is due, if that is all it waits for.
  [[nodiscard]] std::optional<TimePoint> due(TimePoint now) const;
  /// Events waiting or being handled.
  [[nodiscard]] std::size_t pending() const noexcept { return pending_.load(std::memory_order_acquire); }
  [[nodiscard]] bool full() const noexcept { return pending_.load() >= policy_.capacity; }
  [[nodiscard]] std::size_t waiting() const;
  /// Activations that have taken their events and not ended.
  [[nodiscard]] std::size_t running() const;
  /// The completion of the event that is next; null if there is none, or if its caller does not wait for it.
  [[nodiscard]] const void* next_owner() const;

 private:
  [[nodiscard]] bool key_ready() const;
  [[nodiscard]] bool is_free(std::uint64_t key) const { return key == 0 || !busy_keys_.contains(key); }

  const Policy policy_;
  mutable std::mutex mutex_;  ///< guards all that follows but `pending_`
  std::deque<Event> inbox_;
  const std::unique_ptr<BatchQueue> batches_;                 ///< instead of the inbox, if it has batches
  std::size_t under_way_ = 0;                                 ///< claimed or running
  std::size_t claimed_ = 0;                                   ///< claimed, not yet running
  std::unordered_map<std::uint64_t, std::size_t> busy_keys_;  ///< of events being handled, if by key
  bool closed_ = false;
  std::atomic<std::size_t> pending_{0};
};

}  // namespace penstock
