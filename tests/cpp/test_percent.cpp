#include <penstock/percent.hpp>

#include <gtest/gtest.h>

namespace penstock {
namespace {

TEST(Percent, SignsAreDecodedOnce) {
  EXPECT_EQ(percent_decoded("org%2Fm%2525 a"), "org/m%25 a");
  EXPECT_EQ(percent_decoded("%c3%A4"), "\xC3\xA4");
  for (const char* wrong : {"%", "%2", "a%zz", "%0d%0a", "%00", "%7F", "%1f"})
    EXPECT_EQ(percent_decoded(wrong), std::nullopt) << wrong;
}

TEST(Percent, ANameIsOnePartOfAPath) {
  EXPECT_EQ(as_path_part("org/m"), "org%2Fm");
  EXPECT_EQ(as_path_part("m-1.x_\xC3\xA4"), "m-1.x_\xC3\xA4");
  for (const char* name : {"a/b", "?", "#", "100%", "%2F", "plain"})
    EXPECT_EQ(percent_decoded(as_path_part(name)), name);
}

}  // namespace
}  // namespace penstock
