#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <penstock/json_text.hpp>
#include <penstock/oip_json.hpp>

namespace penstock {
namespace {

InferRequest decode(std::string text) {
  auto request = decode_infer_request(text);
  if (!request) throw std::logic_error("not protocol-shaped");
  return std::move(*request);
}

/// What the client is told; empty if the request is taken.
std::string refusal(std::string text) {
  try {
    const auto request = decode_infer_request(text);
    return request ? "" : "not protocol-shaped";
  } catch (const BadRequest& wrong) {
    return wrong.what();
  }
}

std::string input(const std::string& type, const std::string& shape, const std::string& data) {
  return R"({"name":"x","shape":)" + shape + R"(,"datatype":")" + type + R"(","data":)" + data + "}";
}

std::string request(const std::string& inputs, const std::string& more = "") {
  return R"({"inputs":[)" + inputs + "]" + more + "}";
}

std::string one(const std::string& type, const std::string& shape, const std::string& data) {
  return request(input(type, shape, data));
}

template <class T>
std::vector<T> values(const Tensor& tensor) {
  std::vector<T> out(tensor.size / sizeof(T));
  if (!out.empty()) std::memcpy(out.data(), tensor.data, tensor.size);
  return out;
}

template <class T>
std::vector<T> decoded(const std::string& type, const std::string& shape, const std::string& data) {
  const InferRequest read = decode(one(type, shape, data));
  return values<T>(read.inputs.at(0));
}

TEST(DecodeTest, AWholeRequestIsRead) {
  const InferRequest read =
      decode(R"({"id":"a\"\u00e9\ud83d\ude00","parameters":{"k":[1,{"b":"}"}], "t":true} ,"inputs":[)"
             R"({"name":"x","shape":[2,2],"datatype":"FP32","parameters":{"p":1},"data":[1,2.5,-3e2,0.1]},)"
             R"({"name":"y","shape":[1],"datatype":"INT64","data":[9223372036854775807]}],)"
             R"("outputs":[{"name":"o","parameters":{"binary_data":false}},{"name":"p"}],"other":{"a":[null]}})");
  EXPECT_EQ(read.id, "a\"\xc3\xa9\xf0\x9f\x98\x80");
  EXPECT_EQ(read.parameters, R"({"k":[1,{"b":"}"}],"t":true})");
  EXPECT_EQ(read.outputs, (std::vector<std::string>{"o", "p"}));
  ASSERT_EQ(read.inputs.size(), 2U);
  EXPECT_EQ(read.inputs[0].name, "x");
  EXPECT_EQ(read.inputs[0].type, DataType::kFp32);
  EXPECT_EQ(read.inputs[0].shape, (std::vector<std::int64_t>{2, 2}));
  EXPECT_EQ(values<float>(read.inputs[0]), (std::vector<float>{1, 2.5F, -300, 0.1F}));
  EXPECT_EQ(values<std::int64_t>(read.inputs[1]), (std::vector<std::int64_t>{9223372036854775807}));
}

TEST(DecodeTest, WhatMayBeLeftOutMayBeNull) {
  const InferRequest read = decode(R"({"id":null,"parameters":null,"outputs":null,"inputs":[)"
                                   R"({"name":"x","shape":[1],"datatype":"FP32","parameters":null,"data":[1]}]})");
  EXPECT_EQ(read.id, "");
  EXPECT_EQ(read.parameters, "");
  EXPECT_TRUE(read.outputs.empty());
  EXPECT_EQ(values<float>(read.inputs.at(0)), std::vector<float>{1});
  for (const char* wrong : {R"("id":nul)", R"("id":nullx)", R"("parameters":nul)", R"("outputs":Null)"}) {
    std::string body =
        "{" + std::string(wrong) + R"(,"inputs":[{"name":"x","shape":[0],"datatype":"FP32","data":[]}]})";
    EXPECT_THROW(decode_infer_request(body), BadRequest) << wrong;
  }
}

TEST(DecodeTest, KeysMayComeInAnyOrder) {
  const InferRequest read =
      decode(R"({"inputs":[{"data":[[1,2],[3,4]],"datatype":"INT32","parameters":{},"name":"x","shape":[2,2]},)"
             R"({"datatype":"BOOL","d\u0061ta":[true],"shape":[1],"name":"y"}],"id":"after"})");
  EXPECT_EQ(values<std::int32_t>(read.inputs.at(0)), (std::vector<std::int32_t>{1, 2, 3, 4}));
  EXPECT_EQ(values<std::uint8_t>(read.inputs.at(1)), std::vector<std::uint8_t>{1});
  EXPECT_EQ(read.id, "after");
}

TEST(DecodeTest, NestedAndFlatDataAreTheSame) {
  const std::vector<double> expected{1, 2, 3, 4, 5, 6};
  EXPECT_EQ(decoded<double>("FP64", "[2,3]", "[1,2,3,4,5,6]"), expected);
  EXPECT_EQ(decoded<double>("FP64", "[2,3]", "[[1,2,3],[4,5,6]]"), expected);
  EXPECT_EQ(decoded<double>("FP64", "[1,2,3]", "[[[1,2,3],[4,5,6]]]"), expected);
}

TEST(DecodeTest, EmptyAndScalarTensorsAreTaken) {
  EXPECT_TRUE(decoded<float>("FP32", "[0]", "[]").empty());
  EXPECT_TRUE(decoded<float>("FP32", "[2,0]", "[[],[]]").empty());
  EXPECT_TRUE(decoded<float>("FP32", "[2,0]", "[]").empty());
  EXPECT_EQ(decoded<float>("FP32", "[]", "[7]"), std::vector<float>{7});
}

TEST(DecodeTest, EveryIntegerTypeHoldsItsRangeAndNoMore) {
  EXPECT_EQ(decoded<std::int8_t>("INT8", "[2]", "[-128,127]"), (std::vector<std::int8_t>{-128, 127}));
  EXPECT_EQ(decoded<std::uint64_t>("UINT64", "[1]", "[18446744073709551615]"),
            std::vector<std::uint64_t>{18446744073709551615U});
  for (const auto& [type, value] : std::vector<std::pair<std::string, std::string>>{{"INT8", "128"},
                                                                                    {"INT8", "-129"},
                                                                                    {"INT8", "300"},
                                                                                    {"UINT8", "256"},
                                                                                    {"UINT8", "-1"},
                                                                                    {"INT16", "32768"},
                                                                                    {"UINT16", "65536"},
                                                                                    {"INT32", "2147483648"},
                                                                                    {"UINT32", "4294967296"},
                                                                                    {"UINT32", "-1"},
                                                                                    {"INT64", "9223372036854775808"},
                                                                                    {"UINT64", "18446744073709551616"},
                                                                                    {"UINT64", "-1"},
                                                                                    {"INT32", "1.5"},
                                                                                    {"INT32", "1.0"},
                                                                                    {"INT32", "1e2"},
                                                                                    {"INT32", "true"},
                                                                                    {"INT32", "null"},
                                                                                    {"INT32", "\"1\""},
                                                                                    {"FP32", "1e39"},
                                                                                    {"FP32", "\"1\""},
                                                                                    {"FP32", "true"},
                                                                                    {"BOOL", "1"},
                                                                                    {"BOOL", "null"},
                                                                                    {"BYTES", "1"},
                                                                                    {"BYTES", "null"}})
    EXPECT_EQ(refusal(one(type, "[1]", "[" + value + "]")), "input 'x': element 0 of data is not a valid " + type)
        << value;
}

TEST(DecodeTest, NullIsNotANumberForFloatsOnly) {
  const auto read = decoded<float>("FP32", "[3]", "[1,null,2]");
  EXPECT_TRUE(std::isnan(read.at(1)));
  EXPECT_EQ(read.at(2), 2);
  EXPECT_TRUE(std::isnan(decoded<double>("FP64", "[1]", "[null]").at(0)));
}

TEST(DecodeTest, StringsAreUnescaped) {
  const InferRequest read = decode(one("BYTES", "[2,1]", R"([["a\n\u00e9"],[""]])"));
  EXPECT_EQ(read.inputs.at(0).strings, (std::vector<std::string>{"a\n\xc3\xa9", ""}));
  EXPECT_EQ(read.inputs.at(0).data, nullptr);
}

TEST(DecodeTest, ACountThatDoesNotFitTheShapeIsNamed) {
  EXPECT_EQ(refusal(one("FP32", "[2,2]", "[1,2,3,4,5]")), "input 'x': 5 values for shape [2,2]");
  EXPECT_EQ(refusal(one("FP32", "[2,2]", "[1,2,3]")), "input 'x': 3 values for shape [2,2]");
  EXPECT_EQ(refusal(one("BYTES", "[2]", R"(["a"])")), "input 'x': 1 values for shape [2]");
  EXPECT_EQ(refusal(one("FP32", "[1000000000000]", "[1]")), "input 'x': 1 values for shape [1000000000000]");
  EXPECT_EQ(refusal(one("FP32", "[4294967296,4294967296]", "[1]")),
            "input 'x': shape [4294967296,4294967296] is too large");
}

TEST(DecodeTest, NestingMustMatchTheShape) {
  for (const std::string data : {"[[1,2],[3]]", "[[1,2,3,4]]", "[[1],[2],[3],[4]]", "[[1,2],3,4]"})
    EXPECT_EQ(refusal(one("FP32", "[2,2]", data)), "input 'x': the nesting of data does not match shape [2,2]") << data;
  EXPECT_EQ(refusal(one("FP32", "[2,2]", "[1,2,[3],4]")), "input 'x': element 2 of data is not a valid FP32");
  EXPECT_EQ(refusal(one("FP32", "[2,2]", "[[[1,2]],[[3,4]]]")), "input 'x': element 0 of data is not a valid FP32");
  EXPECT_NE(refusal(one("FP32", "[1]", "[[1]]")), "");
  EXPECT_NE(refusal(one("FP32", "[]", "[[1]]")), "");
}

TEST(DecodeTest, WhatIsWrongIsSaid) {
  EXPECT_EQ(refusal(one("FP32", "[-1]", "[1]")), "input 'x': shape must hold integers that are not negative");
  EXPECT_EQ(refusal(one("FP32", "2", "[1]")), "input 'x': shape must be an array of integers");
  EXPECT_EQ(refusal(one("FP99", "[1]", "[1]")), "input 'x': unknown datatype 'FP99'");
  EXPECT_EQ(refusal(one("FP16", "[1]", "[1]")), "input 'x': FP16 cannot be sent as JSON");
  EXPECT_EQ(refusal(one("FP32", "[1]", "1")), "input 'x': data must be an array");
  EXPECT_EQ(refusal(request(R"({"name":"x","shape":[1],"datatype":"FP32"})")), "input 'x': it has no data");
  EXPECT_EQ(refusal(request(R"({"name":5,"shape":[1],"datatype":"FP32","data":[1]})")),
            "an input: name must be a string");
  EXPECT_EQ(refusal(request(input("FP32", "[1]", "[1]"), R"(,"id":5)")), "id must be a string");
  EXPECT_EQ(refusal(request(input("FP32", "[1]", "[1]"), R"(,"parameters":5)")), "parameters must be an object");
  EXPECT_EQ(refusal(request(input("FP32", "[1]", "[1]"), R"(,"outputs":{})")), "outputs must be an array");
  EXPECT_EQ(refusal(request(input("FP32", "[1]", "[1]"), R"(,"outputs":[{}])")),
            "outputs must hold objects with a name");
}

TEST(DecodeTest, TooManyOutputsAreRefused) {
  std::string outputs = R"({"name":"o"})";
  for (int i = 1; i < 1024; ++i) outputs += R"(,{"name":"o"})";
  EXPECT_EQ(refusal(request(input("FP32", "[1]", "[1]"), ",\"outputs\":[" + outputs + "]")), "");
  EXPECT_EQ(refusal(request(input("FP32", "[1]", "[1]"), ",\"outputs\":[" + outputs + R"(,{"name":"o"}])")),
            "more than 1024 outputs are asked for");
}

TEST(DecodeTest, DuplicateKeysAreRefusedEverywhere) {
  const std::string good = input("FP32", "[1]", "[1]");
  EXPECT_EQ(refusal(request(good, R"(,"id":"a","id":"b")")), "key 'id' appears twice in an object");
  EXPECT_EQ(refusal(request(good, R"(,"id":"a","i\u0064":"b")")), "key 'id' appears twice in an object");
  EXPECT_EQ(refusal(request(good, ",\"inputs\":[" + good + "]")), "key 'inputs' appears twice in an object");
  EXPECT_EQ(refusal(request(good, R"(,"parameters":{"a":1,"a":2})")), "key 'a' appears twice in an object");
  EXPECT_EQ(refusal(request(R"({"name":"x","name":"y","shape":[1],"datatype":"FP32","data":[1]})")),
            "input 'x': key 'name' appears twice in an object");
  std::string many;
  for (int i = 0; i < 100; ++i) many += "\"k" + std::to_string(i) + "\":1,";
  EXPECT_EQ(refusal(request(good, ",\"parameters\":{" + many + "\"k\":1}")), "");
  EXPECT_EQ(refusal(request(good, ",\"parameters\":{" + many + "\"k77\":1}")), "key 'k77' appears twice in an object");
}

TEST(DecodeTest, DepthIsBounded) {
  const auto nested = [](std::size_t depth) {
    return request(input("FP32", "[1]", "[1]"), ",\"x\":" + std::string(depth, '[') + std::string(depth, ']'));
  };
  EXPECT_EQ(refusal(nested(90)), "");
  EXPECT_EQ(refusal(nested(101)), "the JSON is nested more than 100 deep");
  EXPECT_NE(refusal(nested(100'000)), "");
  EXPECT_NE(refusal(one("FP32", "[1]", std::string(100'000, '[') + std::string(100'000, ']'))), "");
}

TEST(DecodeTest, WhatIsNoJsonIsRefused) {
  const std::string good = one("FP32", "[1]", "[1]");
  for (const std::string& bad : {good + "x",
                                 good + " {}",
                                 good + "]",
                                 good.substr(0, good.size() - 1),
                                 one("FP32", "[1]", "[NaN]"),
                                 one("FP32", "[1]", "[Infinity]"),
                                 one("FP32", "[2]", "[1,]"),
                                 one("FP32", "[2]", "[1 2]"),
                                 one("FP32", "[1]", "[01]"),
                                 one("FP32", "[1]", "[1.]"),
                                 one("FP32", "[1]", "[.5]"),
                                 one("FP32", "[1]", "[1e400]"),
                                 one("BYTES", "[1]", "[\"\xff\"]"),
                                 one("BYTES", "[1]", R"(["\ud800"])"),
                                 one("BYTES", "[1]", R"(["\q"])"),
                                 one("BYTES", "[1]", "[\"\n\"]"),
                                 request(input("FP32", "[1]", "[1]"), R"(,"x":[1,,2])"),
                                 request(input("FP32", "[1]", "[1]"), R"(,"x":nul)"),
                                 request(input("FP32", "[1]", "[1]"), R"(,"x":1.2.3)"),
                                 request(input("FP32", "[1]", "[1]"), R"(,"x" 1)"),
                                 std::string("{"),
                                 std::string("{]"),
                                 std::string()})
    EXPECT_NE(refusal(bad), "") << bad;
}

TEST(DecodeTest, OtherBodiesAreLeftAlone) {
  for (std::string text :
       {R"({"inputs":[[1,2],[3,4]]})", R"({"inputs":[1,2]})", R"({"inputs":[]})", R"({"inputs":5})", R"({"a":1})", "{}",
        "[1]", "5", R"({"inputs":[{"name":"x","shape":[1]}]})", R"({"inputs":[{"sepal":1.0}],"id":"a"})",
        R"({"inputs":[{"name":"x","shape":[1],"datatype":"what","data":[1]},[1]]})", R"({"id":7,"inputs":[[1]]})",
        R"({"inputs":[[1]],"inputs":[[2]]})"}) {
    const std::string before = text;
    EXPECT_FALSE(decode_infer_request(text).has_value()) << text;
    EXPECT_EQ(text, before);
  }
}

TEST(DecodeTest, ALargeRequestAndThenASmallOneAreRead) {
  std::string data = "[0";
  for (int i = 1; i < 400'000; ++i) data += "," + std::to_string(i);
  const auto read = decoded<float>("FP32", "[400000]", data + "]");
  EXPECT_EQ(read.at(399'999), 399'999.0F);
  EXPECT_EQ(decoded<float>("FP32", "[1]", "[1]"), std::vector<float>{1});
}

template <class T>
Tensor tensor(std::string name, DataType type, const std::vector<T>& from) {
  auto memory = std::make_shared<std::vector<T>>(from);
  Tensor made;
  made.name = std::move(name);
  made.type = type;
  made.shape = {static_cast<std::int64_t>(from.size())};
  made.data = reinterpret_cast<const std::byte*>(memory->data());
  made.size = from.size() * sizeof(T);
  made.storage = std::move(memory);
  return made;
}

Tensor strings(std::vector<std::string> from) {
  Tensor made;
  made.name = "s";
  made.type = DataType::kBytes;
  made.shape = {static_cast<std::int64_t>(from.size())};
  made.strings = std::move(from);
  return made;
}

std::string encoded(Tensor output) {
  const std::string text = encode_infer_response({"m", "", "", "", {std::move(output)}});
  const std::size_t at = text.find("\"data\":") + 7;
  return text.substr(at, text.size() - at - 3);
}

TEST(EncodeTest, AWholeResponseIsWritten) {
  const InferResponse response{"m\"1", "v1", "id", R"({"a":1})", {tensor<float>("y", DataType::kFp32, {1, 0.1F})}};
  EXPECT_EQ(encode_infer_response(response),
            R"({"model_name":"m\"1","model_version":"v1","id":"id","parameters":{"a":1},)"
            R"("outputs":[{"name":"y","shape":[2],"datatype":"FP32","data":[1,0.1]}]})");
  EXPECT_EQ(encode_infer_response({"m", "", "", "", {}}), R"({"model_name":"m","outputs":[]})");
}

TEST(EncodeTest, EveryTypeIsWritten) {
  EXPECT_EQ(encoded(tensor<std::int8_t>("x", DataType::kInt8, {-128, 127})), "[-128,127]");
  EXPECT_EQ(encoded(tensor<std::uint8_t>("x", DataType::kUint8, {0, 255})), "[0,255]");
  EXPECT_EQ(encoded(tensor<std::uint8_t>("x", DataType::kBool, {0, 1})), "[false,true]");
  EXPECT_EQ(encoded(tensor<std::uint64_t>("x", DataType::kUint64, {18446744073709551615U})), "[18446744073709551615]");
  EXPECT_EQ(encoded(tensor<double>("x", DataType::kFp64, {0.1, -1e300})), "[0.1,-1e+300]");
  EXPECT_EQ(encoded(tensor<float>("x", DataType::kFp32, {})), "[]");
  EXPECT_EQ(encoded(strings({"a\"\\\n\x01", "\xc3\xa9"})), "[\"a\\\"\\\\\\n\\u0001\",\"\xc3\xa9\"]");
}

TEST(EncodeTest, WhatIsNotFiniteIsNull) {
  const double infinity = std::numeric_limits<double>::infinity();
  EXPECT_EQ(encoded(tensor<double>("x", DataType::kFp64, {std::nan(""), infinity, -infinity, 1})),
            "[null,null,null,1]");
}

TEST(EncodeTest, WhatJsonCannotHoldIsAnError) { EXPECT_THROW(encoded(strings({"\xff"})), EncodeError); }

TEST(EncodeTest, NumbersReadBackTheSame) {
  std::vector<float> floats;
  std::uint32_t bits = 12345;
  for (int i = 0; i < 20'000; ++i) {
    bits = bits * 1664525U + 1013904223U;
    float number = 0;
    std::memcpy(&number, &bits, sizeof number);
    if (std::isfinite(number)) floats.push_back(number);
  }
  floats.push_back(std::numeric_limits<float>::max());
  floats.push_back(std::numeric_limits<float>::lowest());
  floats.push_back(std::numeric_limits<float>::denorm_min());
  const std::string shape = "[" + std::to_string(floats.size()) + "]";
  EXPECT_EQ(decoded<float>("FP32", shape, encoded(tensor<float>("x", DataType::kFp32, floats))), floats);
}

TEST(JsonTextTest, WhatIsNotUtf8IsReplaced) {
  std::string out;
  append_json_string(out, "a\xff\xc3\xa9\xc3");
  EXPECT_EQ(out, "\"a\xef\xbf\xbd\xc3\xa9\xef\xbf\xbd\"");
}

}  // namespace
}  // namespace penstock
