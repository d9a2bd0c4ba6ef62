// Requests and responses whose tensors are bytes behind the JSON.
#include <penstock/halves.hpp>
#include <penstock/oip_json.hpp>

#include <cmath>
#include <cstring>

#include <gtest/gtest.h>

namespace penstock {
namespace {

template <class T>
std::string raw(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

std::string input(const std::string& type, const std::string& shape, std::size_t size, const std::string& name = "x") {
  return R"({"name":")" + name + R"(","shape":)" + shape + R"(,"datatype":")" + type +
         R"(","parameters":{"binary_data_size":)" + std::to_string(size) + "}}";
}

InferRequest decode(const std::string& json, const std::string& tail, AnswerTerms* terms = nullptr) {
  AnswerTerms spare;
  return decode_binary_request(json + tail, json.size(), terms == nullptr ? spare : *terms);
}

InferRequest decode_one(const std::string& type, const std::string& shape, const std::string& bytes) {
  return decode("{\"inputs\":[" + input(type, shape, bytes.size()) + "]}", bytes);
}

std::string refusal(const std::string& type, const std::string& shape, const std::string& bytes) {
  try {
    decode_one(type, shape, bytes);
    return "";
  } catch (const BadRequest& error) {
    return error.what();
  }
}

std::string refusal(const std::string& json, const std::string& tail) {
  try {
    decode(json, tail);
    return "";
  } catch (const BadRequest& error) {
    return error.what();
  }
}

template <class T>
std::vector<T> values(const Tensor& tensor) {
  std::vector<T> read(tensor.size / sizeof(T));
  if (!read.empty()) std::memcpy(read.data(), tensor.data, tensor.size);
  return read;
}

TEST(DecodeBinaryTest, EveryTypeIsRead) {
  EXPECT_EQ(values<float>(decode_one("FP32", "[3]", raw<float>({1, -2.5F, 3})).inputs.at(0)),
            (std::vector<float>{1, -2.5F, 3}));
  for (const auto& [type, size] : std::vector<std::pair<std::string, std::size_t>>{{"BOOL", 1},
                                                                                   {"UINT8", 1},
                                                                                   {"INT8", 1},
                                                                                   {"UINT16", 2},
                                                                                   {"INT16", 2},
                                                                                   {"FP16", 2},
                                                                                   {"BF16", 2},
                                                                                   {"UINT32", 4},
                                                                                   {"INT32", 4},
                                                                                   {"FP32", 4},
                                                                                   {"UINT64", 8},
                                                                                   {"INT64", 8},
                                                                                   {"FP64", 8}}) {
    std::string bytes(2 * size, '\1');
    const Tensor tensor = decode_one(type, "[2,1]", bytes).inputs.at(0);
    EXPECT_EQ(name_of(tensor.type), type);
    EXPECT_EQ(values<char>(tensor), std::vector<char>(bytes.begin(), bytes.end())) << type;
    EXPECT_EQ(refusal(type, "[2,1]", bytes + "x"), "input 'x': " + std::to_string(2 * size + 1) +
                                                       " bytes, but shape [2,1] needs " + std::to_string(2 * size));
  }
}

TEST(DecodeBinaryTest, ElementsAreAlignedWhateverThePlace) {
  for (std::size_t spaces = 0; spaces < 8; ++spaces) {
    const std::string json = "{\"inputs\":[" + input("FP64", "[2]", 16) + "]}" + std::string(spaces, ' ');
    const Tensor tensor = decode(json, raw<double>({1.5, 2.5})).inputs.at(0);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(tensor.data) % alignof(double), 0U);
    EXPECT_EQ(values<double>(tensor), (std::vector<double>{1.5, 2.5}));
  }
}

TEST(DecodeBinaryTest, AlignedBytesStayWhereTheyCame) {
  const std::string json =
      "{\"inputs\":[" + input("UINT8", "[4096]", 4096, "a") + "," + input("UINT8", "[4096]", 4096, "b") + "]}";
  const InferRequest read = decode(json, std::string(8192, 'x'));
  EXPECT_EQ(read.inputs.at(1).data, read.inputs.at(0).data + 4096);
}

TEST(DecodeBinaryTest, JsonAndBytesMix) {
  const std::string json = R"({"id":"7","inputs":[)" + input("FP32", "[1]", 4, "a") +
                           R"(,{"name":"b","shape":[2],"datatype":"INT32","data":[5,6]},)" +
                           input("BYTES", "[2]", 11, "c") + "]}";
  const InferRequest read = decode(json, raw<float>({9}) + std::string("\2\0\0\0\xff\0\1\0\0\0z", 11));
  EXPECT_EQ(read.id, "7");
  EXPECT_EQ(values<float>(read.inputs.at(0)), std::vector<float>{9});
  EXPECT_EQ(values<std::int32_t>(read.inputs.at(1)), (std::vector<std::int32_t>{5, 6}));
  EXPECT_EQ(read.inputs.at(2).strings, (std::vector<std::string>{std::string("\xff\0", 2), "z"}));
}

TEST(DecodeBinaryTest, EmptyTensorsAreRead) {
  EXPECT_EQ(decode_one("FP32", "[0,4]", "").inputs.at(0).size, 0U);
  EXPECT_TRUE(decode_one("BYTES", "[0]", "").inputs.at(0).strings.empty());
  EXPECT_EQ(decode_one("BYTES", "[1]", std::string(4, '\0')).inputs.at(0).strings, std::vector<std::string>{""});
  EXPECT_EQ(values<float>(decode_one("FP32", "[]", raw<float>({3})).inputs.at(0)), std::vector<float>{3});
}

TEST(DecodeBinaryTest, StringsThatDoNotFitAreRefused) {
  const std::string one("\1\0\0\0a", 5);
  EXPECT_EQ(refusal("BYTES", "[2]", one), "input 'x': 5 bytes are too few for shape [2]");
  EXPECT_EQ(refusal("BYTES", "[1]", one + one), "input 'x': there are more than the 1 values of shape [1]");
  EXPECT_EQ(refusal("BYTES", "[1]", one.substr(0, 4)), "input 'x': element 0 is longer than its bytes");
  EXPECT_EQ(refusal("BYTES", "[1]", std::string("\xff\xff\xff\xff") + "a"),
            "input 'x': element 0 is longer than its bytes");
  EXPECT_EQ(refusal("BYTES", "[1]", one + "a"), "input 'x': there are more than the 1 values of shape [1]");
  EXPECT_EQ(refusal("BYTES", "[1099511627776]", one), "input 'x': 5 bytes are too few for shape [1099511627776]");
}

TEST(DecodeBinaryTest, WhatIsWrongIsSaid) {
  EXPECT_EQ(refusal("FP32", "[4294967296,4294967296]", "abcd"),
            "input 'x': shape [4294967296,4294967296] is too large");
  EXPECT_EQ(refusal("FP32", "[0,9223372036854775807]", ""), "input 'x': shape [0,9223372036854775807] is too large");
  EXPECT_EQ(refusal("FP32", "[-1]", "abcd"), "input 'x': shape must hold integers that are not negative");
  EXPECT_EQ(refusal("BOOL", "[2]", std::string("\1\2")), "input 'x': the bytes of a BOOL are 0 or 1");
  EXPECT_EQ(refusal("{\"inputs\":[" + input("FP32", "[1]", 5) + "]}", "abcd"),
            "input 'x': its binary_data_size is 5, but only 4 bytes are left");
  EXPECT_EQ(refusal("{\"inputs\":[" + input("FP32", "[1]", 4) + "]}", "abcdefg"),
            "3 bytes follow those of the inputs' binary_data_size");
  EXPECT_EQ(refusal(R"({"inputs":[{"name":"x","shape":[1],"datatype":"FP32","data":[1],)"
                    R"("parameters":{"binary_data_size":4}}]})",
                    "abcd"),
            "input 'x': data and binary_data_size exclude each other");
  EXPECT_EQ(refusal(R"({"inputs":[{"name":"x","shape":[1],"datatype":"FP32","parameters":{"binary_data_size":-4}}]})",
                    "abcd"),
            "input 'x': parameter 'binary_data_size' must be a whole number that is not negative");
  EXPECT_EQ(refusal(R"({"inputs":[{"name":"x","shape":[1],"datatype":"FP32",)"
                    R"("parameters":{"shared_memory_region":"r"}}]})",
                    ""),
            "input 'x': shared memory is not offered, send the data");
  EXPECT_EQ(refusal("{\"inputs\":[[1]]}", ""), "inputs must be tensors with name, shape and datatype");
  EXPECT_EQ(refusal("{\"inputs\":[" + input("FP32", "[1]", 4) + "," + input("FP32", "[1]", 4) + "]}", "abcdefgh"),
            "two inputs have the name 'x'");
  EXPECT_NE(refusal("{\"inputs\":", "abcd"), "");
  AnswerTerms terms;
  EXPECT_THROW(decode_binary_request("{}", 3, terms), BadRequest);
}

TEST(DecodeBinaryTest, JsonAloneHasNoBytes) {
  std::string body = "{\"inputs\":[" + input("FP32", "[1]", 4) + "]}";
  EXPECT_THROW(decode_infer_request(body), BadRequest);
}

TEST(TermsTest, WhatTheClientWantsIsRead) {
  std::string body =
      R"({"inputs":[{"name":"x","shape":[1],"datatype":"FP32","data":[1]}],)"
      R"("parameters":{"binary_data_output":true,"timeout":1500,"priority":1,"mine":{"a":[1,"\u00e9"]}},)"
      R"("outputs":[{"name":"b"},{"name":"a","parameters":{"binary_data":false,"classification":2}}]})";
  AnswerTerms terms;
  const auto read = decode_infer_request(body, &terms);
  ASSERT_TRUE(read);
  EXPECT_EQ(read->parameters, "{\"timeout\":1500,\"priority\":1,\"mine\":{\"a\":[1,\"\xc3\xa9\"]}}");
  EXPECT_EQ(read->outputs, (std::vector<std::string>{"b", "a"}));
  EXPECT_TRUE(terms.binary);
  EXPECT_EQ(terms.timeout, std::chrono::microseconds(1500));
  EXPECT_EQ(terms.outputs.at(0).binary, std::nullopt);
  EXPECT_EQ(terms.outputs.at(1).binary, false);
  EXPECT_EQ(terms.outputs.at(1).classes, 2U);
}

TEST(TermsTest, ReservedParametersHaveTheirTypes) {
  const auto refused = [](const std::string& parameters) {
    std::string body =
        R"({"inputs":[{"name":"x","shape":[1],"datatype":"FP32","data":[1]}],"parameters":)" + parameters + "}";
    try {
      AnswerTerms terms;
      decode_infer_request(body, &terms);
      return std::string();
    } catch (const BadRequest& error) {
      return std::string(error.what());
    }
  };
  EXPECT_EQ(refused(R"({"timeout":-1})"), "parameter 'timeout' must be a whole number that is not negative");
  EXPECT_EQ(refused(R"({"timeout":1.5})"), "parameter 'timeout' must be a whole number that is not negative");
  EXPECT_EQ(refused(R"({"priority":"high"})"), "parameter 'priority' must be a whole number that is not negative");
  EXPECT_EQ(refused(R"({"binary_data_output":1})"), "parameter 'binary_data_output' must be true or false");
  EXPECT_EQ(refused(R"({"sequence_start":1})"), "parameter 'sequence_start' must be true or false");
  EXPECT_NE(refused(R"({"sequence_id":1.5})"), "");
  EXPECT_EQ(refused(R"({"sequence_id":"a","sequence_end":true,"timeout":0})"), "");
  EXPECT_EQ(refused(R"({"sequence_id":18446744073709551615})"), "");
}

template <class T>
Tensor tensor(const std::string& name, DataType type, const std::vector<T>& from) {
  auto memory = std::make_shared<std::vector<T>>(from);
  Tensor made;
  made.name = name;
  made.type = type;
  made.shape = {static_cast<std::int64_t>(from.size())};
  made.data = reinterpret_cast<const std::byte*>(memory->data());
  made.size = from.size() * sizeof(T);
  made.storage = std::move(memory);
  return made;
}

Tensor strings(const std::string& name, std::vector<std::string> from) {
  Tensor made;
  made.name = name;
  made.type = DataType::kBytes;
  made.shape = {static_cast<std::int64_t>(from.size())};
  made.strings = std::move(from);
  return made;
}

InferResponse response() {
  return {"m", "", "", "", {tensor<float>("a", DataType::kFp32, {0.5F, 2, 1}), strings("b", {"xy", "\xff"})}};
}

TEST(EncodeBinaryTest, OutputsFollowTheJsonInOrder) {
  const EncodedResponse encoded = encode_infer_response(response(), {{}, true, {}});
  ASSERT_TRUE(encoded.json_size);
  EXPECT_EQ(encoded.body.substr(0, *encoded.json_size),
            R"({"model_name":"m","outputs":[{"name":"a","shape":[3],"datatype":"FP32","parameters":)"
            R"({"binary_data_size":12}},{"name":"b","shape":[2],"datatype":"BYTES","parameters":)"
            R"({"binary_data_size":11}}]})");
  EXPECT_EQ(encoded.body.substr(*encoded.json_size),
            raw<float>({0.5F, 2, 1}) + std::string("\2\0\0\0xy\1\0\0\0\xff", 11));
}

TEST(EncodeBinaryTest, EachOutputHasItsOwnTerms) {
  const EncodedResponse mixed = encode_infer_response(response(), {{{"b", {}, 0}, {"a", false, 0}}, true, {}});
  EXPECT_EQ(mixed.body.substr(0, mixed.json_size.value()),
            R"({"model_name":"m","outputs":[{"name":"b","shape":[2],"datatype":"BYTES","parameters":)"
            R"({"binary_data_size":11}},{"name":"a","shape":[3],"datatype":"FP32","data":[0.5,2,1]}]})");
  const EncodedResponse json = encode_infer_response(response(), {{{"a", {}, 0}}, false, {}});
  EXPECT_FALSE(json.json_size);
  EXPECT_EQ(json.body, R"({"model_name":"m","outputs":[{"name":"a","shape":[3],"datatype":"FP32","data":[0.5,2,1]}]})");
}

TEST(EncodeBinaryTest, AnOutputThatIsNotThereIsRefused) {
  try {
    encode_infer_response(response(), {{{"c", {}, 0}}, false, {}});
    FAIL();
  } catch (const BadRequest& error) {
    EXPECT_STREQ(error.what(), "the model has no output 'c', it has 'a', 'b'");
  }
}

TEST(EncodeBinaryTest, ParametersOfAnOutputAreKept) {
  InferResponse given = response();
  given.outputs.pop_back();
  given.outputs[0].parameters = R"({"unit":"kg"})";
  EXPECT_NE(encode_infer_response(given).find(R"("parameters":{"unit":"kg"},"data")"), std::string::npos);
  EXPECT_NE(encode_infer_response(given, {{}, true, {}}).body.find(R"({"binary_data_size":12,"unit":"kg"}})"),
            std::string::npos);
}

TEST(EncodeBinaryTest, TheHighestValuesAreClasses) {
  InferResponse given{"m", "", "", "", {tensor<float>("a", DataType::kFp32, {0.5F, 2, std::nanf(""), 1, 0, 2})}};
  given.outputs[0].shape = {2, 3};
  EXPECT_NE(encode_infer_response(given, {{{"a", {}, 2}}, false, {}})
                .body.find(
                    R"("shape":[2,2],"datatype":"BYTES","data":["2.000000:1","0.500000:0","2.000000:2","1.000000:0"])"),
            std::string::npos);
  EXPECT_THROW(encode_infer_response(response(), {{{"b", {}, 2}}, false, {}}), BadRequest);
  given.outputs[0].shape = {6};
  EXPECT_NE(encode_infer_response(given, {{{"a", {}, 100}}, false, {}}).body.find("\"shape\":[6]"), std::string::npos);
}

TEST(EncodeBinaryTest, HalvesGoAsFp32InJsonAndAsTheyAreInBytes) {
  const InferResponse given{
      "m", "", "", "", {tensor<std::uint16_t>("h", DataType::kFp16, {0x3C00, 0xC000, 0x0001, 0x7C00, 0x8000})}};
  EXPECT_NE(encode_infer_response(given).find(R"("datatype":"FP32","data":[1,-2,5.9604645e-08,null,-0])"),
            std::string::npos);
  EXPECT_NE(encode_infer_response(given, {{}, true, {}}).body.find(R"("datatype":"FP16")"), std::string::npos);
}

TEST(HalvesTest, BfloatsAreRoundedToTheNearest) {
  for (const float exact : {0.0F, 1.0F, -2.5F, 3.0e38F}) {
    if (bfloat_to_float(float_to_bfloat(exact)) == exact) continue;
    EXPECT_LT(std::fabs(bfloat_to_float(float_to_bfloat(exact)) / exact - 1), 0.004F);
  }
  EXPECT_EQ(float_to_bfloat(1.00390625F), 0x3F80);  // half way: the even one
  EXPECT_EQ(float_to_bfloat(1.01171875F), 0x3F82);  // half way: the even one
  EXPECT_TRUE(std::isnan(bfloat_to_float(float_to_bfloat(std::nanf("")))));
  EXPECT_TRUE(std::isinf(bfloat_to_float(float_to_bfloat(INFINITY))));
}

}  // namespace
}  // namespace penstock
