#include <penstock/batch_pacer.hpp>

#include <algorithm>

namespace penstock {
namespace {

constexpr std::size_t kHoldAfter = 3;  // calls
constexpr Duration kWorthHolding = std::chrono::milliseconds(1);
constexpr std::size_t kShedAfter = 8;
constexpr double kCrowd = 2;   // times as many as would have come in that time anyway
constexpr double kStep = 0.2;  // how far a mean moves towards what was seen last

double seconds(Duration duration) { return std::chrono::duration<double>(duration).count(); }

}  // namespace

void BatchPacer::arrived(TimePoint now) noexcept {
  ++came_;
  if (!end_ || now - *end_ > window()) return;
  ++back_;
  last_back_ = now - *end_;
}

void BatchPacer::started(std::size_t rows, TimePoint now) noexcept {
  ++running_;
  free_at_ = now + cost_.of(rows);
}

void BatchPacer::ended(std::size_t events, std::size_t rows, TimePoint started, TimePoint now) noexcept {
  if (running_ > 0) --running_;
  cost_.learn(rows, now - started);
  close_window(now);
  end_ = now;
  answered_ = events;
  came_ = back_ = 0;
  last_back_ = {};
}

/// Learns from the time since the last call ended, if that was long enough to tell.
void BatchPacer::close_window(TimePoint now) noexcept {
  if (!end_ || answered_ == 0 || now - *end_ < window()) return;
  // Who comes by chance comes at any time; only those who crowd behind a call's end come because of it.
  const double usual = seconds(last_back_) / seconds(now - *end_) * static_cast<double>(came_);
  const bool crowd = static_cast<double>(back_) > kCrowd * usual;
  const double share = crowd ? std::min(1.0, static_cast<double>(back_) / static_cast<double>(answered_)) : 0.0;
  returning_ += (learned_ ? kStep : 1.0) * (share - returning_);
  learned_ = true;
  if (back_ == 0) return;
  // It follows at once to what is longer, and slowly to what is shorter: the last one is waited for.
  if (last_back_ > return_time_)
    return_time_ = last_back_;
  else
    return_time_ -= (return_time_ - last_back_) / 8;
}

bool BatchPacer::has_goal() const noexcept { return goal_ > Duration::zero() && cost_.calls() >= kShedAfter; }

/// Who comes just after a batch has started waits for all of it, and then for his own.
std::size_t BatchPacer::limit() const noexcept {
  if (!has_goal()) return rows_;
  const double left = seconds(goal_) / 2 - seconds(cost_.of_call());
  const double row = seconds(cost_.of_row());
  if (left <= row) return 1;
  return row <= 0 ? rows_ : std::min(rows_, static_cast<std::size_t>(std::min(left / row, 1e9)));
}

bool BatchPacer::may_hold() const noexcept { return cost_.calls() >= kHoldAfter && cost_.of_call() >= kWorthHolding; }

TimePoint BatchPacer::hold(std::size_t events, std::size_t rows, TimePoint oldest, TimePoint now) const noexcept {
  if (!may_hold() || !end_ || rows >= limit()) return now;
  const double expected = returning_ * static_cast<double>(answered_) - static_cast<double>(back_);
  const TimePoint latest = *end_ + std::min(window(), 2 * return_time_);
  if (expected < 0.5 || now >= latest) return now;
  // Those who wait lose the time until then; those who come need not wait for a call of the others.
  const double wait = seconds(std::max(*end_ + return_time_ - now, return_time_ / 4));
  const double spared = seconds(cost_.of(rows)) - wait;
  if (static_cast<double>(events) * wait >= expected * spared) return now;
  if (!has_goal()) return latest;
  return std::min(latest, oldest + goal_ - cost_.of(limit()));
}

std::optional<Duration> BatchPacer::misses(std::size_t rows, std::size_t ahead, TimePoint now) const noexcept {
  if (!has_goal() || (running_ == 0 && ahead == 0)) return std::nullopt;
  const std::size_t most = std::max(limit(), rows);
  // Its batch may still fill up behind it.
  const auto calls = static_cast<Duration::rep>((ahead + rows + most - 1) / most);
  Duration until = (calls - 1) * cost_.of(most) / static_cast<Duration::rep>(concurrency_);
  if (running_ >= concurrency_) until += std::max(free_at_ - now, Duration::zero());
  if (until + cost_.of(most) <= goal_) return std::nullopt;
  return until;
}

bool BatchPacer::late(std::size_t rows, TimePoint queued, TimePoint now) const noexcept {
  return has_goal() && now - queued + cost_.of(rows) > goal_;
}

}  // namespace penstock
