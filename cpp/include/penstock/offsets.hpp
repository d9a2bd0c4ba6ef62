#pragma once

#include <cstdint>
#include <deque>
#include <mutex>
#include <optional>
#include <span>

#include <penstock/ref.hpp>

namespace penstock {

/// What one assignment of a stream's partition has brought, and how far of it is settled.
///
/// The position to commit is the lowest offset that was delivered and is not settled, else the one
/// behind the last: what is before it will never be needed again. Offsets may have gaps. Once the
/// assignment is revoked there is no position any more: whoever owns the partition now has one of its
/// own, and a late settlement must not move it. Thread-safe, but one thread delivers.
class Offsets final : public RefCounted {
 public:
  /// `next` is where reading starts.
  explicit Offsets(std::int64_t next) noexcept : position_(next), told_(next), end_(next) {}

  /// One record more, behind all others; returns what it is settled by.
  std::uint64_t deliver(std::int64_t offset) { return deliver(std::span(&offset, 1)); }
  /// Several; returns what the first is settled by, the next number is that of the next.
  std::uint64_t deliver(std::span<const std::int64_t> offsets);
  /// The last delivered was not taken: it will come again.
  void retract();
  /// False if that is too late, or was done before.
  bool settle(std::uint64_t delivery);
  /// The position, if it has moved since this was asked last.
  [[nodiscard]] std::optional<std::int64_t> due();
  /// The position was not written: it is due again.
  void not_written();
  void revoke();

  [[nodiscard]] std::int64_t position() const;
  /// Delivered from the position on.
  [[nodiscard]] std::size_t open() const;
  /// Delivered and not settled.
  [[nodiscard]] std::size_t unsettled() const;
  [[nodiscard]] bool revoked() const;
  /// Settlements that came when it was revoked.
  [[nodiscard]] std::uint64_t late() const;

 private:
  struct Delivery {
    std::int64_t offset;
    bool settled;
  };

  mutable std::mutex mutex_;  ///< a leaf; guards all
  std::deque<Delivery> open_;
  std::uint64_t first_ = 0;  ///< the delivery that `open_` starts with
  std::int64_t position_, told_, end_;
  std::size_t unsettled_ = 0;
  std::uint64_t late_ = 0;
  bool revoked_ = false;
};

}  // namespace penstock
