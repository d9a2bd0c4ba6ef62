// The front over a real server: requests on sockets, steps in C++, threads lent as Python lends them.
#include <http/front.hpp>
#include <http/service.hpp>

#include "core_fixture.hpp"
#include "http_fixture.hpp"

namespace penstock::http::testing {
namespace {

using namespace penstock::testing;

/// Renders a thing as its number.
class FakeHost final : public Host {
 public:
  explicit FakeHost(FakeGate& gate) : gate_(gate) {}
  Response render(const Object& body) override {
    EXPECT_TRUE(gate_.mine());
    Response response;
    response.content_type = "text/plain";
    response.body = std::to_string(static_cast<Thing*>(body.get())->value);
    return response;
  }
  std::shared_ptr<void> attach() override {
    ++threads;
    return {this, [this](void*) { --threads; }};
  }
  std::atomic<int> threads{0};

 private:
  FakeGate& gate_;
};

class FrontTest : public CoreTest {
 protected:
  ~FrontTest() override {
    release.set();
    stop();
  }
  void serve(Graph graph, int workers = 2, Executor::Options options = {}) {
    options.flush = &Front::flush;
    options.assist = [this](std::size_t loop) { service.assist(loop); };
    options.nudge = [this] { service.nudge(); };
    run.emplace(std::move(graph), workers, std::move(options), true, &gate);
    served.executor = run->executor;
    entrance.emplace(std::exchange(served, {}));
    front.emplace(*entrance, host, front_options);
    server.emplace(http::Options{}, *front);
    front->wake = [this](std::size_t loop) { server->wake(loop); };
    server->listen();
    service.attach(*server);
    server->start();
  }
  void stop() {
    if (!server) return;
    service.detach();
    server.reset();
    EXPECT_EQ(host.threads, 0);
    front.reset();
    entrance.reset();
    run.reset();
  }
  Client connect() const { return Client(server->port()); }
  static std::string post(std::string_view body, std::string_view headers = "", std::string_view path = "/") {
    return "POST " + std::string(path) + " HTTP/1.1\r\nHost: a\r\n" + std::string(headers) +
           "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + std::string(body);
  }
  static std::string get(std::string_view path) { return "GET " + std::string(path) + " HTTP/1.1\r\nHost: a\r\n\r\n"; }
  Client::Answer ask(std::string_view request) const { return connect().ask(request); }
  static std::string text_of(const Event& event) {
    return event.body.bytes() == nullptr ? std::string() : *event.body.bytes()->data;
  }
  /// Answers with the length of the body.
  static Apply measures() {
    return [](Event& event, Pass&) {
      event.body = number(static_cast<int>(text_of(event).size()));
      return Verdict::kEmit;
    };
  }
  /// A body "wait" keeps the step outside the gate until `release`; counts what has been started.
  Apply waits() {
    return [this](Event& event, Pass&) {
      ++started;
      if (text_of(event) == "wait") {
        gate.outside([this] {
          entered.set();
          EXPECT_TRUE(release.wait());
        });
      }
      event.body = number(1);
      return Verdict::kEmit;
    };
  }
  static Graph with(Apply apply) {
    Graph graph;
    graph.add("step", std::move(apply)).responder = true;
    return graph;
  }

  FakeGate gate;
  FakeHost host{gate};
  Service service;
  Front::Options front_options;
  Served served;  ///< how the graph is served; its executor is `run`'s
  std::optional<Running> run;
  std::optional<Entrance> entrance;
  std::optional<Front> front;
  std::optional<Server> server;
  Signal entered, release;
  std::atomic<int> started{0};
};

TEST_F(FrontTest, AnObjectIsRenderedByTheHost) {
  serve(with(measures()));
  const auto answer = ask(post("12345"));
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.body, "5");
  EXPECT_NE(answer.head.find("text/plain"), std::string::npos);
}

TEST_F(FrontTest, TensorsGoInAndComeOut) {
  served.model_prefix = "/v2/models";
  serve(with([](Event& event, Pass& pass) {
    const auto request = event.body.request();
    if (!request) {
      pass.failure = Failure{"", 400, "TypeError", "no tensors", {}};
      return Verdict::kFail;
    }
    auto response = std::make_shared<InferResponse>();
    response->model_name = "m";
    response->outputs = request->inputs;
    response->outputs[0].name = "y";
    event.body = Payload(std::shared_ptr<const InferResponse>(std::move(response)));
    return Verdict::kEmit;
  }));
  const std::string body = R"({"inputs":[{"name":"x","shape":[2],"datatype":"FP32","data":[1.5,2]}]})";
  const auto answer = ask(post(body, "Content-Type: application/json\r\n", "/v2/models/m/infer"));
  EXPECT_EQ(answer.status, 200);
  EXPECT_NE(answer.head.find("application/json"), std::string::npos);
  EXPECT_NE(answer.body.find(R"("name":"y")"), std::string::npos) << answer.body;
  EXPECT_NE(answer.body.find("[1.5,2"), std::string::npos) << answer.body;
  EXPECT_EQ(ask(post(body, "Content-Type: application/json\r\n", "/other")).status, 400) << "only below the prefix";
}

TEST_F(FrontTest, TensorsThatAreWrongAreRefusedBeforeAStepSeesThem) {
  served.model_prefix = "/v2/models";
  serve(with(waits()));
  const std::string body = R"({"inputs":[{"name":"x","shape":[3],"datatype":"FP32","data":[1.5,2]}]})";
  const auto answer = ask(post(body, "Content-Type: application/json\r\n", "/v2/models/m/infer"));
  EXPECT_EQ(answer.status, 400);
  EXPECT_NE(answer.body.find("error"), std::string::npos);
  EXPECT_EQ(started, 0);
}

TEST_F(FrontTest, AFilteredEventAnswersWithoutABody) {
  serve(with([](Event&, Pass&) { return Verdict::kDrop; }));
  const auto answer = ask(post("x"));
  EXPECT_EQ(answer.status, 204);
  EXPECT_EQ(answer.body, "");
}

TEST_F(FrontTest, AFailureAnswersWithItsStatus) {
  serve(with([](Event& event, Pass& pass) {
    const bool missing = text_of(event) == "missing";
    pass.failure = missing ? Failure{"", 404, "", "no such model", {}} : Failure{"", 500, "ValueError", "bad", {}};
    return Verdict::kFail;
  }));
  const auto missing = ask(post("missing"));
  EXPECT_EQ(missing.status, 404);
  EXPECT_EQ(missing.body, R"({"error": "no such model"})");
  const auto broken = ask(post("broken"));
  EXPECT_EQ(broken.status, 500);
  EXPECT_EQ(broken.body, R"({"error": "step 'step': ValueError: bad"})");
}

TEST_F(FrontTest, AFullGraphSaysWhenToComeAgain) {
  Executor::Options options;
  options.max_events = 1;
  serve(with(waits()), 2, std::move(options));
  auto first = connect();
  first.send(post("wait"));
  ASSERT_TRUE(entered.wait());
  const auto refused = ask(post("x"));
  EXPECT_EQ(refused.status, 503);
  EXPECT_NE(refused.head.find("Retry-After: 1\r\n"), std::string::npos);
  EXPECT_EQ(run->executor->refused(), 1u);
  EXPECT_EQ(ask(post("broken", "X-Penstock-Timeout-Ms: soon\r\n")).status, 503) << "it is not looked at";
  release.set();
  EXPECT_EQ(first.receive().status, 200);
}

TEST_F(FrontTest, TheClientSetsItsDeadline) {
  serve(with(waits()));
  auto first = connect();
  first.send(post("wait"));
  ASSERT_TRUE(entered.wait());
  EXPECT_EQ(ask(post("queued", "X-Penstock-Timeout-Ms: 20\r\n")).status, 504);
  for (const char* wrong : {"0", "-1", "1.5", "soon", "86400001", ""})
    EXPECT_EQ(ask(post("x", "X-Penstock-Timeout-Ms: " + std::string(wrong) + "\r\n")).status, 400) << wrong;
  release.set();
  EXPECT_EQ(first.receive().status, 200) << "it set none";
  EXPECT_EQ(started, 1);
}

TEST_F(FrontTest, HealthIsAnsweredWhileAStepSpinsInsideTheGate) {
  Signal spinning;
  std::atomic<bool> stop_spinning{false};
  serve(with([&](Event& event, Pass&) {
    spinning.set();
    while (!stop_spinning) {
    }
    event.body = number(1);
    return Verdict::kEmit;
  }));
  auto busy = connect();
  busy.send(post("x"));
  ASSERT_TRUE(spinning.wait());
  EXPECT_EQ(ask(get("/v2/health/live")).body, R"({"live":true})");
  EXPECT_EQ(ask(get("/v2/health/ready")).status, 200);
  front->set_ready(false);
  EXPECT_EQ(ask(get("/v2/health/ready")).status, 503);
  EXPECT_EQ(ask(post("x", "", "/v2/health/live")).status, 405);
  stop_spinning = true;
  EXPECT_EQ(busy.receive().status, 200);
}

TEST_F(FrontTest, AClientThatLeavesCancelsWhatIsQueued) {
  serve(with(waits()));
  auto first = connect();
  first.send(post("wait"));
  ASSERT_TRUE(entered.wait());
  {
    auto leaves = connect();
    leaves.send(post("queued"));
    while (run->executor->in_flight() < 2) std::this_thread::yield();
    leaves.reset();
  }
  const TimePoint patience = Clock::now() + 10s;
  while (server->connections() > 1 && Clock::now() < patience) std::this_thread::yield();
  release.set();
  EXPECT_EQ(first.receive().status, 200);
  EXPECT_TRUE(run->settle());
  EXPECT_EQ(started, 1);
}

TEST_F(FrontTest, AGraphWithoutResponderAnswersWithTheIdAtOnce) {
  served.responds = false;
  Graph graph;
  std::string id;
  graph.add("step", [&](Event& event, Pass& pass) {
    id = event.envelope->id;
    return waits()(event, pass);
  });
  serve(std::move(graph));
  const auto answer = ask(post("wait"));
  EXPECT_EQ(answer.status, 200);
  ASSERT_TRUE(entered.wait());
  EXPECT_FALSE(release.is_set()) << "the step is still at it";
  release.set();
  EXPECT_TRUE(run->settle());
  EXPECT_EQ(answer.body, "{\"id\":\"" + id + "\"}");
}

TEST_F(FrontTest, OtherGetCallsOfTheProtocolGoToTheFrontend) {
  Graph graph = with(measures());
  graph
      .add("frontend",
           [](Event& event, Pass&) {
             EXPECT_EQ(event.envelope->path, "/v2/models/m?full");
             event.body = number(77);
             return Verdict::kEmit;
           })
      .responder = true;
  served.frontend = 1;
  serve(std::move(graph));
  EXPECT_EQ(ask(get("/v2/models/m?full")).body, "77");
  EXPECT_EQ(ask(get("/v20")).body, "0") << "not of the protocol";
  EXPECT_EQ(ask(get("/")).body, "0") << "not a browser's";
  EXPECT_EQ(ask(post("abc", "", "/v2/models/m")).body, "3");
}

TEST_F(FrontTest, APathIsDecodedUnlessANameOfTheProtocolsWouldEndElsewhere) {
  std::string path;
  serve(with([&path](Event& event, Pass&) {
    path = event.envelope->path;
    event.body = number(0);
    return Verdict::kEmit;
  }));
  const auto path_of = [&](std::string_view sent) {
    ask(post("a", "", sent));
    return path;
  };
  EXPECT_EQ(path_of("/v2/models/a%20b/infer"), "/v2/models/a b/infer");
  for (const char* sent : {"/v2/models/org%2Fm/infer", "/v2/models/a%3Fb%20c/infer", "/v2/models/a%25b/infer"})
    EXPECT_EQ(path_of(sent), sent);
  EXPECT_EQ(path_of("/own/a%2Fb?x=%2F"), "/own/a/b?x=%2F");
}

TEST_F(FrontTest, MetricsAndABrowsersFirstPageGoToTheFrontend) {
  Graph graph = with(measures());
  graph
      .add("frontend",
           [](Event& event, Pass&) {
             event.body = number(event.envelope->path == "/" ? 1 : 2);
             return Verdict::kEmit;
           })
      .responder = true;
  served.frontend = 1;
  serve(std::move(graph));
  EXPECT_EQ(ask(get("/metrics")).body, "2");
  EXPECT_EQ(ask("GET / HTTP/1.1\r\nHost: a\r\nAccept: text/html,*/*;q=0.8\r\n\r\n").body, "1");
  EXPECT_EQ(ask(post("abc", "Accept: text/html\r\n")).body, "3");
}

TEST_F(FrontTest, ADrainAnswersWhatHasCome) {
  serve(with(waits()));
  auto client = connect();
  client.send(post("wait"));
  ASSERT_TRUE(entered.wait());
  EXPECT_FALSE(server->drain(20ms));
  release.set();
  EXPECT_TRUE(server->drain(10s));
  const auto answer = client.receive();
  EXPECT_EQ(answer.status, 200);
  EXPECT_NE(answer.head.find("Connection: close\r\n"), std::string::npos);
}

TEST_F(FrontTest, AServerThatStopsLeavesTheGraphToOthers) {
  serve(with(waits()));
  auto client = connect();
  client.send(post("wait"));
  ASSERT_TRUE(entered.wait());
  // Its thread is in the step, another helps: both must be back before the server goes.
  EXPECT_EQ(ask(get("/v2/health/live")).status, 200);
  std::thread stopping([this] { service.detach(); });
  release.set();
  stopping.join();
  server.reset();
  client.receive();  // whether the answer or the end came first
  EXPECT_TRUE(client.ended());
  EXPECT_FALSE(run->call(Payload(Bytes{std::make_shared<const std::string>("x"), false, true})).failure);
  front.reset();
  entrance.reset();
  run.reset();
}

}  // namespace
}  // namespace penstock::http::testing
