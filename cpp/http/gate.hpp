#pragma once

#include <array>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <mutex>

#include <penstock/stats.hpp>

namespace penstock::http {

/// Counts the connections that are open to requests or still have something to answer, so that a
/// drain can wait for none; and what has been answered. Thread-safe; its mutex is a leaf.
class Gate {
 public:
  void enter() {
    const std::lock_guard lock(mutex_);
    ++inside_;
  }
  void leave() {
    const std::lock_guard lock(mutex_);
    if (--inside_ == 0) empty_.notify_all();
  }
  [[nodiscard]] std::size_t inside() {
    const std::lock_guard lock(mutex_);
    return inside_;
  }
  /// False if the time is up before all have left.
  [[nodiscard]] bool wait_until_empty(std::chrono::milliseconds at_most) {
    std::unique_lock lock(mutex_);
    return empty_.wait_for(lock, at_most, [this] { return inside_ == 0; });
  }

  static constexpr std::size_t kClasses = 6;
  static constexpr std::size_t kCodes = 17;
  void answered(int status) noexcept {
    const auto hundreds = static_cast<std::size_t>(status) / 100;
    answers_[hundreds < kClasses ? hundreds : 0].add_shared();
  }
  void called(int code) noexcept {
    const auto known = static_cast<std::size_t>(code);
    calls_[known < kCodes ? known : 2].add_shared();
  }
  /// Answers over HTTP whose status has these hundreds.
  [[nodiscard]] std::uint64_t answers(std::size_t hundreds) const noexcept { return answers_[hundreds].get(); }
  /// Calls of gRPC that ended with this code.
  [[nodiscard]] std::uint64_t calls(std::size_t code) const noexcept { return calls_[code].get(); }

 private:
  std::array<Counter, kClasses> answers_;
  std::array<Counter, kCodes> calls_;
  std::mutex mutex_;
  std::condition_variable empty_;
  std::size_t inside_ = 0;
};

}  // namespace penstock::http
