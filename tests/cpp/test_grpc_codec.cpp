// Messages to tensors and back, and what else is read from bytes, without a server.
#include <gtest/gtest.h>

#include <grpc/infer.hpp>
#include <grpc/metadata.hpp>
#include <grpc/status.hpp>
#include <penstock/oip_json.hpp>

#include "grpc_fixture.hpp"

namespace penstock::grpc::testing {
namespace {

Message message_of(std::string_view text) {
  Deframer deframer(1 << 20, Encoding::kIdentity);
  const std::string bytes = framed(text);
  std::string_view rest = bytes;
  return *deframer.take(rest);
}
InferCall decode(std::string_view text) { return decode_infer(message_of(text)); }

/// A request with one input in an InferTensorContents.
std::string typed(std::string_view type, std::vector<std::int64_t> shape, const std::string& contents) {
  std::string out;
  protozero::pbf_writer writer(out);
  writer.add_string(1, "m");
  protozero::pbf_writer input(writer, 5);
  input.add_string(1, "x");
  input.add_string(2, type.data(), type.size());
  input.add_packed_int64(3, shape.begin(), shape.end());
  input.add_bytes(5, contents);
  return out;
}
template <class T, class Add>
std::string contents_of(protozero::pbf_tag_type tag, const std::vector<T>& values, Add add) {
  std::string out;
  protozero::pbf_writer writer(out);
  (writer.*add)(tag, values.begin(), values.end());
  return out;
}
template <class T>
std::vector<T> values_of(const Tensor& tensor) {
  std::vector<T> values(tensor.size / sizeof(T));
  std::memcpy(values.data(), tensor.data, tensor.size);
  return values;
}
std::string refusal_of_message(std::string_view text) {
  try {
    decode(text);
  } catch (const BadRequest& wrong) {
    return wrong.what();
  }
  return "";
}

using Signed = std::vector<std::int32_t>;
using Writer = protozero::pbf_writer;
const auto kPackInt32 = static_cast<void (Writer::*)(unsigned, Signed::const_iterator, Signed::const_iterator)>(
    &Writer::add_packed_int32<Signed::const_iterator>);

std::string int_contents(const Signed& values) { return contents_of(2, values, kPackInt32); }

TEST(GrpcInfer, RawTensorsOfEveryTypeAreReadInPlaceIfAligned) {
  for (const auto* type : {"BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16",
                           "FP32", "FP64", "BF16"}) {
    const std::size_t size = size_of(*data_type_from(type));
    bool in_place = false;
    bool copied = false;
    for (std::size_t pad = 0; pad < 8; ++pad) {  // the name moves what comes behind it
      const std::string raw(3 * size, '\1');
      const Message message = message_of(infer_request(type, {3}, raw, std::string(pad, 'i')));
      const InferCall call = decode_infer(message);
      const Tensor& tensor = call.request.inputs.at(0);
      EXPECT_EQ(name_of(tensor.type), type);
      EXPECT_EQ(reinterpret_cast<std::uintptr_t>(tensor.data) % size, 0U);
      EXPECT_EQ(std::string(reinterpret_cast<const char*>(tensor.data), tensor.size), raw);
      const auto* at = reinterpret_cast<const char*>(tensor.data);
      const bool inside = at >= message.bytes.data() && at < message.bytes.data() + message.bytes.size();
      (inside ? in_place : copied) = true;
    }
    EXPECT_TRUE(in_place) << type;
    EXPECT_EQ(copied, size > 1) << type;
  }
}

TEST(GrpcInfer, ATensorOutlivesItsMessage) {
  std::optional<InferCall> call;
  {
    const Message message = message_of(infer_floats({1, 2, 3}));
    call = decode_infer(message);
  }
  EXPECT_EQ(values_of<float>(call->request.inputs.at(0)), (std::vector<float>{1, 2, 3}));
}

TEST(GrpcInfer, TypedContentsAreReadPackedOrNot) {
  const auto packed = decode(typed("INT16", {2, 2}, int_contents({1, -2, 300, -32768})));
  EXPECT_EQ(values_of<std::int16_t>(packed.request.inputs.at(0)), (std::vector<std::int16_t>{1, -2, 300, -32768}));
  std::string single;
  Writer writer(single);
  writer.add_float(6, 1.5F);
  writer.add_float(6, -2.5F);
  const auto loose = decode(typed("FP32", {2}, single));
  EXPECT_EQ(values_of<float>(loose.request.inputs.at(0)), (std::vector<float>{1.5, -2.5}));
  std::string strings;
  Writer text(strings);
  text.add_bytes(8, std::string("\xFF\x00", 2));
  text.add_bytes(8, "");
  EXPECT_EQ(decode(typed("BYTES", {2}, strings)).request.inputs.at(0).strings,
            (std::vector<std::string>{std::string("\xFF\x00", 2), ""}));
  std::string flags;
  Writer(flags).add_bool(1, true);
  EXPECT_EQ(values_of<std::uint8_t>(decode(typed("BOOL", {1}, flags)).request.inputs.at(0)),
            std::vector<std::uint8_t>{1});
  EXPECT_EQ(decode(typed("FP64", {0}, "")).request.inputs.at(0).size, 0U);
}

TEST(GrpcInfer, RawBytesHaveTheirLengthsInFront) {
  const std::string raw("\x02\0\0\0ab\0\0\0\0\x01\0\0\0\xFF", 15);
  const auto call = decode(infer_request("BYTES", {3, 1}, raw));
  EXPECT_EQ(call.request.inputs.at(0).strings, (std::vector<std::string>{"ab", "", "\xFF"}));
  auto response = std::make_shared<InferResponse>();
  response->outputs = call.request.inputs;
  Pieces pieces = encode_infer(response, {"m", "", "", {}, false});
  std::string whole;
  for (const http::Body& body : pieces.bodies) whole += body.bytes();
  EXPECT_EQ(Inferred(whole).raw.at(0), raw);
  EXPECT_EQ(pieces.size, whole.size());
}

TEST(GrpcInfer, WrongTensorsAreRefusedWithTheirName) {
  const std::map<std::string, std::string> cases{
      {infer_request("FP32", {3}, "1234"), "input 'x': 4 bytes, but shape [3] needs 12"},
      {infer_request("FP33", {1}, "1234"), "input 'x': unknown datatype 'FP33'"},
      {infer_request("FP32", {-1}, "1234"), "shape must hold integers that are not negative"},
      {infer_request("FP32", {1LL << 62, 1LL << 62}, ""),
       "input 'x': shape [4611686018427387904,4611686018427387904] is too large"},
      {infer_request("BOOL", {1}, "\x02"), "input 'x': the bytes of a BOOL are 0 or 1"},
      {infer_request("BYTES", {1}, std::string("\x05\0\0\0a", 5)), "input 'x': element 0 is longer than its bytes"},
      {infer_request("BYTES", {2}, std::string("\x01\0\0\0a\x01\0\0", 8)),
       "input 'x': element 1 is longer than its bytes"},
      {infer_request("BYTES", {1000}, std::string("\0\0\0\0", 4)), "input 'x': 4 bytes are too few for shape [1000]"},
      {typed("INT8", {1}, int_contents({128})), "input 'x': element 0 is not a valid INT8"},
      {typed("FP16", {1}, ""), "input 'x': FP16 can only be sent in raw_input_contents"},
      {typed("FP32", {1}, int_contents({1})), "input 'x': its values must be in fp32_contents"},
      {typed("INT32", {2}, int_contents({1, 2, 3})), "input 'x': 3 values for shape [2]"},
      {typed("INT32", {1000000}, int_contents({1})),
       "input 'x': there is too little in int_contents for shape [1000000]"},
      {typed("FP32", {2}, ""), "input 'x': there is too little in fp32_contents for shape [2]"},
  };
  for (const auto& [message, text] : cases) EXPECT_EQ(refusal_of_message(message), text);
  EXPECT_NE(refusal_of_message(infer_floats({1}) + infer_floats({1})), "");  // two inputs of a name
  std::string both = typed("INT32", {1}, int_contents({1}));
  Writer(both).add_bytes(7, "1234");
  EXPECT_EQ(refusal_of_message(both), "input 'x': contents and raw_input_contents exclude each other");
  std::string more = infer_floats({1});
  Writer(more).add_bytes(7, "1234");
  EXPECT_EQ(refusal_of_message(more), "there are 1 inputs, but 2 raw_input_contents");
  std::string name = infer_floats({1});
  Writer(name).add_string(1, "\xFF");
  EXPECT_EQ(refusal_of_message(name), "model_name is not UTF-8 text");
}

TEST(GrpcInfer, NoCutMessageIsTakenForAWholeOne) {
  std::string whole = infer_floats({1, 2, 3}, "id");
  for (std::size_t size = 0; size < whole.size(); ++size) {
    const std::string refusal = refusal_of_message(whole.substr(0, size));
    EXPECT_NE(refusal, "") << size;
  }
  for (std::size_t i = 0; i < whole.size(); ++i) {
    std::string wrong = whole;
    wrong[i] = static_cast<char>(wrong[i] ^ 0x55);
    refusal_of_message(wrong);  // whatever it says: it must not read beyond
  }
}

TEST(GrpcInfer, ParametersBecomeJson) {
  std::string message = infer_floats({1});
  const auto add = [&message](const std::string& key, auto put) {
    Writer writer(message);
    Writer entry(writer, 4);
    entry.add_string(1, key);
    Writer parameter(entry, 2);
    put(parameter);
  };
  add("a\"", [](Writer& parameter) { parameter.add_bool(1, true); });
  add("timeout", [](Writer& parameter) { parameter.add_int64(2, 1500); });
  add("s", [](Writer& parameter) { parameter.add_string(3, "\xC3\xA4"); });
  add("d", [](Writer& parameter) { parameter.add_double(4, 0.1); });
  add("n", [](Writer& parameter) { parameter.add_double(4, std::numeric_limits<double>::quiet_NaN()); });
  add("u", [](Writer& parameter) { parameter.add_uint64(5, 18446744073709551615U); });
  const InferCall call = decode(message);
  EXPECT_EQ(call.request.parameters,
            "{\"a\\\"\":true,\"timeout\":1500,\"s\":\"\xC3\xA4\",\"d\":0.1,\"n\":null,\"u\":18446744073709551615}");
  EXPECT_EQ(call.timeout, std::chrono::microseconds(1500));
}

TEST(GrpcInfer, ReservedParametersAreCheckedAsOverHttp) {
  const auto with = [](const std::string& key, auto put) {
    std::string message = infer_floats({1});
    Writer writer(message);
    Writer entry(writer, 4);
    entry.add_string(1, key);
    Writer parameter(entry, 2);
    put(parameter);
    return message;
  };
  const auto text = [](Writer& parameter) { parameter.add_string(3, "soon"); };
  EXPECT_EQ(refusal_of_message(with("timeout", text)),
            "parameter 'timeout' must be a whole number that is not negative");
  EXPECT_EQ(refusal_of_message(with("sequence_start", text)), "parameter 'sequence_start' must be true or false");
  const InferCall call =
      decode(with("triton_enable_empty_final_response", [](Writer& parameter) { parameter.add_bool(1, true); }));
  EXPECT_TRUE(call.empty_final);
  EXPECT_EQ(call.request.parameters, "") << "it is about the wire";
}

TEST(GrpcInfer, AnOutputMayBeAskedForAsClasses) {
  std::string message = infer_floats({1});
  {
    Writer writer(message);
    Writer output(writer, 6);
    output.add_string(1, "y");
    Writer entry(output, 2);
    entry.add_string(1, "classification");
    Writer parameter(entry, 2);
    parameter.add_int64(2, 2);
  }
  const InferCall call = decode(message);
  ASSERT_EQ(call.outputs.size(), 1U);
  EXPECT_EQ(call.outputs[0].name, "y");
  EXPECT_EQ(call.outputs[0].classes, 2U);
  EXPECT_EQ(call.request.outputs, std::vector<std::string>{"y"});
}

TEST(GrpcStatus, WhoIsTooBusyIsNotTakenForNotReady) {
  EXPECT_EQ(status_of(Failure{"s", 503, "Overloaded", "busy", {}}).code, Code::kResourceExhausted);
  EXPECT_EQ(status_of(Failure{"s", 503, "ModelNotReady", "loading", {}}).code, Code::kUnavailable);
  EXPECT_EQ(status_of(Failure{"s", 504, "Timeout", "late", {}}).code, Code::kDeadlineExceeded);
}

TEST(GrpcInfer, LargeOutputsAreSentFromTheirOwnMemory) {
  auto response = std::make_shared<InferResponse>();
  const std::string bytes(100'000, 'x');
  Tensor tensor;
  tensor.name = "y";
  tensor.type = DataType::kUint8;
  tensor.shape = {100'000};
  tensor.data = reinterpret_cast<const std::byte*>(bytes.data());
  tensor.size = bytes.size();
  response->outputs = {tensor, tensor};
  const std::weak_ptr<InferResponse> watched = response;
  Pieces pieces = encode_infer(std::move(response), {"m", "1", "i", {}, false});
  std::string whole;
  int shared = 0;
  for (const http::Body& body : pieces.bodies) {
    whole += body.bytes();
    if (body.bytes().data() == bytes.data()) ++shared;
  }
  EXPECT_EQ(shared, 2);
  EXPECT_FALSE(watched.expired());
  const Inferred inferred(whole);
  EXPECT_EQ(inferred.model, "m");
  EXPECT_EQ(inferred.raw, (std::vector<std::string>{bytes, bytes}));
  pieces = Pieces();
  EXPECT_TRUE(watched.expired());
}

TEST(GrpcJson, AnInferenceIsReadWhateverTheOrder) {
  const InferResponse response = infer_from_json(
      R"({"outputs":[{"datatype":"FP32","data":[[1.5],[null]],"shape":[2,1],"name":"a"},
                     {"name":"b","shape":[1],"datatype":"BYTES","data":["x"]}],"id":null,"model_name":"m"})");
  EXPECT_EQ(response.model_name, "m");
  EXPECT_EQ(response.outputs.at(0).shape, (std::vector<std::int64_t>{2, 1}));
  EXPECT_EQ(values_of<float>(response.outputs.at(0)).at(0), 1.5F);
  EXPECT_EQ(response.outputs.at(1).strings, std::vector<std::string>{"x"});
}

TEST(GrpcJson, WhatIsNoInferenceIsRefused) {
  for (const auto* text : {"", "1", "[]", "{}", "{\"outputs\":[1,2]}", "{\"outputs\":[{}]}", "{\"outputs\":3}",
                           "{\"outputs\"", R"({"outputs":[{"name":"a","shape":[2],"datatype":"INT8","data":[1]}]})",
                           R"({"outputs":[{"name":"a","shape":[1],"datatype":"INT9","data":[1]}]})"})
    EXPECT_THROW(infer_from_json(text), EncodeError) << text;
}

TEST(GrpcJson, StatisticsKeepTheirNumbers) {
  const std::string message = model_statistics(
      R"({"model_stats":[{"name":"m","version":"2","last_inference":5,"inference_count":7,"execution_count":3,
          "inference_stats":{"success":{"count":7,"ns":900}},"batch_stats":[{"batch_size":2,"compute_infer":{"count":1}}]}]})");
  EXPECT_EQ(message,
            std::string("\x0A\x1D\x0A\x01m\x12\x01"
                        "2\x18\x05\x20\x07\x28\x03\x32\x07\x0A\x05\x08\x07\x10\x84\x07\x3A\x06\x08\x02\x1A\x02\x08\x01",
                        31));
  EXPECT_THROW(model_ready("{}"), EncodeError);
  EXPECT_THROW(repository_index("{}", false), EncodeError);
  EXPECT_EQ(error_text(R"({"error":"gone"})"), "gone");
  EXPECT_EQ(error_text("plain"), "plain");
}

TEST(GrpcStatus, TimeoutsHaveOneUnit) {
  using namespace std::chrono;
  EXPECT_EQ(parse_timeout("1H"), hours(1));
  EXPECT_EQ(parse_timeout("2M"), minutes(2));
  EXPECT_EQ(parse_timeout("30S"), seconds(30));
  EXPECT_EQ(parse_timeout("250m"), milliseconds(250));
  EXPECT_EQ(parse_timeout("7u"), microseconds(7));
  EXPECT_EQ(parse_timeout("99999999n"), nanoseconds(99999999));
  EXPECT_EQ(parse_timeout("99999999H"), hours(24 * 365));
  for (const auto* wrong : {"", "S", "1", "1s", "-1S", "123456789S", "1.5S", " 1S"})
    EXPECT_FALSE(parse_timeout(wrong)) << wrong;
}

TEST(GrpcDeframer, MessagesAreCutAnywhere) {
  const std::string bytes = framed("abc") + framed("") + framed(std::string(300'000, 'x'));
  for (const std::size_t step : {1U, 2U, 7U, 100'000U}) {
    Deframer deframer(1 << 20, Encoding::kIdentity);
    std::vector<std::size_t> sizes;
    for (std::size_t at = 0; at < bytes.size(); at += step) {
      std::string_view rest = std::string_view(bytes).substr(at, step);
      while (!rest.empty())
        if (const auto message = deframer.take(rest)) sizes.push_back(message->bytes.size());
    }
    EXPECT_EQ(sizes, (std::vector<std::size_t>{3, 0, 300'000})) << step;
    EXPECT_FALSE(deframer.within());
  }
}

}  // namespace
}  // namespace penstock::grpc::testing
