#include <http/compression.hpp>

#include <gtest/gtest.h>

namespace penstock::http {
namespace {

constexpr std::size_t kLimit = 1 << 20;

std::string sample() {
  std::string text;
  for (int i = 0; i < 5000; ++i) text += std::to_string(i * 7919) + ",";
  return text;
}

TEST(CompressionTest, WhatIsPackedUnpacks) {
  for (const Coding coding : {Coding::kGzip, Coding::kDeflate}) {
    for (const std::string& text : {std::string(), std::string("a"), sample()}) {
      std::string body = pack(text, coding);
      ASSERT_EQ(unpack(body, coding, kLimit), Unpacked::kDone);
      EXPECT_EQ(body, text);
    }
  }
}

TEST(CompressionTest, DeflateWithoutItsWrappingIsRead) {
  const std::string packed = pack(sample(), Coding::kDeflate);
  std::string bare = packed.substr(2, packed.size() - 6);
  ASSERT_EQ(unpack(bare, Coding::kDeflate, kLimit), Unpacked::kDone);
  EXPECT_EQ(bare, sample());
}

TEST(CompressionTest, ABombIsRefusedAtTheLimit) {
  const std::string zeros(64 << 20, '\0');
  std::string bomb = pack(zeros, Coding::kGzip);
  const std::size_t size = bomb.size();
  ASSERT_LT(size, std::size_t{1} << 20);
  EXPECT_EQ(unpack(bomb, Coding::kGzip, kLimit), Unpacked::kTooLarge);
  EXPECT_EQ(bomb.size(), size);  // it is as it was
}

TEST(CompressionTest, TheLimitItselfIsAllowed) {
  for (const std::size_t size : {kLimit - 1, kLimit, kLimit + 1}) {
    std::string body = pack(std::string(size, 'x'), Coding::kGzip);
    EXPECT_EQ(unpack(body, Coding::kGzip, kLimit), size > kLimit ? Unpacked::kTooLarge : Unpacked::kDone);
  }
}

TEST(CompressionTest, WhatIsBrokenIsToldFromWhatIsLarge) {
  const std::string packed = pack(sample(), Coding::kGzip);
  for (std::string broken : {std::string("{}"), std::string(), packed.substr(0, packed.size() / 2), packed + "more",
                             packed.substr(0, 100) + "xxxx" + packed.substr(104)})
    EXPECT_EQ(unpack(broken, Coding::kGzip, kLimit), Unpacked::kMalformed);
}

TEST(CompressionTest, GzipMayHaveSeveralMembers) {
  const std::string one = pack(sample(), Coding::kGzip);
  const std::string none = pack("", Coding::kGzip);
  std::string body = one + none + one + pack("end", Coding::kGzip);
  ASSERT_EQ(unpack(body, Coding::kGzip, kLimit), Unpacked::kDone);
  EXPECT_EQ(body, sample() + sample() + "end");
  const std::string half = pack(std::string(kLimit / 2, 'x'), Coding::kGzip);
  std::string full = half + half;
  EXPECT_EQ(unpack(full, Coding::kGzip, kLimit), Unpacked::kDone);
  std::string larger = half + half + pack("x", Coding::kGzip);
  EXPECT_EQ(unpack(larger, Coding::kGzip, kLimit), Unpacked::kTooLarge) << "the limit is that of the sum";
  const std::string deflated = pack("a", Coding::kDeflate);
  std::string twice = deflated + deflated;
  EXPECT_EQ(unpack(twice, Coding::kDeflate, kLimit), Unpacked::kMalformed);
}

TEST(CompressionTest, CodingsAreNamed) {
  EXPECT_EQ(coding_from(""), Coding::kIdentity);
  EXPECT_EQ(coding_from(" GZip "), Coding::kGzip);
  EXPECT_EQ(coding_from("deflate"), Coding::kDeflate);
  EXPECT_EQ(coding_from("br"), std::nullopt);
  EXPECT_EQ(coding_from("gzip, gzip"), std::nullopt);
}

TEST(CompressionTest, TheClientsFavouriteIsChosen) {
  EXPECT_EQ(chosen_coding(""), Coding::kIdentity);
  EXPECT_EQ(chosen_coding("identity"), Coding::kIdentity);
  EXPECT_EQ(chosen_coding("gzip, deflate, br"), Coding::kGzip);
  EXPECT_EQ(chosen_coding("deflate"), Coding::kDeflate);
  EXPECT_EQ(chosen_coding("gzip;q=0.3, deflate;q=0.8"), Coding::kDeflate);
  EXPECT_EQ(chosen_coding("gzip;q=0"), Coding::kIdentity);
  EXPECT_EQ(chosen_coding("*"), Coding::kGzip);
  EXPECT_EQ(chosen_coding("gzip;q=0, *;q=0.5"), Coding::kDeflate);
  EXPECT_EQ(chosen_coding(";;,,=,q"), Coding::kIdentity);
}

}  // namespace
}  // namespace penstock::http
