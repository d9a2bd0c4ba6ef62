#include <http2/landing.hpp>

#include <algorithm>
#include <cstring>

namespace penstock::http2 {
namespace {

constexpr std::size_t kFrames = 64;  ///< to guess ahead
constexpr char kEndStream = 1;

std::size_t length_in(const FrameCursor::Head& head) noexcept {
  const auto byte = [&head](std::size_t i) { return std::size_t{static_cast<unsigned char>(head[i])}; };
  return byte(0) << 16 | byte(1) << 8 | byte(2);
}

/// A stream's DATA frame without padding.
FrameCursor::Head data_head(std::size_t length, std::int32_t stream) noexcept {
  const auto id = static_cast<std::uint32_t>(stream);
  return {static_cast<char>(length >> 16),
          static_cast<char>(length >> 8),
          static_cast<char>(length),
          0,
          0,
          static_cast<char>(id >> 24),
          static_cast<char>(id >> 16),
          static_cast<char>(id >> 8),
          static_cast<char>(id)};
}

bool same_but_for_end(FrameCursor::Head one, const FrameCursor::Head& other) noexcept {
  one[4] = static_cast<char>(one[4] & ~kEndStream);
  return one == other;
}

}  // namespace

void FrameCursor::pass(std::string_view bytes) {
  while (!bytes.empty()) {
    if (left_ == 0 && head_size_ == kHead) head_size_ = 0;
    if (left_ == 0) {
      const std::size_t taken = bytes.copy(head_.data() + head_size_, kHead - head_size_);
      head_size_ += taken;
      bytes.remove_prefix(taken);
      if (head_size_ == kHead) left_ = length_in(head_);
    } else {
      const std::size_t taken = std::min(bytes.size(), left_);
      left_ -= taken;
      bytes.remove_prefix(taken);
    }
  }
}

const FrameCursor::Head* FrameCursor::data_of(std::int32_t stream) const {
  const bool is_it = head_size_ == kHead && same_but_for_end(head_, data_head(length_in(head_), stream));
  return is_it ? &head_ : nullptr;
}

Landing::Landing(const FrameCursor& at, const FrameCursor::Head& head, std::span<char> room, std::span<char> rest)
    : begins_with_head_(at.left() == 0) {
  const std::size_t length = length_in(head);
  std::int32_t stream = 0;
  for (std::size_t i = 5; i < head.size(); ++i) stream = stream << 8 | static_cast<unsigned char>(head[i]);
  std::size_t next = std::min(at.left(), room.size());
  heads_.resize(length == 0 ? 0 : std::min(kFrames, (room.size() - next + length - 1) / length));
  parts_.reserve(2 * heads_.size() + 2);
  if (next > 0) add(room.data(), next);
  for (FrameCursor::Head& came : heads_) {
    room = room.subspan(next);
    next = std::min(length, room.size());
    guesses_.push_back(data_head(next, stream));
    add(came.data(), came.size());
    add(room.data(), next);
  }
  add(rest.data(), rest.size());
}

std::vector<std::string_view> Landing::pieces(std::size_t size) {
  std::vector<std::string_view> found;
  found.reserve(parts_.size());
  std::size_t head = 0;
  bool as_guessed = true;
  for (std::size_t i = 0; i < parts_.size() && size > 0; ++i) {
    const bool last = i + 1 == parts_.size();
    const std::string_view piece(static_cast<const char*>(parts_[i].iov_base), std::min(size, parts_[i].iov_len));
    size -= piece.size();
    if (last && !as_guessed) found.emplace_back(misplaced_);
    if (last || as_guessed)
      found.push_back(piece);
    else
      misplaced_.append(piece);
    const bool is_head = !last && (i % 2 == 0) == begins_with_head_;
    if (is_head) {
      as_guessed = as_guessed && same_but_for_end(heads_[head], guesses_[head]);
      ++head;
    }
    if (!last && size == 0 && !as_guessed && !misplaced_.empty()) found.emplace_back(misplaced_);
  }
  return found;
}

}  // namespace penstock::http2
