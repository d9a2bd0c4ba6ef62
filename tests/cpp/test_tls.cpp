#include <atomic>
#include <csignal>
#include <fstream>
#include <thread>

#include "tls_fixture.hpp"

namespace penstock::http::testing {
namespace {

using namespace std::chrono_literals;
using namespace std::string_literals;

constexpr std::string_view kHttp2 = "\x02h2";
constexpr std::string_view kHttp1 = "\x08http/1.1";
constexpr std::string_view kBoth = "\x08http/1.1\x02h2";
constexpr std::string_view kOther = "\x06spdy/3";
constexpr const char* kEcho = "GET /echo HTTP/1.1\r\nHost: a\r\n\r\n";
constexpr const char* kHold = "GET /hold HTTP/1.1\r\nHost: a\r\n\r\n";

std::string post(std::string_view path, const std::string& body) {
  return "POST " + std::string(path) + " HTTP/1.1\r\nHost: a\r\nContent-Length: " + std::to_string(body.size()) +
         "\r\n\r\n" + body;
}

TEST_F(TlsTest, RequestsAreAnsweredInPrivate) {
  start();
  for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    auto client = connect({.version = version});
    ASSERT_TRUE(client.connected());
    EXPECT_EQ(client.server(), "server");
    EXPECT_EQ(client.ask(kEcho).body, "GET /echo?|");
    EXPECT_EQ(client.ask(post("/echo", "body")).body, "POST /echo?|body");
  }
  EXPECT_FALSE(connect({.version = TLS1_1_VERSION}).connected());
}

TEST_F(TlsTest, TheClientChoosesTheProtocol) {
  options.grpc_port = 0;
  start();
  EXPECT_EQ(connect({.protocols = kHttp1}).protocol(), "http/1.1");
  EXPECT_EQ(connect({.protocols = kHttp2}).protocol(), "h2");
  EXPECT_EQ(connect({.protocols = kBoth}).protocol(), "h2");
  EXPECT_FALSE(connect({.protocols = kOther}).connected());
  EXPECT_EQ(TlsClient(server->grpc_port(), {.protocols = kBoth}).protocol(), "h2");
  EXPECT_FALSE(TlsClient(server->grpc_port(), {.protocols = kHttp1}).connected());

  auto http2 = connect({.protocols = kHttp2});
  http2.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0"s);
  EXPECT_EQ(http2.read(4).back(), '\4') << "the server's settings";
  auto known = connect();  // says nothing and begins with HTTP/2
  known.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0"s);
  EXPECT_EQ(known.read(4).back(), '\4');
}

TEST_F(TlsTest, LargeBodiesGoBothWays) {
  start();
  auto client = connect();
  const std::string body(8 << 20, 'x');
  std::thread sender([&] { client.send(post("/hold", body)); });
  Held held = application.held.take();
  sender.join();
  EXPECT_EQ(held.request.body.size(), body.size());
  EXPECT_EQ(held.request.body, body);
  const auto owner = std::make_shared<const std::string>(body);
  held.reply.send({200, "text/plain", {}, Body(owner, *owner)});
  const auto answer = client.receive();  // the socket has been full meanwhile
  EXPECT_EQ(answer.body.size(), body.size());
  EXPECT_EQ(answer.body, body);
}

TEST_F(TlsTest, AnswersLeaveFromAnyThreadWhileOthersAreRead) {
  start();
  constexpr int kEach = 200;
  std::thread answerer([&] {
    for (int i = 0; i < kEach; ++i) {
      Held held = application.held.take();
      held.reply.send(text(held.request.body));
    }
  });
  auto client = connect();
  std::thread sender([&] {
    for (int i = 0; i < kEach; ++i) {
      const std::string request = post("/hold", std::string(static_cast<std::size_t>(i) * 10, 'a' + i % 26));
      client.send(request);
    }
  });
  sender.join();
  for (int i = 0; i < kEach; ++i)
    ASSERT_EQ(client.receive().body, std::string(static_cast<std::size_t>(i) * 10, 'a' + i % 26));
  answerer.join();
}

TEST_F(TlsTest, ManyPipelinedRequestsAreReadAlthoughTheSocketIsQuiet) {
  start();
  auto client = connect();
  std::string many;
  for (int i = 0; i < 200; ++i) many += kEcho;
  client.send(many);
  for (int i = 0; i < 200; ++i) ASSERT_EQ(client.receive().status, 200);
}

TEST_F(TlsTest, ARequestMayComeInOneWithTheEndOfTheHandshake) {
  start();
  TlsClient client(server->port(), {.corked = true});
  ASSERT_TRUE(client.connected());
  client.send(kEcho);
  client.uncork();
  EXPECT_EQ(client.receive().status, 200);
}

TEST_F(TlsTest, WhoSpeaksPlainlyIsToldAndLetGo) {
  options.grpc_port = 0;
  start();
  Client plain(server->port());
  const auto answer = plain.ask(kEcho);
  EXPECT_EQ(answer.status, 400);
  EXPECT_EQ(answer.body, R"({"error": "this port speaks TLS: ask with https://"})");
  plain.half_close();
  EXPECT_TRUE(plain.ended());
  Client grpc(server->grpc_port());
  grpc.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
  grpc.receive();
  grpc.half_close();
  EXPECT_TRUE(grpc.ended());
  EXPECT_EQ(connect().ask(kEcho).status, 200);
}

TEST_F(TlsTest, WhoFailsAndStaysIsCutOff) {
  options.limits.linger_timeout = 30ms;
  start();
  Client plain(server->port());
  EXPECT_EQ(plain.ask(kEcho).status, 400);
  EXPECT_TRUE(plain.ended());
  EXPECT_EQ(connect().ask(kEcho).status, 200);
}

TEST_F(TlsTest, AHandshakeThatStallsIsCutOffAndHoldsUpNobody) {
  options.limits.header_timeout = 200ms;
  options.io_threads = 1;
  start();
  Client silent(server->port());
  Client partial(server->port());
  partial.send("\x16\x03\x01\x02\x00\x01"s);  // the beginning of a record
  EXPECT_EQ(connect().ask(kEcho).status, 200);
  EXPECT_TRUE(silent.ended());
  EXPECT_TRUE(partial.ended());
}

TEST_F(TlsTest, ADrainAnswersAndSaysThatItEnds) {
  start();
  auto idle = connect();
  EXPECT_EQ(idle.ask(kEcho).status, 200);
  Client shaking(server->port());
  auto busy = connect();
  busy.send(kHold);
  Held held = application.held.take();
  EXPECT_FALSE(server->drain(20ms));
  EXPECT_TRUE(idle.ended());
  EXPECT_TRUE(shaking.ended());
  held.reply.send(text("at last"));
  EXPECT_TRUE(server->drain(10s));
  EXPECT_EQ(busy.receive().body, "at last");
  EXPECT_TRUE(busy.ended());
}

TEST_F(TlsTest, OneConnectionTooManyIsTurnedAwayInPrivate) {
  options.limits.connections = 1;
  start();
  auto first = connect();
  EXPECT_EQ(first.ask(kEcho).status, 200);
  auto second = connect();
  EXPECT_EQ(second.receive().status, 503);
  EXPECT_TRUE(second.ended());
}

TEST_F(TlsTest, ALeavingClientIsNoticed) {
  start();
  std::atomic<bool> told{false};
  {
    auto client = connect();
    client.send(kHold);
    Held held = application.held.take();
    held.reply.on_abandoned([&] { told = true; });
    client.plain.reset();
    while (!told) std::this_thread::yield();
    EXPECT_TRUE(held.reply.abandoned());
  }
  EXPECT_EQ(connect().ask(kEcho).status, 200);
}

TEST_F(TlsTest, OnlyClientsOfTheAuthorityAreLetIn) {
  const Identity friendly("friend"), stranger("stranger");
  client_ca = friendly.certificate();
  start();
  EXPECT_EQ(connect({.identity = &friendly}).ask(kEcho).status, 200);
  EXPECT_EQ(connect({.identity = &stranger}).ask(kEcho).status, 0);
  EXPECT_EQ(connect().ask(kEcho).status, 0);
  EXPECT_TRUE(application.held.empty());
}

TEST_F(TlsTest, ARenewedCertificateIsShownToThoseWhoComeLater) {
  start();
  auto before = connect();
  const Identity renewed("renewed");
  server->set_tls(show(renewed));
  EXPECT_EQ(connect().server(), "renewed");
  EXPECT_EQ(before.server(), "server");
  EXPECT_EQ(before.ask(kEcho).status, 200);
}

std::string complaint(const TlsContext::Files& files) {
  try {
    const TlsContext context(files);
    return "";
  } catch (const TlsError& error) {
    return error.what();
  }
}

TEST(TlsFiles, WhatIsWrongWithThemIsOneLine) {
  const Identity one("one"), other("other");
  const std::string nothing = one.folder() + "/nothing", empty = one.folder() + "/empty", text = one.folder() + "/text";
  std::ofstream(empty).close();
  std::ofstream(text) << "no certificate\n";
  EXPECT_EQ(complaint({one.certificate(), one.key(), one.certificate()}), "");
  EXPECT_EQ(complaint({nothing, one.key(), ""}),
            "TLS: the certificate " + nothing + " cannot be read: No such file or directory");
  EXPECT_EQ(complaint({one.folder(), one.key(), ""}),
            "TLS: the certificate " + one.folder() + " cannot be read: Is a directory");
  EXPECT_EQ(complaint({one.certificate(), empty, ""}), "TLS: the key " + empty + " cannot be read: it is empty");
  EXPECT_EQ(complaint({text, one.key(), ""}),
            "TLS: the certificate " + text + " cannot be used: there is none in it, in the form of PEM");
  EXPECT_EQ(complaint({one.certificate(), text, ""}),
            "TLS: the key " + text + " cannot be used: there is none in it, in the form of PEM");
  EXPECT_EQ(complaint({one.certificate(), one.encrypted_key(), ""}),
            "TLS: the key " + one.encrypted_key() + " is encrypted; a server has nobody to ask how to read it");
  EXPECT_EQ(complaint({one.certificate(), other.key(), ""}),
            "TLS: the key " + other.key() + " is not that of the certificate " + one.certificate());
  EXPECT_EQ(complaint({one.certificate(), one.key(), text}),
            "TLS: the authority of clients " + text + " cannot be used: there is none in it, in the form of PEM");
}

}  // namespace
}  // namespace penstock::http::testing
