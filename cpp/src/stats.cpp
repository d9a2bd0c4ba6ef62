#include <penstock/stats.hpp>

#include <algorithm>
#include <bit>

namespace penstock {

void Histogram::add(Duration duration) noexcept {
  const auto ns = std::max<std::int64_t>(0, std::chrono::duration_cast<std::chrono::nanoseconds>(duration).count());
  const auto us = static_cast<std::uint64_t>(ns + 999) / 1000;
  const auto bucket = us <= 1 ? 0 : static_cast<std::size_t>(std::bit_width(us - 1));
  buckets_[std::min(bucket, kBuckets - 1)].add_shared();
  sum_.add_shared(static_cast<std::uint64_t>(ns));
}

void SizeHistogram::add(std::size_t size) noexcept {
  const auto bucket = size <= 1 ? 0 : static_cast<std::size_t>(std::bit_width(size - 1));
  buckets_[std::min(bucket, kBuckets - 1)].add_shared();
  sum_.add_shared(size);
}

std::uint64_t Histogram::total() const noexcept {
  std::uint64_t total = 0;
  for (const Counter& bucket : buckets_) total += bucket.get();
  return total;
}

}  // namespace penstock
