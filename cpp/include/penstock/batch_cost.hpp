#pragma once

#include <cstddef>

#include <penstock/sync.hpp>

namespace penstock {

/// Learns what a call for a batch costs: so much a call and so much a row. Least squares, in which
/// older calls count less and less. Not thread-safe.
class BatchCost {
 public:
  void learn(std::size_t rows, Duration taken) noexcept;
  [[nodiscard]] std::size_t calls() const noexcept { return calls_; }
  [[nodiscard]] Duration of(std::size_t rows) const noexcept;
  [[nodiscard]] Duration of_call() const noexcept;
  [[nodiscard]] Duration of_row() const noexcept;

 private:
  double a_row_ = 0, a_call_ = 0;  // in seconds
  double weight_ = 0, rows_ = 0, seconds_ = 0, rows_rows_ = 0, rows_seconds_ = 0;
  std::size_t calls_ = 0;
};

}  // namespace penstock
