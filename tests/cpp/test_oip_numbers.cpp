// Numbers of tensors in JSON: every text is read as the language itself reads it, and nothing but JSON is read.
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <penstock/oip_json.hpp>

namespace penstock {
namespace {

std::string request(const std::string& type, std::size_t count, const std::string& data) {
  return R"({"inputs":[{"name":"x","shape":[)" + std::to_string(count) + R"(],"datatype":")" + type + R"(","data":[)" +
         data + "]}]}";
}

template <class T>
std::vector<T> read(const std::string& type, const std::vector<std::string>& numbers) {
  std::string data;
  for (const std::string& number : numbers) data += (data.empty() ? "" : ",") + number;
  std::string text = request(type, numbers.size(), data);
  const auto decoded = decode_infer_request(text);
  std::vector<T> values(numbers.size());
  const Tensor& tensor = decoded.value().inputs.at(0);
  EXPECT_EQ(tensor.size, values.size() * sizeof(T));
  std::memcpy(values.data(), tensor.data, tensor.size);
  return values;
}

void expect_as_the_language_reads_them(const std::vector<std::string>& numbers) {
  const std::vector<double> doubles = read<double>("FP64", numbers);
  const std::vector<float> floats = read<float>("FP32", numbers);
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    const double right = std::strtod(numbers[i].c_str(), nullptr);
    EXPECT_EQ(doubles[i], right) << numbers[i];
    EXPECT_EQ(std::signbit(doubles[i]), std::signbit(right)) << numbers[i];
    EXPECT_EQ(floats[i], static_cast<float>(right)) << numbers[i];
  }
}

std::string printed(const char* format, double number) {
  char text[64];
  std::snprintf(text, sizeof text, format, number);
  return text;
}

TEST(NumbersTest, AreReadAsTheLanguageReadsThem) {
  std::mt19937_64 random(1);
  std::normal_distribution<double> normal;
  std::vector<std::string> numbers{"0",    "-0",    "0.0",   "-0.0",  "1",       "-1",   "10",
                                   "1e0",  "1E+2",  "1e-5",  "0e0",   "0.1e-3",  "1e38", "3.4028234e38",
                                   "1e37", "1e-45", "1e-46", "1e-60", "1.5e-400"};
  for (int i = 0; i < 20000; ++i) {
    const double number = normal(random);
    for (const char* format : {"%.7f", "%.9g", "%.17g", "%.16g", "%.3f", "%.25f", "%.0f"})
      numbers.push_back(printed(format, number));
    numbers.push_back(printed("%.17g", static_cast<double>(static_cast<float>(number))));
    numbers.push_back(printed("%.9g", std::ldexp(number, static_cast<int>(random() % 250) - 125)));
  }
  expect_as_the_language_reads_them(numbers);
}

TEST(NumbersTest, NextToTheMiddleBetweenTwoFloatsAreRoundedRightly) {
  std::mt19937_64 random(2);
  std::vector<std::string> numbers;
  for (int i = 0; i < 20000; ++i) {
    const auto number = std::ldexp(static_cast<float>(random() >> 40), static_cast<int>(random() % 24) - 24);
    const double middle = (static_cast<double>(number) + std::nextafter(number, 1e9F)) / 2;
    for (const double close : {middle, std::nextafter(middle, 0.0), std::nextafter(middle, 1e9)})
      for (const char* format : {"%.17g", "%.16f", "%.18f", "%.30f"}) numbers.push_back(printed(format, close));
  }
  expect_as_the_language_reads_them(numbers);
}

TEST(NumbersTest, AreJsonOrRefused) {
  for (const std::string type : {"FP32", "FP64", "INT32", "UINT8", "BOOL"})
    for (const std::string text : {"1.",  "1.e3", ".5",    "01",    "-01",  "00",  "+1",   "-",   "--1",      "1e",
                                   "1e+", "1.5e", "1.5.2", "1-",    "0x10", "inf", "nan",  "NaN", "Infinity", "1_0",
                                   "1f",  "True", "Null",  "\"1\"", "{}",   "1 2", "1,,2", "1,",  ",1",       ","}) {
      std::string body = request(type, 1, text);
      EXPECT_THROW(decode_infer_request(body), BadRequest) << type << " " << text;
    }
  for (const std::string text : {"1}", "[1}", "1]]", "[1", "{]"}) {
    std::string body = request("FP32", 1, text);
    EXPECT_THROW(decode_infer_request(body), BadRequest) << text;
  }
}

TEST(NumbersTest, MayHaveSpaceAroundThem) {
  std::string text = request("INT32", 3, " 1 ,\n\t2 , 3\r\n");
  const auto decoded = decode_infer_request(text);
  std::int32_t values[3];
  std::memcpy(values, decoded.value().inputs.at(0).data, sizeof values);
  EXPECT_EQ((std::vector<std::int32_t>(values, values + 3)), (std::vector<std::int32_t>{1, 2, 3}));
}

TEST(NumbersTest, BytesBehindJsonOfAnyLengthAreUsedInPlace) {
  for (std::size_t spaces = 0; spaces < 8; ++spaces) {
    const std::string json =
        R"({"inputs":[{"name":"x","shape":[1],"datatype":"FP64","parameters":{"binary_data_size":8}}]})" +
        std::string(spaces, ' ');
    const double sent = 2.5;
    std::string body = json;
    body.append(reinterpret_cast<const char*>(&sent), sizeof sent);
    AnswerTerms terms;
    const InferRequest request = decode_binary_request(std::move(body), json.size(), terms);
    const Tensor& tensor = request.inputs.at(0);
    double got = 0;
    std::memcpy(&got, tensor.data, sizeof got);
    EXPECT_EQ(got, sent);
    const auto* whole = static_cast<const std::string*>(tensor.storage.get());
    const std::string_view bytes(reinterpret_cast<const char*>(tensor.data), tensor.size);
    EXPECT_TRUE(bytes.data() > whole->data() && bytes.data() + 8 == whole->data() + whole->size());
  }
}

}  // namespace
}  // namespace penstock
