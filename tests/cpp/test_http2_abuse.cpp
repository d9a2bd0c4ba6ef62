// Clients of HTTP/2 that cost much and send little.
#include "grpc_fixture.hpp"

#include <http2/control_budget.hpp>

namespace penstock::grpc::testing {
namespace {

std::string frame(char type, char flags, std::uint32_t stream, const std::string& content) {
  std::string out;
  for (int shift = 16; shift >= 0; shift -= 8) out += static_cast<char>((content.size() >> shift) & 0xFF);
  out += type;
  out += flags;
  for (int shift = 24; shift >= 0; shift -= 8) out += static_cast<char>((stream >> shift) & 0xFF);
  return out + content;
}

const std::string kPing = frame(6, 0, 0, std::string(8, 'p'));
const std::string kSettings = frame(4, 0, 0, "");
/// GET /, in HPACK.
const std::string kHead = "\x82\x86\x84\x01\x01\x61";

class Http2Abuse : public GrpcTest {
 protected:
  /// That the server ends the connection on these bytes, tells why, and serves others.
  void expect_calm_down(const std::string& bytes) {
    serve(with(&echo));
    http::testing::Client client(server->grpc_port());
    client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + kSettings + bytes);
    const std::string heard = client.rest();
    // of a GOAWAY: its length, type, flags and stream; the last of the client's streams; the reason
    const std::size_t goaway = heard.find(std::string("\0\0\x8\7\0\0\0\0\0", 9));
    ASSERT_NE(goaway, std::string::npos);
    EXPECT_EQ(heard.substr(goaway + 13, 4), std::string("\0\0\0\xb", 4)) << "ENHANCE_YOUR_CALM";
    EXPECT_EQ(call("ServerLive", "").status(), 0);
  }
  static std::string repeated(const std::string& bytes, int times) {
    std::string all;
    for (int i = 0; i < times; ++i) all += bytes;
    return all;
  }
};

TEST_F(Http2Abuse, AFloodOfPingsIsEnded) { expect_calm_down(repeated(kPing, 3000)); }

TEST_F(Http2Abuse, AFloodOfSettingsIsEnded) { expect_calm_down(repeated(kSettings, 3000)); }

TEST_F(Http2Abuse, AFloodOfResetsIsEnded) {
  std::string bytes;
  for (std::uint32_t stream = 3; stream < 6003; stream += 2)
    bytes += frame(1, 0x4, stream, kHead) + frame(3, 0, stream, std::string("\0\0\0\x8", 4));
  expect_calm_down(bytes);
}

TEST_F(Http2Abuse, AHeadWithoutEndIsCutOff) {
  server_options.limits.header_timeout = std::chrono::milliseconds(100);
  serve(with(&echo));
  auto client = connect();
  EXPECT_EQ(client.call("ServerLive", "").status(), 0);
  client.raw(frame(1, 0, 3, kHead) + repeated(frame(9, 0, 3, std::string("\x00\x01\x78\x01\x79", 5)), 20000));
  EXPECT_TRUE(client.wait_for_end());
  EXPECT_EQ(call("ServerLive", "").status(), 0);
}

TEST_F(Http2Abuse, PingsNowAndThenAndCallsGivenUpAreNoAbuse) {
  serve(with(&echo));
  auto client = connect();
  for (int i = 0; i < 1500; ++i) {
    if (i % 5 == 0) client.raw(kPing);
    const auto id = client.begin("/inference.GRPCInferenceService/ModelInfer");
    client.send(id, framed(infer_floats({1})));
    if (i % 2 == 0) client.reset(id);
    ASSERT_EQ(client.call("ModelInfer", infer_floats({2})).status(), 0) << i;
  }
}

TEST_F(Http2Abuse, APingForEachMessageThatIsStreamedIsNoAbuse) {
  serve(with(&echo));
  auto client = connect();
  const auto id = client.begin("/inference.GRPCInferenceService/ModelStreamInfer");
  for (std::size_t i = 1; i <= 1000; ++i) {
    client.raw(kPing);
    client.send(id, framed(infer_floats({1})), i == 1000);
    ASSERT_EQ(client.wait_for(id, i).size(), i);
  }
  EXPECT_EQ(client.wait(id).status(), 0);
}

TEST(ControlBudget, IsUsedUpAndGrowsBack) {
  http2::ControlBudget budget;
  auto now = http2::ControlBudget::Clock::now();
  int spent = 0;
  while (budget.spend(now)) ++spent;
  EXPECT_EQ(spent, 500);
  budget.earn();
  EXPECT_TRUE(budget.spend(now));
  EXPECT_FALSE(budget.spend(now));
  now += std::chrono::seconds(1);
  for (int i = 0; i < 33; ++i) EXPECT_TRUE(budget.spend(now));
  EXPECT_FALSE(budget.spend(now));
}

}  // namespace
}  // namespace penstock::grpc::testing
