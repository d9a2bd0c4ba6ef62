#include <atomic>
#include <future>
#include <system_error>
#include <thread>

#include "http_fixture.hpp"

namespace penstock::http::testing {
namespace {

using namespace std::chrono_literals;

constexpr const char* kEcho = "GET /echo HTTP/1.1\r\nHost: a\r\n\r\n";
constexpr const char* kHold = "GET /hold HTTP/1.1\r\nHost: a\r\n\r\n";

TEST_F(HttpTest, APortInUseIsSaidClearly) {
  start();
  options.port = server->port();
  Server second(options, application);
  try {
    second.listen();
    FAIL() << "it listens on a port in use";
  } catch (const std::system_error& error) {
    EXPECT_EQ(std::string(error.what()),
              "cannot listen on 127.0.0.1:" + std::to_string(options.port) + ": Address already in use");
    EXPECT_EQ(error.code(), std::errc::address_in_use);
  }
}

TEST_F(HttpTest, APortCanBeSharedByThoseWhoAgree) {
  options.reuse_port = true;
  start();
  options.port = server->port();
  Server second(options, application);
  second.listen();
  EXPECT_EQ(second.port(), server->port());
  options.reuse_port = false;
  EXPECT_THROW(Server(options, application).listen(), std::system_error);
}

TEST_F(HttpTest, AnswersAreCountedByTheirStatus) {
  start();
  EXPECT_EQ(connect().ask(kEcho).status, 200);
  EXPECT_EQ(connect().ask(kEcho).status, 200);
  EXPECT_EQ(connect().ask("GET /echo HTTP/1.1\r\n\r\n").status, 400);
  EXPECT_EQ(server->gate().answers(2), 2u);
  EXPECT_EQ(server->gate().answers(4), 1u);
  EXPECT_EQ(server->gate().answers(5), 0u);
}

TEST_F(HttpTest, ADrainWaitsForOpenRequestsAndClosesIdleConnections) {
  start();
  auto idle = connect();
  EXPECT_EQ(idle.ask(kEcho).status, 200);
  auto busy = connect();
  busy.send(kHold);
  Held held = application.held.take();
  EXPECT_FALSE(server->drain(20ms));
  EXPECT_TRUE(idle.ended());
  EXPECT_THROW(Client(server->port()), std::runtime_error);
  std::thread answer([&] { held.reply.send(text("at last")); });
  EXPECT_TRUE(server->drain(10s));
  answer.join();
  const auto last = busy.receive();
  EXPECT_EQ(last.body, "at last");
  EXPECT_NE(last.head.find("Connection: close\r\n"), std::string::npos);
  EXPECT_TRUE(busy.ended());
}

TEST_F(HttpTest, ADrainLetsARequestArriveWhole) {
  start();
  auto client = connect();
  client.send("POST /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n");
  EXPECT_EQ(client.receive().status, 100);
  EXPECT_FALSE(server->drain(10ms));
  client.send("body");
  EXPECT_EQ(client.receive().body, "POST /echo?|body");
  EXPECT_TRUE(server->drain(10s));
}

TEST_F(HttpTest, ADrainDoesNotWaitLongForARequestToArrive) {
  options.limits.drain_grace = 40ms;
  start();
  for (const std::string_view part : {"GE", "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab",
                                      "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n"}) {
    auto client = connect();
    client.send(kEcho);
    EXPECT_EQ(client.receive().status, 200);
    client.send(part);
    EXPECT_EQ(connect().ask(kEcho).status, 200);
    EXPECT_TRUE(server->drain(10s));
    const auto answer = client.receive();
    EXPECT_EQ(answer.status, 503) << part;
    EXPECT_NE(answer.head.find("Retry-After: "), std::string::npos);
    EXPECT_TRUE(client.ended());
    start();
  }
}

TEST_F(HttpTest, ADrainAnswersAllThatAreUnderWayOnAConnection) {
  start();
  auto client = connect();
  client.send(std::string(kHold) + std::string(kHold) + std::string(kHold));
  std::vector<Held> held;
  for (int i = 0; i < 3; ++i) held.push_back(application.held.take());
  EXPECT_FALSE(server->drain(10ms));
  held[2].reply.send(text("2"));
  held[0].reply.send(text("0"));
  client.send(kHold);  // it comes after the last one
  held[1].reply.send(text("1"));
  EXPECT_TRUE(server->drain(10s));
  for (int i = 0; i < 3; ++i) {
    const auto answer = client.receive();
    EXPECT_EQ(answer.body, std::to_string(i));
    EXPECT_EQ(answer.head.find("Connection: close") != std::string::npos, i == 2);
  }
  EXPECT_TRUE(client.ended());
}

TEST_F(HttpTest, StopAbandonsWhatIsUnanswered) {
  start();
  auto client = connect();
  client.send(kHold);
  Held held = application.held.take();
  bool told = false;
  held.reply.on_abandoned([&told] { told = true; });
  server->stop();
  EXPECT_TRUE(told);
  server.reset();
  EXPECT_TRUE(held.reply.abandoned());
  held.reply.send(text("nobody hears it"));
  EXPECT_TRUE(client.ended());
}

TEST_F(HttpTest, AServerThatNeverStartedStops) {
  server = std::make_unique<Server>(options, application);
  server->listen();
  Client waiting(server->port());
  server.reset();
}

/// Counts threads; work at /block keeps its thread in after_poll until it is let go.
class BlockingApplication final : public EchoApplication {
 public:
  void handle(Request&& request, Reply reply) override {
    if (request.path() == "/block") {
      reply.send(text("blocks"));
      blocks_ = true;
    } else {
      EchoApplication::handle(std::move(request), std::move(reply));
    }
  }
  void after_poll(std::size_t loop) override {
    EchoApplication::after_poll(loop);
    if (!blocks_.exchange(false)) return;
    entered.set_value();
    leave.get_future().wait();
  }
  void thread_started(std::size_t) override { ++started; }
  void thread_ending(std::size_t) override { ++ended; }

  std::promise<void> entered;
  std::promise<void> leave;
  std::atomic<int> started{0};
  std::atomic<int> ended{0};

 private:
  std::atomic<bool> blocks_{false};
};

TEST(HttpAssist, AnotherThreadServesTheLoopWhileItsOwnIsAway) {
  BlockingApplication application;
  Options options;
  options.io_threads = 1;
  Server server(options, application);
  server.listen();
  server.start();
  Client client(server.port());
  EXPECT_EQ(client.ask("GET /block HTTP/1.1\r\nHost: a\r\n\r\n").body, "blocks");
  application.entered.get_future().wait();

  EXPECT_TRUE(server.assist(0, 1ms));  // nothing to read: the time is up
  std::thread assistant([&server] { EXPECT_TRUE(server.assist(0, 60s)); });
  for (int i = 0; i < 10; ++i) EXPECT_EQ(client.ask(kEcho).body, "GET /echo?|");
  Client other(server.port());
  EXPECT_EQ(other.ask(kEcho).body, "GET /echo?|");
  application.leave.set_value();
  assistant.join();  // long before its 60 s are over: the owner is back
  EXPECT_EQ(client.ask(kEcho).body, "GET /echo?|");
}

TEST(HttpAssist, AWakeMakesTheLoopWork) {
  class Waking final : public EchoApplication {
   public:
    void after_poll(std::size_t loop) override { polled.put(loop); }
    Box<std::size_t> polled;
  } application;
  Server server({}, application);
  server.listen();
  server.start();
  server.wake(1);
  while (application.polled.take() != 1U) {
  }
}

TEST(HttpAssist, EveryThreadAnnouncesItself) {
  BlockingApplication application;
  Options options;
  options.io_threads = 3;
  {
    Server server(options, application);
    server.listen();
    server.start();
    EXPECT_EQ(server.loops(), 3U);
    for (int i = 0; i < 6; ++i) EXPECT_EQ(Client(server.port()).ask(kEcho).status, 200);
  }
  EXPECT_EQ(application.started, 3);
  EXPECT_EQ(application.ended, 3);
}

TEST(HttpAssist, ManyAssistantsAndClientsAtOnceLoseNothing) {
  EchoApplication application;
  Server server({}, application);
  server.listen();
  server.start();
  std::atomic<bool> over{false};
  std::vector<std::thread> assistants;
  for (std::size_t i = 0; i < 2; ++i)
    assistants.emplace_back([&server, &over, i] {
      while (!over) {
        server.assist(i, 1ms);
        std::this_thread::yield();
      }
    });
  std::vector<std::thread> clients;
  for (int i = 0; i < 4; ++i)
    clients.emplace_back([&server] {
      Client client(server.port());
      for (int n = 0; n < 200; ++n) ASSERT_EQ(client.ask(kEcho).body, "GET /echo?|");
    });
  for (std::thread& thread : clients) thread.join();
  over = true;
  for (std::thread& thread : assistants) thread.join();
}

}  // namespace
}  // namespace penstock::http::testing
