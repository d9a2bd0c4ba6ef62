// Answers in parts over HTTP/2.
#include "grpc_fixture.hpp"

namespace penstock::grpc::testing {
namespace {

class Http2Parts : public http::testing::HttpTest {
 protected:
  static Headers ask(const std::string& method) {
    return {{":method", method}, {":scheme", "http"}, {":path", "/hold"}, {":authority", "a"}};
  }
};

TEST_F(Http2Parts, ArriveAsTheyAreMade) {
  start();
  Client client(server->port());
  const auto id = client.open(ask("GET"), true);
  http::testing::Held held = application.held.take();
  ASSERT_TRUE(held.reply.takes_parts());
  held.reply.open({200, "text/plain", {}, {}});
  held.reply.write("one,");
  EXPECT_EQ(client.wait_for_body(id, 4), "one,");
  held.reply.write("two");
  held.reply.write("", true);
  const auto answer = client.wait(id);
  EXPECT_EQ(answer.body, "one,two");
  EXPECT_EQ(answer.fields.at(":status"), "200");
  EXPECT_EQ(answer.fields.count("content-length"), 0U);
  EXPECT_EQ(answer.error, 0U);
}

TEST_F(Http2Parts, WaitForAClientThatReadsSlowly) {
  start();
  Client client(server->port());
  const auto id = client.open(ask("GET"), true);
  http::testing::Held held = application.held.take();
  held.reply.open({200, "text/plain", {}, {}});
  Signal room;
  std::size_t written = 0;
  while (written < 64 << 20 && held.reply.has_room([&room] { room.set(); })) {
    held.reply.write(std::string(10'000, 'x'));
    written += 10'000;
  }
  EXPECT_LT(written, 64U << 20);
  client.wait_for_body(id, written);
  EXPECT_TRUE(room.wait());
  held.reply.write("", true);
  EXPECT_EQ(client.wait(id).body.size(), written);
}

TEST_F(Http2Parts, ThatBreakOffAreNoWholeAnswer) {
  start();
  Client client(server->port());
  const auto id = client.open(ask("GET"), true);
  http::testing::Held held = application.held.take();
  held.reply.open({200, "text/plain", {}, {}});
  held.reply.write("one");
  held.reply.cut();
  EXPECT_NE(client.wait(id).error, 0U);
  const auto next = client.open(ask("HEAD"), true);
  held = application.held.take();
  EXPECT_FALSE(held.reply.takes_parts());
  held.reply.send(http::testing::text("the connection lives"));
  EXPECT_EQ(client.wait(next).fields.at(":status"), "200");
}

TEST_F(Http2Parts, AreGivenUpWithTheStream) {
  start();
  Client client(server->port());
  const auto id = client.open(ask("GET"), true);
  http::testing::Held held = application.held.take();
  Signal told;
  held.reply.on_abandoned([&told] { told.set(); });
  held.reply.open({200, "text/plain", {}, {}});
  client.reset(id);
  EXPECT_TRUE(told.wait());
  held.reply.write("nobody hears it", true);
}

}  // namespace
}  // namespace penstock::grpc::testing
