#include <http2/landing.hpp>

#include <cstring>
#include <random>

#include <gtest/gtest.h>

namespace penstock::http2 {
namespace {

std::string frame(std::size_t length, char type, char flags, std::uint32_t stream, char fill) {
  std::string out;
  for (int shift = 16; shift >= 0; shift -= 8) out += static_cast<char>((length >> shift) & 0xFF);
  out += std::string({type, flags});
  for (int shift = 24; shift >= 0; shift -= 8) out += static_cast<char>((stream >> shift) & 0xFF);
  return out + std::string(length, fill);
}

/// Puts bytes into the parts as the kernel would; how many found a place.
std::size_t scatter(std::string_view bytes, std::span<iovec> parts) {
  std::size_t size = 0;
  for (const iovec& part : parts) {
    const std::size_t taken = bytes.substr(size, part.iov_len).copy(static_cast<char*>(part.iov_base), part.iov_len);
    size += taken;
  }
  return size;
}

std::string joined(const std::vector<std::string_view>& pieces) {
  std::string all;
  for (const std::string_view piece : pieces) all += piece;
  return all;
}

const std::string kGreeting = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

TEST(FrameCursor, KnowsTheDataFrameThatComesNextByteByByte) {
  FrameCursor at;
  const std::string bytes = kGreeting + frame(0, 4, 0, 0, 's') + frame(300, 0, 0, 5, 'd');
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    const bool within = i >= kGreeting.size() + 9 + 9;
    EXPECT_EQ(at.data_of(5) != nullptr, within) << i;
    EXPECT_EQ(at.data_of(7), nullptr);
    at.pass(std::string_view(bytes).substr(i, 1));
  }
  EXPECT_NE(at.data_of(5), nullptr) << "behind it, the next is guessed to be as long";
  EXPECT_EQ(at.left(), 0U);
  at.pass(std::string_view("\0", 1));
  EXPECT_EQ(at.data_of(5), nullptr) << "within a head nothing is known";
}

TEST(FrameCursor, DoesNotKnowFramesWithPadding) {
  FrameCursor at;
  at.pass(kGreeting + frame(300, 0, 8, 5, 'd'));
  EXPECT_EQ(at.data_of(5), nullptr);
}

TEST(Landing, PutsFramesOfOneLengthInPlace) {
  FrameCursor at;
  at.pass(kGreeting + frame(100, 0, 0, 1, 'a').substr(0, 9 + 40));
  std::string room(460, '-');
  std::string rest(1000, '-');
  Landing landing(at, *at.data_of(1), room, rest);
  const std::string bytes = std::string(60, 'a') + frame(100, 0, 0, 1, 'b') + frame(100, 0, 0, 1, 'c') +
                            frame(100, 0, 0, 1, 'd') + frame(100, 0, 1, 1, 'e') + frame(8, 6, 0, 0, 'p');
  const std::size_t size = scatter(bytes, landing.parts());
  ASSERT_EQ(size, bytes.size());
  EXPECT_EQ(joined(landing.pieces(size)), bytes);
  EXPECT_EQ(room, std::string(60, 'a') + std::string(100, 'b') + std::string(100, 'c') + std::string(100, 'd') +
                      std::string(100, 'e'));
}

/// Whatever comes, and wherever it is cut off, what is handed on is what came.
TEST(Landing, HandsOnWhatCameHoweverItWasGuessed) {
  std::mt19937 random(7);
  const auto below = [&random](std::size_t n) { return std::uniform_int_distribution<std::size_t>(0, n - 1)(random); };
  int landed = 0;
  for (int round = 0; round < 3000; ++round) {
    FrameCursor at;
    const std::size_t length = 1 + below(200);
    const std::string first = frame(length, 0, 0, 3, 'x');
    at.pass(kGreeting + first.substr(0, 9 + below(length + 1)));
    std::string bytes(at.left(), 'x');
    while (bytes.size() < 2000) {
      const bool other = below(12) == 0;
      bytes += frame(other ? below(300) : length, other && below(2) == 0 ? 6 : 0, below(15) == 0 ? 1 : 0,
                     other && below(2) == 0 ? 5 : 3, static_cast<char>('a' + below(26)));
    }
    std::string room(1 + below(3000), '-');
    std::string rest(1 + below(500), '-');
    Landing landing(at, *at.data_of(3), room, rest);
    const std::size_t size = scatter(std::string_view(bytes).substr(0, 1 + below(bytes.size())), landing.parts());
    const auto pieces = landing.pieces(size);
    ASSERT_EQ(joined(pieces), bytes.substr(0, size)) << round;
    for (const std::string_view piece : pieces)
      landed += static_cast<int>(piece.data() >= room.data() && piece.data() < room.data() + room.size());
  }
  EXPECT_GT(landed, 3000);
}

}  // namespace
}  // namespace penstock::http2
