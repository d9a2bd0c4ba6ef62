#pragma once

#include <algorithm>
#include <chrono>

namespace penstock::http2 {

/// How many frames that ask for nothing (pings, settings, resets) a client may send: as many as come up in honest use.
/// Each costs us little and the client less, so a flood of them is an attack. Not thread-safe.
class ControlBudget {
 public:
  using Clock = std::chrono::steady_clock;

  /// False if it is used up.
  bool spend(Clock::time_point now) noexcept {
    const std::chrono::duration<double> passed = now - since_;
    since_ = now;
    left_ = std::min(kMost, left_ + passed.count() * kPerSecond);
    if (left_ < 1) return false;
    left_ -= 1;
    return true;
  }
  /// A frame of an answer is out. Clients of gRPC send a ping for each to measure the line, and who asks much may give
  /// up much.
  void earn() noexcept { left_ = std::min(kMost, left_ + 1); }

 private:
  static constexpr double kMost = 500;  // less than nghttp2 puts up with, which then closes without a word
  static constexpr double kPerSecond = 33;

  double left_ = kMost;
  Clock::time_point since_ = Clock::now();
};

}  // namespace penstock::http2
