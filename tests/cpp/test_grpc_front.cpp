// Calls over real sockets: what each of the service's methods answers, and what becomes of wrong calls.
#include <zlib.h>

#include "grpc_fixture.hpp"

namespace penstock::grpc::testing {
namespace {

std::string gzipped(std::string_view text) {
  z_stream stream{};
  EXPECT_EQ(deflateInit2(&stream, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
  std::string out(text.size() + 1024, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  EXPECT_EQ(deflate(&stream, Z_FINISH), Z_STREAM_END);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

std::string named(std::string_view name, std::string_view version = "") {
  std::string out;
  protozero::pbf_writer writer(out);
  writer.add_string(1, name.data(), name.size());
  writer.add_string(2, version.data(), version.size());
  return out;
}

TEST_F(GrpcTest, ServerIsLiveAndReadyWithoutTheGraph) {
  serve(with(&echo));
  const auto live = call("ServerLive", "");
  EXPECT_EQ(live.status(), 0);
  EXPECT_EQ(live.fields.at("content-type"), "application/grpc");
  EXPECT_EQ(live.messages().at(0), "\x08\x01");
  EXPECT_EQ(call("ServerReady", "").messages().at(0), "\x08\x01");
  front->set_ready(false);
  EXPECT_EQ(call("ServerReady", "").messages().at(0), std::string("\x08\x00", 2));
  EXPECT_EQ(call("ServerLive", "").messages().at(0), "\x08\x01");
}

TEST_F(GrpcTest, AnInferenceEntersTheGraphAsOverHttp) {
  std::string path, method, header;
  serve(with([&](Event& event, Pass& pass) {
    path = event.envelope->path;
    method = event.envelope->method;
    for (const auto& [name, value] : event.envelope->headers)
      if (name == "x-tenant") header = value;
    return echo(event, pass);
  }));
  const auto answer = call("ModelInfer", infer_floats({1.5, 2.5}, "7"), {{"x-tenant", "blue"}});
  ASSERT_EQ(answer.status(), 0) << answer.text();
  const Inferred inferred(answer.messages().at(0));
  EXPECT_EQ(inferred.model, "m");
  EXPECT_EQ(inferred.id, "7");
  EXPECT_EQ(inferred.names, std::vector<std::string>{"x"});
  EXPECT_EQ(inferred.types, std::vector<std::string>{"FP32"});
  EXPECT_EQ(inferred.shapes.at(0), (std::vector<std::int64_t>{1, 2}));
  EXPECT_EQ(inferred.floats(), (std::vector<float>{1.5, 2.5}));
  EXPECT_EQ(path, "/v2/models/m/infer");
  EXPECT_EQ(method, "POST");
  EXPECT_EQ(header, "blue");
}

TEST_F(GrpcTest, AVersionIsPartOfThePath) {
  std::string path;
  serve(with([&](Event& event, Pass& pass) {
    path = event.envelope->path;
    return echo(event, pass);
  }));
  std::string message = infer_floats({1});
  protozero::pbf_writer(message).add_string(2, "3");
  const auto answer = call("ModelInfer", message);
  EXPECT_EQ(path, "/v2/models/m/versions/3/infer");
  EXPECT_EQ(Inferred(answer.messages().at(0)).version, "3");
}

TEST_F(GrpcTest, AModelsNameCannotLeadElsewhere) {
  std::vector<std::string> paths;
  serve(with([&](Event& event, Pass& pass) {
    paths.push_back(event.envelope->path);
    return echo(event, pass);
  }));
  for (const auto* name : {"a/versions/2", "m?x", "%2e%2e", "a#b"})
    EXPECT_EQ(call("ModelInfer", infer_request("FP32", {0}, "", "", name)).status(), 0) << name;
  EXPECT_EQ(call("ModelInfer", infer_request("FP32", {0}, "", "", "")).status(), 3);
  EXPECT_EQ(paths, (std::vector<std::string>{"/v2/models/a%2Fversions%2F2/infer", "/v2/models/m%3Fx/infer",
                                             "/v2/models/%252e%252e/infer", "/v2/models/a%23b/infer"}));
}

TEST_F(GrpcTest, AFailedStepIsInternalWithItsText) {
  serve(with(fails("5% \xC3\xA4\n")));
  const auto answer = call("ModelInfer", infer_floats({1}));
  EXPECT_EQ(answer.status(), 13);
  EXPECT_EQ(answer.text(), "step 'step': ValueError: 5%25 %C3%A4%0A");
  EXPECT_EQ(answer.body, "");
}

TEST_F(GrpcTest, TheStatusOfAFailureBecomesACode) {
  const std::map<int, int> codes{{400, 3}, {401, 16}, {403, 7}, {404, 5}, {429, 8}, {501, 12}, {503, 14}, {504, 4}};
  std::atomic<int> status{0};
  serve(with([&](Event&, Pass& pass) {
    pass.failure = Failure{"", status, "", "no", {}};
    return Verdict::kFail;
  }));
  for (const auto& [http, code] : codes) {
    status = http;
    EXPECT_EQ(call("ModelInfer", infer_floats({1})).status(), code) << http;
  }
}

TEST_F(GrpcTest, AnAnswerThatTheHostRendersIsReadAsJson) {
  host.json = R"({"model_name":"n","model_version":"2","parameters":{"a":1,"b":"x"},
                  "outputs":[{"name":"y","data":[1,2],"shape":[2],"datatype":"INT64"}]})";
  serve(with([](Event& event, Pass&) {
    event.body = number(1);
    return Verdict::kEmit;
  }));
  const auto answer = call("ModelInfer", infer_floats({1}, "9"));
  ASSERT_EQ(answer.status(), 0) << answer.text();
  const Inferred inferred(answer.messages().at(0));
  EXPECT_EQ(inferred.model, "n");
  EXPECT_EQ(inferred.version, "2");
  EXPECT_EQ(inferred.id, "9");
  EXPECT_EQ(inferred.parameters, 2);
  EXPECT_EQ(inferred.raw.at(0), bytes_of<std::int64_t>({1, 2}));
}

TEST_F(GrpcTest, AnAnswerThatIsNoInferenceIsInternal) {
  serve(with([](Event& event, Pass&) {
    event.body = number(5);
    return Verdict::kEmit;
  }));
  const auto answer = call("ModelInfer", infer_floats({1}));
  EXPECT_EQ(answer.status(), 13);
  EXPECT_EQ(answer.text(), "the answer is no inference response");
}

TEST_F(GrpcTest, AnEventThatIsFilteredOutHasNoOutputs) {
  serve(with([](Event&, Pass&) { return Verdict::kDrop; }));
  const auto answer = call("ModelInfer", infer_floats({1}, "4"));
  ASSERT_EQ(answer.status(), 0) << answer.text();
  EXPECT_EQ(Inferred(answer.messages().at(0)).id, "4");
}

TEST_F(GrpcTest, OnlyTheOutputsAskedForAreSent) {
  serve(with([](Event& event, Pass& pass) {
    const auto verdict = echo(event, pass);
    auto response = *event.body.response();
    response.outputs.push_back(response.outputs.front());
    response.outputs.back().name = "z";
    event.body = Payload(std::make_shared<const InferResponse>(response));
    return verdict;
  }));
  const auto asking = [](const std::string& output) {
    std::string message = infer_floats({1});
    protozero::pbf_writer writer(message);
    protozero::pbf_writer(writer, 6).add_string(1, output);
    return message;
  };
  EXPECT_EQ(Inferred(call("ModelInfer", infer_floats({1})).messages().at(0)).names.size(), 2U);
  EXPECT_EQ(Inferred(call("ModelInfer", asking("z")).messages().at(0)).names, std::vector<std::string>{"z"});
  const auto wrong = call("ModelInfer", asking("q"));
  EXPECT_EQ(wrong.status(), 3);
  EXPECT_EQ(wrong.text(), "the model has no output 'q', it has 'x', 'z'");
}

TEST_F(GrpcTest, WrongCallsAreToldSo) {
  serve(with(&echo));
  EXPECT_EQ(call("Unheard", "").status(), 12);
  EXPECT_EQ(call("RepositoryModelLoad", named("m")).status(), 12);
  EXPECT_EQ(call("ModelInfer", "\xFF\xFF\xFF").status(), 3);
  EXPECT_EQ(call("ModelInfer", "").status(), 3);
  auto client = connect();
  const auto other = client.begin("/some.Service/Method");
  client.end(other);
  EXPECT_EQ(client.wait(other).status(), 12);
  const auto empty = client.begin("/inference.GRPCInferenceService/ServerLive");
  client.end(empty);
  EXPECT_EQ(client.wait(empty).status(), 13);
  const auto two = client.begin("/inference.GRPCInferenceService/ServerLive");
  client.send(two, framed("") + framed(""));
  EXPECT_EQ(client.wait(two).status(), 13);
  const auto cut = client.begin("/inference.GRPCInferenceService/ServerLive");
  client.send(cut, framed("abc").substr(0, 6));
  EXPECT_EQ(client.wait(cut).status(), 13);
  EXPECT_EQ(client.call("ServerLive", "", {{"grpc-timeout", "soon"}}).status(), 3);
  EXPECT_EQ(client.call("ServerLive", "").status(), 0);  // the connection is as good as it was
}

TEST_F(GrpcTest, CompressedMessagesAreRead) {
  serve(with(&echo));
  auto client = connect();
  const std::vector<float> values(5000, 2.5F);
  const auto id = client.begin("/inference.GRPCInferenceService/ModelInfer", {{"grpc-encoding", "gzip"}});
  client.send(id, framed(gzipped(infer_floats(values)), true));
  const auto answer = client.wait(id);
  ASSERT_EQ(answer.status(), 0) << answer.text();
  EXPECT_EQ(Inferred(answer.messages().at(0)).floats(), values);

  EXPECT_EQ(client.call("ServerLive", "", {{"grpc-encoding", "snappy"}}).status(), 12);
  const auto torn = client.begin("/inference.GRPCInferenceService/ModelInfer", {{"grpc-encoding", "gzip"}});
  client.send(torn, framed(gzipped(infer_floats(values)).substr(0, 20), true));
  EXPECT_EQ(client.wait(torn).status(), 13);
  const auto bare = client.begin("/inference.GRPCInferenceService/ModelInfer");
  client.send(bare, framed("x", true));
  EXPECT_EQ(client.wait(bare).status(), 13);
}

TEST_F(GrpcTest, AnswersAreCompressedAsTheQuestionWasIfTheClientTakesIt) {
  serve(with(&echo));
  auto client = connect();
  const std::vector<float> values(5000, 2.5F);
  const auto ask = [&](const Headers& headers, const std::string& method, const std::vector<float>& sent) {
    const auto id = client.begin("/inference.GRPCInferenceService/" + method, headers);
    client.send(id, framed(gzipped(infer_floats(sent)), true));
    return client.wait(id);
  };
  for (const std::string method : {"ModelInfer", "ModelStreamInfer"}) {
    const auto packed = ask({{"grpc-encoding", "gzip"}, {"grpc-accept-encoding", "identity, gzip"}}, method, values);
    ASSERT_EQ(packed.status(), 0) << packed.text();
    EXPECT_EQ(packed.fields.at("grpc-encoding"), "gzip");
    EXPECT_EQ(packed.body.front(), '\1');
    EXPECT_LT(packed.body.size(), 2000U);
    std::string message = packed.messages().at(0);
    ASSERT_EQ(http::unpack(message, http::Coding::kGzip, 1 << 20), http::Unpacked::kDone);
    EXPECT_EQ((method == "ModelInfer" ? Inferred(message) : Inferred::streamed(message)).floats(), values);
  }
  const auto small = ask({{"grpc-encoding", "gzip"}, {"grpc-accept-encoding", "gzip"}}, "ModelInfer", {1});
  EXPECT_EQ(small.body.front(), '\0');
  const auto other = ask({{"grpc-encoding", "gzip"}, {"grpc-accept-encoding", "deflate"}}, "ModelInfer", values);
  EXPECT_EQ(other.fields.count("grpc-encoding"), 0U);
  EXPECT_EQ(Inferred(other.messages().at(0)).floats(), values);
}

TEST_F(GrpcTest, MessagesAboveTheLimitAreRefused) {
  front_options.message_bytes = 1000;
  serve(with(&echo));
  auto client = connect();
  const auto large = client.begin("/inference.GRPCInferenceService/ModelInfer");
  client.send(large, framed(std::string(1001, 'x')));
  EXPECT_EQ(client.wait(large).status(), 8);
  const auto bomb = client.begin("/inference.GRPCInferenceService/ModelInfer", {{"grpc-encoding", "gzip"}});
  client.send(bomb, framed(gzipped(std::string(100'000, 'x')), true));
  EXPECT_EQ(client.wait(bomb).status(), 8);
  EXPECT_EQ(client.call("ModelInfer", infer_floats(std::vector<float>(200, 1))).status(), 0);
}

TEST_F(GrpcTest, AFullServerSaysSo) {
  Executor::Options options;
  options.max_events = 1;
  serve(with(waits()), 2, std::move(options));
  auto client = connect();
  const auto first = client.begin("/inference.GRPCInferenceService/ModelInfer");
  client.send(first, framed(infer_floats({1}, "wait")));
  ASSERT_TRUE(entered.wait());
  const auto refused = client.call("ModelInfer", infer_floats({2}));
  EXPECT_EQ(refused.status(), 8);
  EXPECT_EQ(refused.text(), "the server is full");
  const auto unsent = client.begin("/inference.GRPCInferenceService/ModelInfer");
  EXPECT_EQ(client.call("ServerLive", "").status(), 0);
  client.end(unsent);
  EXPECT_EQ(client.wait(unsent).status(), 8) << "its message need not come";
  release.set();
  EXPECT_EQ(client.wait(first).status(), 0);
}

TEST_F(GrpcTest, ADeadlineTravelsWithTheEvent) {
  serve(with(waits()));
  const auto late = call("ModelInfer", infer_floats({1}, "wait"), {{"grpc-timeout", "30m"}});
  EXPECT_EQ(late.status(), 4);
  release.set();
}

TEST_F(GrpcTest, TheTimeoutParameterIsADeadlineInMicroseconds) {
  serve(with(waits()));
  std::string message = infer_floats({1}, "wait");
  {
    protozero::pbf_writer writer(message);
    protozero::pbf_writer entry(writer, 4);
    entry.add_string(1, "timeout");
    protozero::pbf_writer(entry, 2).add_int64(2, 20'000);
  }
  EXPECT_EQ(call("ModelInfer", message).status(), 4);
  release.set();
}

TEST_F(GrpcTest, AResetCancelsWhatIsQueued) {
  serve(with(waits()));
  auto client = connect();
  const auto first = client.begin("/inference.GRPCInferenceService/ModelInfer");
  client.send(first, framed(infer_floats({1}, "wait")));
  ASSERT_TRUE(entered.wait());
  const auto queued = client.begin("/inference.GRPCInferenceService/ModelInfer");
  client.send(queued, framed(infer_floats({2})));
  while (run->executor->in_flight() < 2) std::this_thread::yield();
  client.reset(queued);
  EXPECT_EQ(client.call("ServerLive", "").status(), 0);  // so the reset has been read
  release.set();
  EXPECT_EQ(client.wait(first).status(), 0);
  EXPECT_TRUE(run->settle());
  EXPECT_EQ(started, 1);
  EXPECT_EQ(server->gate().calls(1), 1U) << "as CANCELLED";
  EXPECT_EQ(server->gate().calls(0), 2U);
}

TEST_F(GrpcTest, AClientThatIsGoneCancelsWhatIsQueued) {
  serve(with(waits()));
  auto client = connect();
  client.send(client.begin("/inference.GRPCInferenceService/ModelInfer"), framed(infer_floats({1}, "wait")));
  ASSERT_TRUE(entered.wait());
  client.send(client.begin("/inference.GRPCInferenceService/ModelInfer"), framed(infer_floats({2})));
  while (run->executor->in_flight() < 2) std::this_thread::yield();
  client.close();
  while (server->connections() > 0) std::this_thread::yield();
  release.set();
  EXPECT_TRUE(run->settle());
  EXPECT_EQ(started, 1);
  EXPECT_EQ(server->gate().calls(1), 2U) << "as CANCELLED";
  EXPECT_EQ(call("ServerLive", "").status(), 0);
}

TEST_F(GrpcTest, WhatIsNoInferenceGoesToTheFrontend) {
  std::string path;
  Graph graph = with(&echo);
  graph
      .add("GET /v2",
           [&](Event& event, Pass&) {
             path = event.envelope->method + " " + event.envelope->path;
             event.body = number(path.find("missing") == std::string::npos ? 1 : -404);
             return Verdict::kEmit;
           })
      .responder = true;
  served.frontend = 1;
  host.json = R"({"name":"n","version":"1.0","versions":["1","2"],"extensions":["e"],"platform":"p","ready":true,
                  "inputs":[{"name":"x","datatype":"FP32","shape":[-1,4]}],"outputs":[]})";
  serve(std::move(graph));
  const auto metadata = call("ModelMetadata", named("n", "2"));
  ASSERT_EQ(metadata.status(), 0) << metadata.text();
  EXPECT_EQ(path, "GET /v2/models/n/versions/2");
  EXPECT_NE(metadata.messages().at(0).find("FP32"), std::string::npos);
  EXPECT_EQ(call("ServerMetadata", "").messages().at(0),
            "\x0A\x01n\x12\x03"
            "1.0\x1A\x01"
            "e");
  EXPECT_EQ(path, "GET /v2");
  EXPECT_EQ(call("ModelReady", named("n")).messages().at(0), "\x08\x01");
  EXPECT_EQ(path, "GET /v2/models/n/ready");
  EXPECT_EQ(call("ModelConfig", named("n")).status(), 0);
  EXPECT_EQ(call("ModelStatistics", "").status(), 0);
  EXPECT_EQ(path, "GET /v2/models/stats");
  const auto missing = call("ModelMetadata", named("missing"));
  EXPECT_EQ(missing.status(), 5);
  EXPECT_EQ(missing.text(), "so it is");
  host.json = R"([{"name":"n","state":"READY"},{"name":"o","state":"UNAVAILABLE"}])";
  EXPECT_EQ(call("RepositoryIndex", "").messages().at(0).size(), 30U);
  EXPECT_EQ(call("RepositoryIndex", "\x10\x01").messages().at(0), "\x0A\x0A\x0A\x01n\x1A\x05READY");
}

/// Triton has the repository's name in front of the model's, KServe has none and wants an answer.
TEST_F(GrpcTest, ModelsAreLoadedInTritonsFormAndInKServes) {
  std::string asked;
  Graph graph = with(&echo);
  graph
      .add("GET /v2",
           [&](Event& event, Pass&) {
             asked = event.envelope->method + " " + event.envelope->path + " " + *event.body.bytes()->data;
             event.body = number(1);
             return Verdict::kEmit;
           })
      .responder = true;
  served.frontend = 1;
  serve(std::move(graph));
  std::string triton = named("", "m:1");
  for (const auto& [key, value] : {std::pair("config", "\x1A\x02{}"), std::pair("file:1/a", "\x22\x03xyz")}) {
    protozero::pbf_writer writer(triton);
    protozero::pbf_writer entry(writer, 3);
    entry.add_string(1, key);
    entry.add_string(2, value);
  }
  const auto loaded = call("RepositoryModelLoad", triton);
  ASSERT_EQ(loaded.status(), 0) << loaded.text();
  EXPECT_EQ(loaded.messages().at(0), "");
  EXPECT_EQ(asked, R"(POST /v2/repository/models/m:1/load {"parameters":{"config":"{}","file:1/a":null}})");
  const auto unloaded = call("RepositoryModelUnload", named("n"));
  ASSERT_EQ(unloaded.status(), 0) << unloaded.text();
  EXPECT_EQ(unloaded.messages().at(0), "\x0A\x01n\x10\x01");
  EXPECT_EQ(asked, R"(POST /v2/repository/models/n/unload {"parameters":{}})");
  EXPECT_EQ(call("RepositoryModelLoad", named("../m")).status(), 0);
  EXPECT_EQ(asked, R"(POST /v2/repository/models/..%2Fm/load {"parameters":{}})") << "one name, which leads nowhere";
  EXPECT_EQ(call("RepositoryModelLoad", "").status(), 3);
  EXPECT_EQ(call("RepositoryModelLoad", "\x12\x02\xFF\xFF").status(), 3);
  EXPECT_EQ(call("RepositoryModelLoad", "\xFF").status(), 3);
}

TEST_F(GrpcTest, AGraphThatDoesNotRespondTakesTheEvent) {
  served.responds = false;
  serve(with(waits()));
  const auto answer = call("ModelInfer", infer_floats({1}, "8"));
  ASSERT_EQ(answer.status(), 0) << answer.text();
  EXPECT_EQ(Inferred(answer.messages().at(0)).id, "8");
  EXPECT_TRUE(run->settle());
  EXPECT_EQ(started, 1);
}

TEST_F(GrpcTest, HealthIsCheckedAndWatched) {
  serve(with(&echo));
  auto client = connect();
  const auto check = [&client](std::string_view name) {
    const auto id = client.begin("/grpc.health.v1.Health/Check");
    client.send(id, framed(named(name)));
    return client.wait(id);
  };
  EXPECT_EQ(check("").messages().at(0), "\x08\x01");
  EXPECT_EQ(check("inference.GRPCInferenceService").messages().at(0), "\x08\x01");
  EXPECT_EQ(check("other").status(), 5);

  const auto watch = client.begin("/grpc.health.v1.Health/Watch");
  client.send(watch, framed(named("")));
  EXPECT_EQ(client.wait_for(watch, 1).back(), "\x08\x01");
  front->set_ready(false);
  EXPECT_EQ(client.wait_for(watch, 2).back(), "\x08\x02");
  front->set_ready(false);
  front->set_ready(true);
  EXPECT_EQ(client.wait_for(watch, 3).back(), "\x08\x01");
  const auto unknown = client.begin("/grpc.health.v1.Health/Watch");
  client.send(unknown, framed(named("other")));
  EXPECT_EQ(client.wait_for(unknown, 1).back(), "\x08\x03");
}

}  // namespace
}  // namespace penstock::grpc::testing
