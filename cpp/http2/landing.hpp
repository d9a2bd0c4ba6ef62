#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <sys/uio.h>

namespace penstock::http2 {

/// Where in its client's frames a connection is, told by their heads alone.
class FrameCursor {
 public:
  static constexpr std::size_t kHead = 9;
  using Head = std::array<char, kHead>;

  void pass(std::string_view bytes);
  /// The frame of a stream's DATA that the next byte is in, or behind; null if it is another, or has padding.
  [[nodiscard]] const Head* data_of(std::int32_t stream) const;
  /// Bytes of that frame that are still to come.
  [[nodiscard]] std::size_t left() const noexcept { return left_; }

 private:
  Head head_{};
  std::size_t head_size_ = 0;
  std::size_t left_ = 24;  ///< of a frame; first, of what a client greets with
};

/// Has the kernel put the bytes of a large message where they belong, so that they need not be copied. Where in what
/// comes next they are is a guess: the client goes on with frames of the same length. A wrong one costs a copy.
class Landing {
 public:
  /// `room` is for what belongs to the stream whose frame, of this head, `at` is in; `rest` for all else.
  Landing(const FrameCursor& at, const FrameCursor::Head& head, std::span<char> room, std::span<char> rest);

  /// Where the next bytes go.
  [[nodiscard]] std::span<iovec> parts() noexcept { return parts_; }
  /// The `size` bytes that have come, piece by piece in their order; good as long as this lives. To be called once.
  std::vector<std::string_view> pieces(std::size_t size);

 private:
  void add(char* to, std::size_t size) { parts_.push_back({to, size}); }

  std::vector<FrameCursor::Head> heads_;    ///< those that came
  std::vector<FrameCursor::Head> guesses_;  ///< those that were to come
  std::vector<iovec> parts_;                ///< of the room and the heads by turns; the rest is the last
  bool begins_with_head_;
  std::string misplaced_;  ///< what came otherwise than was guessed
};

}  // namespace penstock::http2
