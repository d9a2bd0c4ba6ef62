#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>

#include <penstock/sync.hpp>

namespace penstock {

/// A count that one thread at a time adds to and any thread may read.
class Counter {
 public:
  void add(std::uint64_t n = 1) noexcept {
    value_.store(value_.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
  }
  /// For counts that several threads add to at once.
  void add_shared(std::uint64_t n = 1) noexcept { value_.fetch_add(n, std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t get() const noexcept { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::uint64_t> value_{0};
};

/// Counts of durations in buckets that double, from 1 µs to about 34 s. Any thread may add and read.
class Histogram {
 public:
  static constexpr std::size_t kBuckets = 27;
  void add(Duration duration) noexcept;
  /// The upper bound of bucket `i`; the last bucket has none.
  static constexpr Duration bound(std::size_t i) noexcept { return std::chrono::microseconds(std::int64_t{1} << i); }
  [[nodiscard]] std::uint64_t count(std::size_t i) const noexcept { return buckets_[i].get(); }
  [[nodiscard]] std::uint64_t total() const noexcept;
  [[nodiscard]] Duration sum() const noexcept { return Duration(static_cast<std::int64_t>(sum_.get())); }

 private:
  std::array<Counter, kBuckets> buckets_;
  Counter sum_;
};

/// Counts of sizes in buckets that double, from 1 to 1,024. Any thread may add and read.
class SizeHistogram {
 public:
  static constexpr std::size_t kBuckets = 12;
  void add(std::size_t size) noexcept;
  /// The upper bound of bucket `i`; the last bucket has none.
  static constexpr std::size_t bound(std::size_t i) noexcept { return std::size_t{1} << i; }
  [[nodiscard]] std::uint64_t count(std::size_t i) const noexcept { return buckets_[i].get(); }
  [[nodiscard]] std::uint64_t sum() const noexcept { return sum_.get(); }

 private:
  std::array<Counter, kBuckets> buckets_;
  Counter sum_;
};

/// What one step has done since its graph started.
struct StepStats {
  Counter events;  ///< handled, however it ended
  Counter failed;
  Counter dropped;
  Counter batches;      ///< calls that handled a batch
  SizeHistogram sizes;  ///< of those batches
  Histogram time;       ///< of calls; every 16th is measured, all of those that are slow
};

}  // namespace penstock
