#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>

namespace penstock {

using Clock = std::chrono::steady_clock;
using TimePoint = Clock::time_point;
using Duration = Clock::duration;

/// A thread sleeps in `park` until somebody calls `unpark`; an `unpark` that comes first is kept.
class Parker {
 public:
  void park() {
    std::unique_lock lock(mutex_);
    wake_.wait(lock, [&] { return token_; });
    token_ = false;
  }
  /// False if the time ran out first.
  bool park_until(TimePoint deadline) {
    std::unique_lock lock(mutex_);
    const bool woken = wake_.wait_until(lock, deadline, [&] { return token_; });
    token_ = false;
    return woken;
  }
  void unpark() {
    // Notified under the mutex: the parked thread may end this object's life as soon as it wakes.
    const std::lock_guard lock(mutex_);
    token_ = true;
    wake_.notify_one();
  }

 private:
  std::mutex mutex_;
  std::condition_variable wake_;
  bool token_ = false;
};

/// What the lane needs of the platform; the tests have another one.
struct StdSync {
  using Mutex = std::mutex;
  using Lock = std::unique_lock<std::mutex>;
  using Time = TimePoint;
  using Duration = penstock::Duration;
  using Parker = penstock::Parker;
  static Time now() { return Clock::now(); }
};

}  // namespace penstock
