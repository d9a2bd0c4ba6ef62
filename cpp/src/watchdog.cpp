#include <penstock/watchdog.hpp>

#include <utility>

namespace penstock {
namespace {

constexpr int kLooks = 20;  // that find no beat, until it acts

}  // namespace

Watchdog::Watchdog(Duration limit, std::function<void()> act)
    : thread_([this, limit, act = std::move(act)] { watch(limit, act); }) {}

Watchdog::~Watchdog() {
  over_.store(true);
  parker_.unpark();
  thread_.join();
}

void Watchdog::watch(Duration limit, const std::function<void()>& act) {
  std::uint64_t seen = beats_.load(std::memory_order_relaxed);
  for (int missed = 0; missed < kLooks; ++missed) {
    parker_.park_until(Clock::now() + limit / kLooks);
    if (over_.load()) return;
    if (const std::uint64_t beats = beats_.load(std::memory_order_relaxed); beats != seen) {
      seen = beats;
      missed = -1;
    }
  }
  act();
}

}  // namespace penstock
