#include <atomic>
#include <future>
#include <thread>

#include "http_fixture.hpp"

namespace penstock::http::testing {
namespace {

using namespace std::chrono_literals;

constexpr const char* kEcho = "GET /echo HTTP/1.1\r\nHost: a\r\n\r\n";
constexpr const char* kHold = "GET /hold HTTP/1.1\r\nHost: a\r\n\r\n";

TEST_F(HttpTest, AConnectionServesOneRequestAfterAnother) {
  start();
  auto client = connect();
  for (int i = 0; i < 1000; ++i) ASSERT_EQ(client.ask(kEcho).body, "GET /echo?|");
}

TEST_F(HttpTest, AnswersLeaveInTheOrderOfTheRequests) {
  start();
  auto client = connect();
  std::string requests;
  for (int i = 0; i < 20; ++i) requests += "GET /hold/" + std::to_string(i) + " HTTP/1.1\r\nHost: a\r\n\r\n";
  client.send(requests);
  std::vector<Held> held;
  for (int i = 0; i < 20; ++i) held.push_back(application.held.take());
  for (std::size_t i = held.size(); i > 0; --i) held[i - 1].reply.send(text(std::string(held[i - 1].request.path())));
  for (int i = 0; i < 20; ++i) EXPECT_EQ(client.receive().body, "/hold/" + std::to_string(i));
}

TEST_F(HttpTest, MorePipelinedRequestsThanAllowedWaitTheirTurn) {
  options.limits.pipelined = 4;
  start();
  auto client = connect();
  std::string requests;
  for (int i = 0; i < 500; ++i) requests += kHold;
  client.send(requests);
  std::vector<Held> first;
  for (int i = 0; i < 4; ++i) first.push_back(application.held.take());
  auto other = connect();
  EXPECT_EQ(other.ask(kEcho).status, 200);
  EXPECT_TRUE(application.held.empty());
  for (Held& held : first) held.reply.send(text("first"));
  for (int i = 4; i < 500; ++i) application.held.take().reply.send(text("later"));
  for (int i = 0; i < 500; ++i) ASSERT_EQ(client.receive().body, i < 4 ? "first" : "later");
}

TEST_F(HttpTest, AReplyMaySendFromAnyThread) {
  start();
  std::vector<std::thread> answerers;
  for (int i = 0; i < 2; ++i)
    answerers.emplace_back([this] {
      for (int n = 0; n < 200; ++n) application.held.take().reply.send(text("there"));
    });
  std::vector<std::thread> clients;
  for (int i = 0; i < 4; ++i)
    clients.emplace_back([this] {
      auto client = connect();
      for (int n = 0; n < 100; ++n) ASSERT_EQ(client.ask(kHold).body, "there");
    });
  for (std::thread& thread : clients) thread.join();
  for (std::thread& thread : answerers) thread.join();
}

TEST_F(HttpTest, ALargeAnswerToASlowReaderArrivesWhole) {
  start();
  auto client = connect();
  client.send(std::string(kHold) + kEcho);
  const auto memory = std::make_shared<std::string>(40'000'000, 'z');
  application.held.take().reply.send({200, "", {}, Body(memory, *memory)});
  EXPECT_EQ(client.receive().body, *memory);
  EXPECT_EQ(client.receive().body, "GET /echo?|");
}

TEST_F(HttpTest, ASharedBodyIsReleasedOnceItIsWritten) {
  start();
  auto client = connect();
  client.send(kHold);
  auto released = std::make_shared<std::promise<void>>();
  std::future<void> done = released->get_future();
  std::shared_ptr<const void> owner(new int, [released](const int* last) {
    delete last;
    released->set_value();
  });
  application.held.take().reply.send({200, "", {}, Body(std::move(owner), "shared")});
  EXPECT_EQ(client.receive().body, "shared");
  EXPECT_EQ(done.wait_for(10s), std::future_status::ready);
}

TEST_F(HttpTest, AHeadIsAnsweredWithoutItsBody) {
  start();
  auto client = connect();
  client.send("HEAD /echo HTTP/1.1\r\nHost: a\r\n\r\n");
  const auto answer = client.receive(true);
  EXPECT_NE(answer.head.find("Content-Length: 12\r\n"), std::string::npos) << answer.head;
  EXPECT_EQ(client.ask(kEcho).body, "GET /echo?|");
}

TEST_F(HttpTest, NoContentHasNoLength) {
  start();
  auto client = connect();
  client.send(kHold);
  application.held.take().reply.send(text("", 204));
  const auto answer = client.receive();
  EXPECT_EQ(answer.status, 204);
  EXPECT_EQ(answer.head.find("Content-Length"), std::string::npos);
  EXPECT_EQ(client.ask(kEcho).status, 200);
}

TEST_F(HttpTest, AHeaderCannotStartAnother) {
  start();
  auto client = connect();
  client.send(kHold);
  Response response = text("x");
  response.headers = {{"X-A", "1\r\nX-B: 2"}, {"Content-Length", "99"}, {"Bad Name", "1"}, {"X-C", "3"}};
  application.held.take().reply.send(std::move(response));
  const auto answer = client.receive();
  EXPECT_EQ(answer.head.find("\r\nX-B"), std::string::npos);
  EXPECT_EQ(answer.head.find("99"), std::string::npos);
  EXPECT_EQ(answer.head.find("Bad"), std::string::npos);
  EXPECT_NE(answer.head.find("\r\nX-C: 3\r\n"), std::string::npos);
}

TEST_F(HttpTest, TheClientDecidesWhetherTheConnectionStays) {
  start();
  auto closing = connect();
  EXPECT_EQ(closing.ask("GET /echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").status, 200);
  EXPECT_TRUE(closing.ended());
  auto old = connect();
  EXPECT_EQ(old.ask("GET /echo HTTP/1.0\r\n\r\n").head.substr(0, 15), "HTTP/1.0 200 OK");
  EXPECT_TRUE(old.ended());
  auto kept = connect();
  for (int i = 0; i < 2; ++i)
    EXPECT_NE(kept.ask("GET /echo HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").head.find("keep-alive"),
              std::string::npos);
}

TEST_F(HttpTest, ARequestNobodyAnswersGetsAnError) {
  start();
  auto client = connect();
  EXPECT_EQ(client.ask("GET /drop HTTP/1.1\r\nHost: a\r\n\r\n").status, 500);
  EXPECT_EQ(client.ask("GET /throw HTTP/1.1\r\nHost: a\r\n\r\n").status, 500);
  EXPECT_EQ(client.ask(kEcho).status, 200);
}

TEST_F(HttpTest, ALeavingClientIsNoticedByThoseWhoWorkForIt) {
  start();
  for (const bool hard : {false, true}) {
    auto client = connect();
    client.send(kHold);
    Held held = application.held.take();
    EXPECT_FALSE(held.reply.abandoned());
    std::promise<void> gone;
    held.reply.on_abandoned([&gone] { gone.set_value(); });
    if (hard) {
      client.reset();
    } else {
      client.close();
    }
    ASSERT_EQ(gone.get_future().wait_for(10s), std::future_status::ready);
    EXPECT_TRUE(held.reply.abandoned());
    held.reply.send(text("too late"));
  }
}

TEST_F(HttpTest, AClientThatHasClosedItsSendingSideGetsItsAnswers) {
  start();
  for (const std::string_view request :
       {std::string_view(kHold), std::string_view("GET /hold HTTP/1.0\r\n\r\n"),
        std::string_view("GET /hold HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")}) {
    auto client = connect();
    client.send(request);
    Held held = application.held.take();
    client.half_close();
    EXPECT_EQ(ask(kEcho).status, 200);
    EXPECT_FALSE(held.reply.abandoned());
    held.reply.send(text("the answer"));
    const std::string all = client.rest();
    EXPECT_EQ(all.find("HTTP/1."), 0u) << all;
    EXPECT_EQ(all.find("HTTP/1.", 1), std::string::npos) << all;
    EXPECT_EQ(all.substr(all.size() - 14), "\r\n\r\nthe answer");
  }
}

TEST_F(HttpTest, PipelinedRequestsBeforeTheEndAreAllAnswered) {
  options.limits.pipelined = 4;
  start();
  auto client = connect();
  std::string requests;
  for (int i = 0; i < 50; ++i) requests += kHold;
  client.send(requests + "GET /ha");
  client.half_close();
  for (int i = 0; i < 50; ++i) application.held.take().reply.send(text(std::to_string(i)));
  for (int i = 0; i < 50; ++i) ASSERT_EQ(client.receive().body, std::to_string(i));
  EXPECT_EQ(client.receive().status, 400);
  EXPECT_TRUE(client.ended());
}

TEST_F(HttpTest, AClientThatGoesAfterItHasClosedItsSendingSideIsNoticed) {
  start();
  auto client = connect();
  client.send(std::string(kHold) + std::string(kHold));
  Held first = application.held.take();
  Held second = application.held.take();
  std::promise<void> gone;
  second.reply.on_abandoned([&gone] { gone.set_value(); });
  client.half_close();
  EXPECT_EQ(ask(kEcho).status, 200);
  client.close();
  first.reply.send(text("nobody hears it"));
  ASSERT_EQ(gone.get_future().wait_for(10s), std::future_status::ready);
}

TEST_F(HttpTest, ASlowHeadIsCutOff) {
  options.limits.header_timeout = 40ms;
  start();
  auto client = connect();
  EXPECT_EQ(client.ask("GET / HT").status, 408);
  EXPECT_TRUE(client.ended());
}

TEST_F(HttpTest, ASlowBodyIsCutOff) {
  options.limits.body_timeout = 40ms;
  start();
  auto client = connect();
  EXPECT_EQ(client.ask("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 50\r\n\r\nab").status, 408);
  EXPECT_TRUE(client.ended());
  auto chunks = connect();
  EXPECT_EQ(chunks.ask("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na").status, 408);
}

TEST_F(HttpTest, ALargeBodyMayComeInPiecesWithPauses) {
  start();
  const std::string body(3'000'000, 'b');
  auto client = connect();
  client.send("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3000000\r\n\r\n");
  std::string_view rest = body;
  for (const std::size_t size : {1U, 40'000U, 100'000U, 500'000U, 1'000'000U, 1U}) {
    client.send(rest.substr(0, size));
    rest.remove_prefix(size);
    auto other = connect();  // so that the server has come by
    EXPECT_EQ(other.ask("GET /now HTTP/1.1\r\nHost: a\r\n\r\n").status, 200);
  }
  EXPECT_EQ(client.ask(rest).body, "POST /echo?|" + body);
}

TEST_F(HttpTest, ALargeBodyThatStopsComingIsCutOff) {
  options.limits.body_timeout = 40ms;
  options.limits.body_rate = 10'000'000;
  start();
  auto client = connect();
  client.send("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3000000\r\n\r\n");
  EXPECT_EQ(client.ask(std::string(100'000, 'b')).status, 408);
}

TEST_F(HttpTest, AnIdleConnectionIsClosedSilentlyAndABusyOneIsNot) {
  options.limits.idle_timeout = 40ms;
  start();
  auto busy = connect();
  busy.send(kHold);
  Held held = application.held.take();
  auto fresh = connect();
  EXPECT_TRUE(fresh.ended());
  auto used = connect();
  EXPECT_EQ(used.ask(kEcho).status, 200);
  EXPECT_TRUE(used.ended());
  held.reply.send(text("late"));
  EXPECT_EQ(busy.receive().body, "late");
}

TEST_F(HttpTest, OneConnectionTooManyIsTurnedAway) {
  options.limits.connections = 2;
  start();
  auto first = connect();
  auto second = connect();
  EXPECT_EQ(first.ask(kEcho).status, 200);
  EXPECT_EQ(second.ask(kEcho).status, 200);
  auto third = connect();
  const auto answer = third.ask(kEcho);
  EXPECT_EQ(answer.status, 503);
  EXPECT_NE(answer.head.find("Retry-After: "), std::string::npos);
  EXPECT_TRUE(third.ended());
  EXPECT_EQ(first.ask(kEcho).status, 200);
}

}  // namespace
}  // namespace penstock::http::testing
