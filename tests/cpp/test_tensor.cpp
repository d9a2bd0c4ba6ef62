#include <penstock/tensor.hpp>

#include <gtest/gtest.h>

namespace penstock {
namespace {

TEST(DataTypeTest, EveryTypeIsFoundByItsName) {
  for (int i = 0; i <= static_cast<int>(DataType::kBytes); ++i) {
    const auto type = static_cast<DataType>(i);
    EXPECT_EQ(data_type_from(name_of(type)), type);
  }
}

TEST(DataTypeTest, NamesAndSizesAreTheProtocols) {
  EXPECT_EQ(name_of(DataType::kFp32), "FP32");
  EXPECT_EQ(name_of(DataType::kBf16), "BF16");
  EXPECT_EQ(size_of(DataType::kUint16), 2U);
  EXPECT_EQ(size_of(DataType::kInt64), 8U);
  EXPECT_EQ(size_of(DataType::kBytes), 0U);
}

TEST(DataTypeTest, AnotherNameIsNone) {
  EXPECT_EQ(data_type_from("float32"), std::nullopt);
  EXPECT_EQ(data_type_from("fp32"), std::nullopt);
  EXPECT_EQ(data_type_from(""), std::nullopt);
}

}  // namespace
}  // namespace penstock
