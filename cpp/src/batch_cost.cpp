#include <penstock/batch_cost.hpp>

#include <algorithm>

namespace penstock {
namespace {

constexpr double kKept = 0.98;       // what a call weighs when one more has come: about the last 50 count
constexpr double kOutlier = 4;       // so many times what was expected is the most that is believed
constexpr std::size_t kTrusted = 4;  // calls, from which on something is expected
constexpr double kInertia = 0.2;     // of the square of the mean: what holds the cost of a row where it is

Duration duration(double seconds) {
  return std::chrono::duration_cast<Duration>(std::chrono::duration<double>(seconds));
}

}  // namespace

void BatchCost::learn(std::size_t rows, Duration taken) noexcept {
  const auto n = static_cast<double>(rows);
  double seconds = std::chrono::duration<double>(taken).count();
  // One call that was held up does not change the picture; several do.
  if (++calls_ > kTrusted) seconds = std::min(seconds, kOutlier * (a_call_ + a_row_ * n));
  for (double* sum : {&weight_, &rows_, &seconds_, &rows_rows_, &rows_seconds_}) *sum *= kKept;
  weight_ += 1;
  rows_ += n;
  seconds_ += seconds;
  rows_rows_ += n * n;
  rows_seconds_ += n * seconds;
  const double mean = rows_ / weight_;
  const double mean_seconds = seconds_ / weight_;
  const double variance = rows_rows_ / weight_ - mean * mean;
  // Batches of nearly one size do not tell the two costs apart: what they seem to say is mostly noise, and moves
  // little.
  const double inertia = kInertia * mean * mean;
  const double covariance = rows_seconds_ / weight_ - mean * mean_seconds;
  a_row_ = (covariance + inertia * a_row_) / (variance + inertia);
  a_row_ = std::clamp(a_row_, 0.0, mean_seconds / mean);
  a_call_ = mean_seconds - a_row_ * mean;
}

Duration BatchCost::of(std::size_t rows) const noexcept {
  return duration(a_call_ + a_row_ * static_cast<double>(rows));
}
Duration BatchCost::of_call() const noexcept { return duration(a_call_); }
Duration BatchCost::of_row() const noexcept { return duration(a_row_); }

}  // namespace penstock
