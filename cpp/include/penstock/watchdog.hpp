#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <thread>

#include <penstock/sync.hpp>

namespace penstock {

/// Acts when nobody has called `beat` for `limit`: whoever beats needs the host's global lock, and some handler does
/// not let go of it. Its own thread needs nothing of the host. Time in which the whole process stood still does not
/// count. Thread-safe.
class Watchdog {
 public:
  /// `act` is called at most once, on the watchdog's thread.
  Watchdog(Duration limit, std::function<void()> act);
  ~Watchdog();
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

  void beat() noexcept { beats_.fetch_add(1, std::memory_order_relaxed); }

 private:
  void watch(Duration limit, const std::function<void()>& act);

  std::atomic<std::uint64_t> beats_{0};
  std::atomic<bool> over_{false};
  Parker parker_;
  std::thread thread_;
};

}  // namespace penstock
