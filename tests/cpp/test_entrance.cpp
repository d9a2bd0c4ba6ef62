// Graphs that take each other's place behind a server, while requests come.
#include <http/entrance.hpp>

#include <deque>

#include <http/front.hpp>
#include <http/service.hpp>

#include "core_fixture.hpp"
#include "http_fixture.hpp"

namespace penstock::http::testing {
namespace {

using namespace penstock::testing;

class NumberHost final : public Host {
 public:
  Response render(const Object& body) override {
    Response response;
    response.body = std::to_string(static_cast<Thing*>(body.get())->value);
    return response;
  }
  std::shared_ptr<void> attach() override { return nullptr; }
};

/// A running graph and how its threads come to the server.
struct Stage {
  Stage(Graph graph, int workers, FakeGate& gate) {
    Executor::Options options;
    options.flush = &Front::flush;
    options.assist = [this](std::size_t loop) { service.assist(loop); };
    options.nudge = [this] { service.nudge(); };
    run.emplace(std::move(graph), workers, std::move(options), true, &gate);
  }
  Service service;
  std::optional<Running> run;
};

class EntranceTest : public CoreTest {
 protected:
  ~EntranceTest() override {
    release.set();
    server->stop();
    for (Stage& stage : stages) stage.service.detach();
    server.reset();
    front.reset();
    entrance.reset();
    stages.clear();
  }
  void serve(Graph graph, int workers = 2) {
    Stage& stage = stages.emplace_back(std::move(graph), workers, gate);
    entrance.emplace(Served{stage.run->executor});
    front.emplace(*entrance, host, Front::Options());
    server.emplace(http::Options(), *front);
    front->wake = [this](std::size_t loop) { server->wake(loop); };
    server->listen();
    stage.service.attach(*server);
    server->start();
  }
  void replace(Graph graph, int workers = 2) {
    Stage& stage = stages.emplace_back(std::move(graph), workers, gate);
    stage.service.attach(*server);
    EXPECT_TRUE(server->await_handlers(entrance->replace(Served{stage.run->executor}), 10s));
  }
  /// Waits for what the oldest graph has at hand, and ends it.
  void end_oldest() {
    EXPECT_TRUE(stages.front().run->settle());
    stages.front().run->stop();
    stages.front().service.release();
    while (!stages.front().service.idle()) std::this_thread::yield();
    stages.pop_front();
  }
  /// Both steps stamp the event with their version: 1001, 2002 and so on.
  static Graph stamped(int version) {
    Graph graph;
    graph.add("ones",
              [version](Event& event, Pass&) {
                event.body = number(version);
                return Verdict::kEmit;
              },
              {1});
    graph.add("thousands", adds(1000 * version)).responder = true;
    return graph;
  }
  /// Waits outside the gate until `release`, then answers with the version.
  Graph waiting(int version) {
    Graph graph;
    graph
        .add("step",
             [this, version](Event& event, Pass&) {
               gate.outside([this] {
                 entered.set();
                 EXPECT_TRUE(release.wait());
               });
               event.body = number(version);
               return Verdict::kEmit;
             })
        .responder = true;
    return graph;
  }
  static constexpr std::string_view kAsk = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx";

  FakeGate gate;
  NumberHost host;
  std::deque<Stage> stages;
  std::optional<Entrance> entrance;
  std::optional<Front> front;
  std::optional<Server> server;
  Signal entered, release;
};

TEST_F(EntranceTest, RequestsEnterTheGraphThatHasTakenThePlace) {
  serve(stamped(1));
  Client client(server->port());
  EXPECT_EQ(client.ask(kAsk).body, "1001");
  replace(stamped(2));
  EXPECT_EQ(client.ask(kAsk).body, "2002");
  end_oldest();
  EXPECT_EQ(client.ask(kAsk).body, "2002");
}

TEST_F(EntranceTest, ARequestInHandEndsOnItsOwnGraph) {
  serve(waiting(1));
  Client slow(server->port());
  slow.send(kAsk);
  ASSERT_TRUE(entered.wait());
  replace(stamped(2));
  EXPECT_EQ(Client(server->port()).ask(kAsk).body, "2002");
  release.set();
  EXPECT_EQ(slow.receive().body, "1");
  end_oldest();
}

/// The thread of a loop is in the former graph: its other sockets are served all the same.
TEST_F(EntranceTest, AThreadThatTheFormerGraphHoldsUpIsStoodInFor) {
  serve(waiting(1), 1);
  std::deque<Client> clients;
  for (int i = 0; i < 8; ++i) clients.emplace_back(server->port());  // some on each loop
  clients[0].send(kAsk);
  ASSERT_TRUE(entered.wait());
  replace(stamped(2), 1);
  for (std::size_t i = 1; i < clients.size(); ++i) EXPECT_EQ(clients[i].ask(kAsk).body, "2002");
  release.set();
  EXPECT_EQ(clients[0].receive().body, "1");
  end_oldest();
  for (Client& client : clients) EXPECT_EQ(client.ask(kAsk).body, "2002");
}

/// What was confirmed before a request was sent is the oldest that may answer it.
TEST_F(EntranceTest, NothingIsLostOrMixedUpWhileGraphsTakeEachOthersPlace) {
  constexpr int kGraphs = 60;
  serve(stamped(1));
  std::atomic<int> confirmed{1};
  std::atomic<bool> done{false};
  std::atomic<int> answers{0};
  std::vector<std::thread> callers;
  for (int i = 0; i < 4; ++i) {
    callers.emplace_back([&] {
      Client client(server->port());
      while (!done) {
        const int oldest = confirmed;
        const auto answer = client.ask(kAsk);
        ASSERT_EQ(answer.status, 200);
        const int stamps = std::stoi(answer.body);
        EXPECT_EQ(stamps % 1000, stamps / 1000);
        EXPECT_GE(stamps / 1000, oldest);
        EXPECT_LE(stamps / 1000, confirmed + 1);
        ++answers;
      }
    });
  }
  for (int version = 2; version <= kGraphs; ++version) {
    for (const int before = answers; answers < before + 20;) std::this_thread::yield();
    replace(stamped(version));
    confirmed = version;
    if (version % 3 == 0)  // several may still have work at once
      while (stages.size() > 1) end_oldest();
  }
  done = true;
  for (std::thread& caller : callers) caller.join();
  EXPECT_GE(answers, 20 * (kGraphs - 1));
}

}  // namespace
}  // namespace penstock::http::testing
