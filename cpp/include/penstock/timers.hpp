#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <unordered_map>
#include <utility>

#include <penstock/sync.hpp>

namespace penstock {

/// Things to do at a time. Thread-safe; its mutex is a leaf: actions run, and are destroyed, outside.
class Timers {
 public:
  using Action = std::function<void()>;

  /// The result is never 0. `earliest` tells whether the new one is now the first.
  std::uint64_t add(TimePoint when, Action action, bool* earliest = nullptr);
  /// Whether it was still to come.
  bool cancel(std::uint64_t id);
  /// Runs everything that is due.
  void run(TimePoint now);
  [[nodiscard]] std::optional<TimePoint> next() const;

 private:
  using Key = std::pair<TimePoint, std::uint64_t>;
  mutable std::mutex mutex_;  ///< guards all that follows
  std::map<Key, Action> actions_;
  std::unordered_map<std::uint64_t, TimePoint> times_;
  std::uint64_t last_id_ = 0;
};

}  // namespace penstock
