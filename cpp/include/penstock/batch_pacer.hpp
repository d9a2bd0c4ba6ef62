#pragma once

#include <cstddef>
#include <optional>

#include <penstock/batch_cost.hpp>

namespace penstock {

/// Decides how long batches without a delay wait, and for `adaptive` ones how large they may be, and whom to turn away.
///
/// It waits only if those whose answers have just gone out use to come back within a part of what a
/// call costs, and only as long as that shortens the mean time of all. A latency goal, if there is one,
/// bounds the batches, and turns away whoever would miss it. Not thread-safe.
class BatchPacer {
 public:
  /// `rows` at most in a batch; a goal of 0 is none.
  BatchPacer(std::size_t rows, Duration goal, std::size_t concurrency) noexcept
      : rows_(rows), goal_(goal), concurrency_(concurrency) {}

  void arrived(TimePoint now) noexcept;
  void started(std::size_t rows, TimePoint now) noexcept;
  /// A call has ended that answered `events` of altogether `rows`.
  void ended(std::size_t events, std::size_t rows, TimePoint started, TimePoint now) noexcept;

  /// The most rows that a batch may have.
  [[nodiscard]] std::size_t limit() const noexcept;
  /// Whether `hold` may tell a batch to wait: calls are known, and long enough for that.
  [[nodiscard]] bool may_hold() const noexcept;
  /// Until when a batch of what waits shall wait for more; a time that has passed if it shall not.
  [[nodiscard]] TimePoint hold(std::size_t events, std::size_t rows, TimePoint oldest, TimePoint now) const noexcept;
  /// How late an event of so many rows would be, with so many rows ahead of it; nothing if it makes it.
  [[nodiscard]] std::optional<Duration> misses(std::size_t rows, std::size_t ahead, TimePoint now) const noexcept;
  /// An event that waits since `queued` cannot make it any more.
  [[nodiscard]] bool late(std::size_t rows, TimePoint queued, TimePoint now) const noexcept;
  [[nodiscard]] const BatchCost& cost() const noexcept { return cost_; }

 private:
  [[nodiscard]] bool has_goal() const noexcept;
  [[nodiscard]] Duration window() const noexcept { return cost_.of_call() / 2; }
  void close_window(TimePoint now) noexcept;

  const std::size_t rows_;
  const Duration goal_;
  const std::size_t concurrency_;
  BatchCost cost_;
  std::size_t running_ = 0;
  TimePoint free_at_{};           ///< when the call that started last is expected to end
  std::optional<TimePoint> end_;  ///< of the last call
  std::size_t answered_ = 0;      ///< events, by that call
  std::size_t came_ = 0;          ///< events since then
  std::size_t back_ = 0;          ///< of these, within the window
  Duration last_back_{};          ///< when the last of them came
  bool learned_ = false;
  double returning_ = 0;    ///< how many of those answered come back in the window: 0 to 1
  Duration return_time_{};  ///< when the last of them is there
};

}  // namespace penstock
