#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <mutex>

namespace penstock::http {

/// Counts the connections that are open to requests or still have something to answer, so that a
/// drain can wait for none. Thread-safe; its mutex is a leaf.
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

 private:
  std::mutex mutex_;
  std::condition_variable empty_;
  std::size_t inside_ = 0;
};

}  // namespace penstock::http
