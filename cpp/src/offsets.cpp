#include <penstock/offsets.hpp>

#include <stdexcept>

namespace penstock {

std::uint64_t Offsets::deliver(std::span<const std::int64_t> offsets) {
  const std::lock_guard lock(mutex_);
  const std::uint64_t first = first_ + open_.size();
  for (const std::int64_t offset : offsets) {
    if (offset < end_) throw std::invalid_argument("a partition's offsets only grow");
    if (open_.empty()) position_ = offset;  // a gap before it holds nothing
    open_.push_back({offset, false});
    end_ = offset + 1;
    ++unsettled_;
  }
  return first;
}

void Offsets::retract() {
  const std::lock_guard lock(mutex_);
  if (open_.empty() || open_.back().settled) throw std::logic_error("the last delivery is settled");
  end_ = open_.back().offset;
  open_.pop_back();
  --unsettled_;
}

bool Offsets::settle(std::uint64_t delivery) {
  const std::lock_guard lock(mutex_);
  if (revoked_) {
    ++late_;
    return false;
  }
  if (delivery < first_ || delivery - first_ >= open_.size()) return false;
  Delivery& settled = open_[delivery - first_];
  if (settled.settled) return false;
  settled.settled = true;
  --unsettled_;
  while (!open_.empty() && open_.front().settled) {
    open_.pop_front();
    ++first_;
  }
  position_ = open_.empty() ? end_ : open_.front().offset;
  return true;
}

std::optional<std::int64_t> Offsets::due() {
  const std::lock_guard lock(mutex_);
  if (revoked_ || position_ == told_) return std::nullopt;
  told_ = position_;
  return position_;
}

void Offsets::not_written() {
  const std::lock_guard lock(mutex_);
  told_ = -1;
}

void Offsets::revoke() {
  const std::lock_guard lock(mutex_);
  revoked_ = true;
}

std::int64_t Offsets::position() const {
  const std::lock_guard lock(mutex_);
  return position_;
}

std::size_t Offsets::open() const {
  const std::lock_guard lock(mutex_);
  return open_.size();
}

std::size_t Offsets::unsettled() const {
  const std::lock_guard lock(mutex_);
  return unsettled_;
}

bool Offsets::revoked() const {
  const std::lock_guard lock(mutex_);
  return revoked_;
}

std::uint64_t Offsets::late() const {
  const std::lock_guard lock(mutex_);
  return late_;
}

}  // namespace penstock
