// Messages that come in many pieces: in whatever pieces, beside whatever else, and not all of them to the end.
#include "grpc_fixture.hpp"

namespace penstock::grpc::testing {
namespace {

constexpr auto* kInfer = "/inference.GRPCInferenceService/ModelInfer";

std::string data_frame(std::int32_t stream, std::string_view content, bool last = false) {
  std::string out;
  for (int shift = 16; shift >= 0; shift -= 8) out += static_cast<char>((content.size() >> shift) & 0xFF);
  out += std::string({0, last ? '\1' : '\0'});
  for (int shift = 24; shift >= 0; shift -= 8) out += static_cast<char>((stream >> shift) & 0xFF);
  return out.append(content);
}
const std::string kPing = std::string("\0\0\x8\6\0\0\0\0\0", 9) + "12345678";

std::vector<float> image(std::size_t size = 150'528) {
  std::vector<float> values(size);
  for (std::size_t i = 0; i < size; ++i) values[i] = static_cast<float>(i % 65'521);
  return values;
}

class Http2Large : public GrpcTest {
 protected:
  Http2Large() { front_options.message_bytes = std::size_t{64} << 20; }
  static void expect_echo(const Client::Answer& answer, const std::vector<float>& values) {
    ASSERT_EQ(answer.status(), 0) << answer.text();
    EXPECT_TRUE(Inferred(answer.messages().at(0)).floats() == values);
  }
  /// Of a call that was sent by hand, which the client does not know to have ended.
  static void expect_echo(Client& client, std::int32_t id, const std::vector<float>& values) {
    EXPECT_TRUE(Inferred(client.wait_for(id, 1).at(0)).floats() == values);
  }
};

TEST_F(Http2Large, AMessageMayComeByteByByte) {
  serve(with(&echo));
  auto client = connect();
  const auto id = client.begin(kInfer);
  const std::vector<float> values = image(100);
  const std::string message = framed(infer_floats(values));
  for (const char byte : data_frame(id, message.substr(0, 200)) + data_frame(id, message.substr(200), true))
    client.raw({&byte, 1});
  expect_echo(client, id, values);
}

TEST_F(Http2Large, AMessageMayComeInFramesOfAnyLengthWithOthersBetween) {
  serve(with(&echo));
  auto client = connect();
  const std::vector<float> values = image();
  const std::string message = framed(infer_floats(values));
  for (const std::size_t step : {16'384U, 16'000U, 64'000U, 9U}) {
    const auto id = client.begin(kInfer);
    client.settle();  // the server's window is known: nothing but what follows is sent
    std::string bytes;
    std::size_t size = step;
    for (std::size_t at = 0; at < message.size(); at += size) {
      size = step == 16'384 ? step : step + bytes.size() % 1000;
      if (bytes.size() % 7 == 0) bytes += kPing;
      bytes += data_frame(id, std::string_view(message).substr(at, size), at + size >= message.size());
      if (bytes.size() < 300'000) continue;
      client.raw(bytes);
      bytes.clear();
    }
    client.raw(bytes);
    expect_echo(client, id, values);
  }
}

TEST_F(Http2Large, MessagesMayTakeTurns) {
  serve(with(&echo));
  auto client = connect();
  const std::vector<float> one = image();
  const std::vector<float> other = image(200'000);
  std::string_view left, right;
  const std::string first = framed(infer_floats(one));
  const std::string second = framed(infer_floats(other));
  const auto a = client.begin(kInfer);
  const auto b = client.begin(kInfer);
  client.settle();
  for (left = first, right = second; !left.empty() || !right.empty();) {
    for (auto [id, unsent, step] : {std::tuple(a, &left, 40'000UL), std::tuple(b, &right, 16'384UL)}) {
      if (unsent->empty()) continue;
      const std::size_t size = std::min<std::size_t>(step, unsent->size());
      client.raw(data_frame(id, unsent->substr(0, size), size == unsent->size()));
      unsent->remove_prefix(size);
    }
  }
  expect_echo(client, b, other);
  expect_echo(client, a, one);
}

TEST_F(Http2Large, AClientThatPausesWithinAMessageIsServedMeanwhile) {
  serve(with(&echo));
  auto client = connect();
  const std::vector<float> values = image(600'000);
  const std::string message = framed(infer_floats(values));
  const auto id = client.begin(kInfer);
  client.send(id, std::string_view(message).substr(0, 500'000), false);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(client.call("ServerLive", "").status(), 0);
  client.send(id, std::string_view(message).substr(500'000, 900'000), false);
  EXPECT_EQ(client.call("ServerLive", "").status(), 0);
  client.send(id, std::string_view(message).substr(1'400'000));
  expect_echo(client.wait(id), values);
}

TEST_F(Http2Large, AMessageMayBeGivenUpInTheMiddle) {
  serve(with(&echo));
  auto client = connect();
  const std::vector<float> values = image();
  const std::string message = framed(infer_floats(values));
  for (int i = 0; i < 3; ++i) {
    const auto id = client.begin(kInfer);
    client.send(id, std::string_view(message).substr(0, 300'000), false);
    client.reset(id);
    expect_echo(client.call("ModelInfer", infer_floats(values)), values);
  }
  const auto id = client.begin(kInfer);
  client.send(id, std::string_view(message).substr(0, 300'000), false);
  client.close();
  while (server->connections() > 0) std::this_thread::yield();
}

TEST_F(Http2Large, AMessageThatEndsEarlyIsTold) {
  serve(with(&echo));
  auto client = connect();
  const auto id = client.begin(kInfer);
  client.send(id, framed(infer_floats(image())).substr(0, 200'000));
  EXPECT_EQ(client.wait(id).status(), 13);
}

TEST_F(Http2Large, MessagesOfAStreamFollowOneAnother) {
  serve(with(&echo));
  auto client = connect();
  const auto id = client.begin("/inference.GRPCInferenceService/ModelStreamInfer");
  std::string all;
  for (std::size_t i = 0; i < 12; ++i) all += framed(infer_floats(image(100'000 + 10'007 * i), std::to_string(i)));
  client.send(id, all);
  const auto messages = client.wait(id).messages();
  ASSERT_EQ(messages.size(), 12U);
  for (std::size_t i = 0; i < 12; ++i) {
    const auto inferred = Inferred::streamed(messages[i]);
    EXPECT_EQ(inferred.id, std::to_string(i));
    EXPECT_TRUE(inferred.floats() == image(100'000 + 10'007 * i)) << i;
  }
}

TEST_F(Http2Large, MoreThanAWindowComesInOneMessage) {
  serve(with(&echo));
  auto client = connect(16U << 20);
  const std::vector<float> values = image(8'000'000);
  expect_echo(client.call("ModelInfer", infer_floats(values)), values);
}

}  // namespace
}  // namespace penstock::grpc::testing
