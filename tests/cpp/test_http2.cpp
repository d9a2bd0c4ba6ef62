// HTTP/2 itself: framing over real sockets, requests that are no calls, and connections that misbehave or end.
#include "grpc_fixture.hpp"

namespace penstock::grpc::testing {
namespace {

class Http2Test : public GrpcTest {
 protected:
  static Headers get(const std::string& path) {
    return {{":method", "GET"}, {":scheme", "http"}, {":path", path}, {":authority", "a"}};
  }
  static Headers post(const std::string& path) {
    return {{":method", "POST"}, {":scheme", "http"}, {":path", path}, {":authority", "a"}};
  }
  /// Answers with the body's length.
  static Graph measures() {
    return with([](Event& event, Pass&) {
      const Bytes* bytes = event.body.bytes();
      event.body = number(bytes == nullptr ? 0 : static_cast<int>(bytes->data->size()));
      return Verdict::kEmit;
    });
  }
};

TEST_F(Http2Test, RequestsAreAnsweredOnThePortOfHttp1ByPriorKnowledge) {
  serve(measures());
  Client client(server->port());
  const auto live = client.open(get("/v2/health/live"), true);
  const auto answer = client.wait(live);
  EXPECT_EQ(answer.fields.at(":status"), "200");
  EXPECT_EQ(answer.fields.at("content-type"), "application/json");
  EXPECT_EQ(answer.fields.at("content-length"), "13");
  EXPECT_EQ(answer.body, R"({"live":true})");
  const auto posted = client.open(post("/"));
  client.send(posted, std::string(300'000, 'x'));
  EXPECT_EQ(client.wait(posted).body, "300000");
  EXPECT_EQ(server->connections(), 1U);
  http::testing::Client old(server->port());
  EXPECT_EQ(old.ask("GET /v2/health/live HTTP/1.1\r\nHost: a\r\n\r\n").status, 200);
}

TEST_F(Http2Test, RequestsAndCallsShareAConnection) {
  serve(with([](Event& event, Pass& pass) {
    if (event.body.request()) return echo(event, pass);
    event.body = number(3);
    return Verdict::kEmit;
  }));
  auto client = connect();
  const auto posted = client.open(post("/"));
  client.send(posted, "x");
  EXPECT_EQ(client.wait(posted).body, "3");
  EXPECT_EQ(client.call("ModelInfer", infer_floats({1})).status(), 0);
}

TEST_F(Http2Test, AHeadIsCheckedAsThatOfHttp1) {
  server_options.limits.url_bytes = 100;
  server_options.limits.headers = 8;
  server_options.limits.body_bytes = 1000;
  serve(measures());
  auto client = connect();
  const auto status = [&client](const Headers& headers) {
    return client.wait(client.open(headers, true)).fields[":status"];
  };
  EXPECT_EQ(status(get("/" + std::string(200, 'a'))), "414");
  EXPECT_EQ(status(get("/%zz")), "400");
  Headers many = get("/");
  for (int i = 0; i < 20; ++i) many.emplace_back("x-" + std::to_string(i), "1");
  EXPECT_EQ(status(many), "431");
  Headers large = get("/");
  large.emplace_back("x-large", std::string(20'000, 'x'));
  large.emplace_back("x-larger", std::string(20'000, 'x'));
  EXPECT_EQ(status(large), "431");
  const auto posted = client.open(post("/"));
  client.send(posted, std::string(1001, 'x'));
  EXPECT_EQ(client.wait(posted).fields[":status"], "413");
  EXPECT_EQ(status(get("/v2/health/live")), "200");
}

TEST_F(Http2Test, WhoStillSendsHasTimeToReadTheAnswer) {
  server_options.limits.body_bytes = 1000;
  serve(measures());
  auto client = connect();
  const auto refused = client.open(post("/"));
  client.send(refused, std::string(1001, 'x'), false);
  EXPECT_NE(client.wait_for_body(refused, 10).find("too large"), std::string::npos);
  client.settle();
  EXPECT_FALSE(client.has_closed(refused)) << "some clients would give up the answer";
  EXPECT_EQ(client.wait(refused).error, 0u) << "but it does not stay open for ever";
}

TEST_F(Http2Test, ACallWithTooMuchMetadataIsRefusedAlone) {
  serve(with(&echo));
  auto client = connect();
  const std::string large(25'000, 'x');
  const auto refused = client.call("ModelInfer", infer_floats({1}), {{"x-large", large}, {"x-larger", large}});
  EXPECT_EQ(refused.fields.at(":status"), "200");
  EXPECT_EQ(refused.status(), 8);
  EXPECT_EQ(refused.text(), "the headers are too large");
  EXPECT_EQ(client.call("ModelInfer", infer_floats({1})).status(), 0);
}

TEST_F(Http2Test, AHeadRequestHasNoBody) {
  serve(measures());
  auto client = connect();
  Headers headers = get("/v2/health/live");
  headers[0].second = "HEAD";
  const auto answer = client.wait(client.open(headers, true));
  EXPECT_EQ(answer.fields.at("content-length"), "13");
  EXPECT_EQ(answer.body, "");
}

TEST_F(Http2Test, WithoutCallsGrpcIsRefused) {
  run.emplace(measures(), 1, Executor::Options(), true, &gate);
  entrance.emplace(http::Served{run->executor});
  rest.emplace(*entrance, host, http::Front::Options());
  server.emplace(server_options, *rest);
  server->listen();
  server->start();
  Client client(server->port());
  const auto id = client.begin("/inference.GRPCInferenceService/ServerLive");
  EXPECT_EQ(client.wait(id).fields.at(":status"), "415");
}

TEST_F(Http2Test, ManyCallsAtOnceGetTheirOwnAnswers) {
  serve(with(&echo));
  auto client = connect();
  std::vector<std::int32_t> calls;
  for (int i = 0; i < 500; ++i) {
    calls.push_back(client.begin("/inference.GRPCInferenceService/ModelInfer"));
    client.send(calls.back(), framed(infer_floats({static_cast<float>(i)}, std::to_string(i))));
  }
  for (int i = 0; i < 500; ++i) {
    const auto answer = client.wait(calls[static_cast<std::size_t>(i)]);
    ASSERT_EQ(answer.status(), 0) << answer.text();
    const Inferred inferred(answer.messages().at(0));
    EXPECT_EQ(inferred.id, std::to_string(i));
    EXPECT_EQ(inferred.floats().at(0), static_cast<float>(i));
  }
}

TEST_F(Http2Test, LargeMessagesGoBothWaysThroughSmallWindows) {
  serve(with(&echo));
  std::vector<float> values(2'000'000);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i);
  for (const std::uint32_t window : {1000U, 65535U, 16U << 20}) {
    auto client = connect(window);
    if (window == 1000U) values.resize(200'000);
    const auto answer = client.call("ModelInfer", infer_floats(values));
    ASSERT_EQ(answer.status(), 0) << answer.text();
    EXPECT_TRUE(Inferred(answer.messages().at(0)).floats() == values);
    values.resize(2'000'000);
  }
}

TEST_F(Http2Test, AnotherProtocolIsNotAnswered) {
  serve(with(&echo));
  Client client(server->grpc_port(), 65535, false);
  client.raw("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_TRUE(client.wait_for_end());
  EXPECT_EQ(call("ServerLive", "").status(), 0);
}

TEST_F(Http2Test, AConnectionThatDoesNotBeginIsClosed) {
  server_options.limits.header_timeout = std::chrono::milliseconds(50);
  serve(with(&echo));
  Client silent(server->grpc_port(), 65535, false);
  EXPECT_TRUE(silent.wait_for_end());
}

TEST_F(Http2Test, AConnectionThatWentSilentIsPingedAndLivesIfItAnswers) {
  server_options.limits.idle_timeout = std::chrono::milliseconds(50);
  serve(with(&echo));
  auto client = connect();
  EXPECT_TRUE(client.wait_for_ping());
  EXPECT_EQ(client.call("ServerLive", "").status(), 0);
}

TEST_F(Http2Test, AConnectionThatDoesNotAnswerPingsIsClosed) {
  server_options.limits.idle_timeout = std::chrono::milliseconds(50);
  serve(with(&echo));
  const auto client = connect();
  while (server->connections() == 0) std::this_thread::yield();
  while (server->connections() > 0) std::this_thread::yield();
}

TEST_F(Http2Test, AMessageThatTricklesIsCutOff) {
  server_options.limits.header_timeout = std::chrono::milliseconds(40);  // the timer looks more often
  front_options.message_timeout = std::chrono::milliseconds(50);
  serve(with(&echo));
  auto client = connect();
  const auto id = client.begin("/inference.GRPCInferenceService/ModelInfer");
  client.send(id, framed(infer_floats({1})).substr(0, 9), false);
  EXPECT_EQ(client.wait(id).status(), 4);
}

TEST_F(Http2Test, TooManyConnectionsAreTurnedAway) {
  server_options.limits.connections = 1;
  serve(with(&echo));
  auto first = connect();
  EXPECT_EQ(first.call("ServerLive", "").status(), 0);
  auto second = connect();
  EXPECT_TRUE(second.wait_for_end());
  EXPECT_EQ(first.call("ServerLive", "").status(), 0);
}

TEST_F(Http2Test, ADrainLetsCallsFinishAndTellsTheClient) {
  serve(with(waits()));
  auto client = connect();
  auto idle = connect();
  EXPECT_EQ(idle.call("ServerLive", "").status(), 0);
  const auto id = client.begin("/inference.GRPCInferenceService/ModelInfer");
  client.send(id, framed(infer_floats({4}, "wait")));
  ASSERT_TRUE(entered.wait());
  const auto watch = client.begin("/grpc.health.v1.Health/Watch");
  client.send(watch, framed(""));
  client.wait_for(watch, 1);
  bool drained = false;
  std::thread draining([&] { drained = server->drain(10s); });
  EXPECT_TRUE(client.wait_for_goaway());
  EXPECT_EQ(client.wait(watch).status(), 14);
  EXPECT_TRUE(idle.wait_for_end());
  release.set();
  const auto answer = client.wait(id);
  EXPECT_EQ(answer.status(), 0) << answer.text();
  EXPECT_TRUE(client.wait_for_end());
  draining.join();
  EXPECT_TRUE(drained);
}

TEST_F(Http2Test, ADrainDoesNotWaitForAClientThatIsSilent) {
  server_options.limits.header_timeout = std::chrono::milliseconds(40);
  serve(with(&echo));
  auto client = connect();
  EXPECT_EQ(client.call("ServerLive", "").status(), 0);
  EXPECT_TRUE(server->drain(10s));  // nobody reads what is sent to the client meanwhile
}

TEST_F(Http2Test, ADrainDoesNotWaitLongForAMessageToArrive) {
  server_options.limits.drain_grace = front_options.drain_grace = std::chrono::milliseconds(40);
  serve(with(&echo));
  auto client = connect();
  const auto call = client.begin("/inference.GRPCInferenceService/ModelInfer");
  client.send(call, framed(infer_floats({1})).substr(0, 9), false);
  const auto request = client.open({{":method", "POST"}, {":scheme", "http"}, {":path", "/"}, {":authority", "a"}});
  client.send(request, "{", false);
  EXPECT_EQ(client.call("ServerLive", "").status(), 0);
  bool drained = false;
  std::thread draining([&] { drained = server->drain(10s); });
  EXPECT_EQ(client.wait(call).status(), 14);
  EXPECT_EQ(client.wait(request).fields.at(":status"), "503");
  EXPECT_TRUE(client.wait_for_end());
  draining.join();
  EXPECT_TRUE(drained);
}

TEST_F(Http2Test, AStoppedServerAbandonsItsCalls) {
  serve(with(waits()));
  auto client = connect();
  const auto id = client.begin("/inference.GRPCInferenceService/ModelInfer");
  client.send(id, framed(infer_floats({4}, "wait")));
  ASSERT_TRUE(entered.wait());
  std::thread stopping([&] { service.detach(); });  // waits for the step that runs
  release.set();
  EXPECT_TRUE(client.wait_for_end());
  stopping.join();
  EXPECT_TRUE(run->settle());
}

TEST_F(Http2Test, ClientsComeAndGoWhileOthersAreAnswered) {
  serve(with(&echo), 2);
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 30; ++i) {
        auto client = connect();
        std::vector<std::int32_t> calls;
        for (int k = 0; k < 5; ++k) {
          calls.push_back(client.begin("/inference.GRPCInferenceService/ModelInfer"));
          client.send(calls.back(), framed(infer_floats({static_cast<float>(100 * t + i)})));
        }
        if (i % 3 == 0) {
          client.reset(calls[0]);
          continue;
        }
        for (const std::int32_t id : calls) {
          const auto answer = client.wait(id);
          if (answer.status() != 0 ||
              Inferred(answer.messages().at(0)).floats().at(0) != static_cast<float>(100 * t + i))
            ++wrong;
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
}

}  // namespace
}  // namespace penstock::grpc::testing
