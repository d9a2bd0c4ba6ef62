// ModelStreamInfer: many messages on one stream, in Triton's shape.
#include "grpc_fixture.hpp"

namespace penstock::grpc::testing {
namespace {

class GrpcStream : public GrpcTest {
 protected:
  static std::int32_t begin(Client& client, const Headers& more = {}) {
    return client.begin("/inference.GRPCInferenceService/ModelStreamInfer", more);
  }
  static std::vector<Inferred> read(const std::vector<std::string>& messages) {
    std::vector<Inferred> list;
    for (const std::string& message : messages) list.push_back(Inferred::streamed(message));
    return list;
  }
};

TEST_F(GrpcStream, EveryMessageIsAnsweredInOrder) {
  serve(with(&echo));
  auto client = connect();
  const auto id = begin(client);
  for (int i = 0; i < 300; ++i)
    client.send(id, framed(infer_floats({static_cast<float>(i)}, std::to_string(i))), false);
  client.end(id);
  const auto answer = client.wait(id);
  EXPECT_EQ(answer.status(), 0) << answer.text();
  const auto all = read(answer.messages());
  ASSERT_EQ(all.size(), 300U);
  for (int i = 0; i < 300; ++i) {
    const Inferred& one = all[static_cast<std::size_t>(i)];
    EXPECT_EQ(one.text, "");
    EXPECT_EQ(one.id, std::to_string(i));
    EXPECT_EQ(one.floats().at(0), static_cast<float>(i));
    EXPECT_EQ(one.parameters, 1);  // triton_final_response
  }
}

TEST_F(GrpcStream, AnswersComeBeforeTheStreamEnds) {
  serve(with(&echo));
  auto client = connect();
  const auto id = begin(client);
  for (std::size_t i = 1; i < 4; ++i) {
    client.send(id, framed(infer_floats({1}, "a")), false);
    EXPECT_EQ(client.wait_for(id, i).size(), i);
  }
  client.end(id);
  EXPECT_EQ(client.wait(id).status(), 0);
}

TEST_F(GrpcStream, OneErrorIsToldAndTheStreamGoesOn) {
  serve(with([](Event& event, Pass& pass) {
    if (event.body.request()->id == "bad") {
      pass.failure = Failure{"", 400, "ValueError", "no", {}};
      return Verdict::kFail;
    }
    return echo(event, pass);
  }));
  auto client = connect();
  const auto id = begin(client);
  client.send(id, framed(infer_floats({1}, "bad")), false);
  client.wait_for(id, 1);
  client.send(id, framed("\xFF\xFF"), false);
  client.send(id, framed(infer_request("FP99", {1}, "", "undecodable")), false);
  client.send(id, framed(infer_floats({1}, "cut") + "\xFF"), false);
  client.wait_for(id, 4);
  client.send(id, framed(infer_floats({2}, "good")));
  const auto answer = client.wait(id);
  EXPECT_EQ(answer.status(), 0);
  const auto all = read(answer.messages());
  ASSERT_EQ(all.size(), 5U);
  EXPECT_EQ(all[0].text, "ValueError: no");
  EXPECT_EQ(all[0].id, "bad");
  EXPECT_NE(all[1].text, "");
  EXPECT_NE(all[2].text, "");
  EXPECT_EQ(all[2].id, "undecodable");
  EXPECT_NE(all[3].text, "");
  EXPECT_EQ(all[3].id, "cut");
  EXPECT_EQ(all[4].text, "");
  EXPECT_EQ(all[4].id, "good");
}

TEST_F(GrpcStream, AnErrorEndsTheStreamIfTheClientWantsThat) {
  serve(with(fails("no", 404)));
  auto client = connect();
  const auto id = begin(client, {{"triton_grpc_error", "true"}});
  client.send(id, framed(infer_floats({1})), false);
  const auto answer = client.wait(id);
  EXPECT_EQ(answer.status(), 5);
  EXPECT_TRUE(answer.messages().empty());
}

TEST_F(GrpcStream, AnAnswerWaitsForThoseOfEarlierMessages) {
  Graph graph;
  StepSpec& step = graph.add("step", waits());
  step.responder = true;
  step.concurrency = 4;
  serve(std::move(graph), 4);
  auto client = connect();
  const auto id = begin(client);
  client.send(id, framed(infer_floats({1}, "wait")), false);
  ASSERT_TRUE(entered.wait());
  client.send(id, framed(infer_floats({2}, "other")), false);
  client.send(id, framed(infer_request("FP99", {1}, "", "undecodable")), false);
  while (run->executor->in_flight() > 1) std::this_thread::yield();
  release.set();
  client.end(id);
  const auto all = read(client.wait(id).messages());
  ASSERT_EQ(all.size(), 3U);
  EXPECT_EQ(all[0].id, "wait");
  EXPECT_EQ(all[1].id, "other");
  EXPECT_EQ(all[2].id, "undecodable");
}

TEST_F(GrpcStream, AClientThatSendsTooMuchIsHeldUp) {
  front_options.streamed = 2;
  serve(with(waits()));
  auto client = connect();
  const auto id = begin(client);
  client.send(id, framed(infer_floats({1}, "wait")), false);
  ASSERT_TRUE(entered.wait());
  const std::vector<float> values(100'000, 1);
  for (int i = 0; i < 20; ++i) client.send(id, framed(infer_floats(values, "b")), false);
  client.settle();
  EXPECT_GT(client.unsent(id), 5'000'000U);  // of 8 MB; the window is one
  EXPECT_LE(run->executor->in_flight(), 2U);
  EXPECT_EQ(client.call("ServerLive", "").status(), 0);  // others are not held up
  release.set();
  client.end(id);
  const auto answer = client.wait(id);
  EXPECT_EQ(answer.status(), 0);
  EXPECT_EQ(answer.messages().size(), 21U);
}

TEST_F(GrpcStream, AResetCancelsAllThatIsQueued) {
  serve(with(waits()));
  auto client = connect();
  const auto id = begin(client);
  client.send(id, framed(infer_floats({1}, "wait")), false);
  ASSERT_TRUE(entered.wait());
  for (int i = 0; i < 5; ++i) client.send(id, framed(infer_floats({1}, "b")), false);
  while (run->executor->in_flight() < 6) std::this_thread::yield();
  client.reset(id);
  EXPECT_EQ(client.call("ServerLive", "").status(), 0);
  release.set();
  EXPECT_TRUE(run->settle());
  EXPECT_EQ(started, 1);
}

/// Answers in parts, which `chunks` brings.
Apply answers_with(const Ref<Chunks>& chunks) {
  return [chunks](Event& event, Pass& pass) {
    if (event.body.request()->id == "whole") return echo(event, pass);
    event.completion()->answer(Answer{std::nullopt, std::nullopt, chunks});
    return Verdict::kDrop;
  };
}

Payload part_of(std::size_t floats) {
  InferResponse response;
  Tensor& tensor = response.outputs.emplace_back();
  const auto memory = std::make_shared<std::vector<float>>(floats, 1.F);
  tensor.name = "y";
  tensor.shape = {static_cast<std::int64_t>(floats)};
  tensor.data = reinterpret_cast<const std::byte*>(memory->data());
  tensor.size = floats * sizeof(float);
  tensor.storage = memory;
  return Payload(std::make_shared<const InferResponse>(std::move(response)));
}

std::string asking_for_the_end(const std::string& id) {
  std::string message = infer_floats({1}, id);
  protozero::pbf_writer writer(message);
  protozero::pbf_writer entry(writer, 4);
  entry.add_string(1, "triton_enable_empty_final_response");
  protozero::pbf_writer parameter(entry, 2);
  parameter.add_bool(1, true);
  return message;
}

TEST_F(GrpcStream, AnAnswerInPartsComesAsManyMessagesAndItsEndIsToldIfAskedFor) {
  const auto chunks = make_ref<Chunks>("step");
  serve(with(answers_with(chunks)));
  auto client = connect();
  const auto id = begin(client);
  client.send(id, framed(asking_for_the_end("a")), false);
  client.send(id, framed(infer_floats({1}, "whole")), false);  // does not wait for parts of another id
  EXPECT_EQ(read(client.wait_for(id, 1)).at(0).id, "whole");
  for (std::size_t i = 1; i < 4; ++i) {
    chunks->push(part_of(i));
    EXPECT_EQ(read(client.wait_for(id, i + 1)).back().floats().size(), i);
  }
  chunks->end();
  client.end(id);
  const auto answer = client.wait(id);
  EXPECT_EQ(answer.status(), 0) << answer.text();
  const auto all = read(answer.messages());
  ASSERT_EQ(all.size(), 5U);
  EXPECT_EQ(all.back().id, "a");
  EXPECT_TRUE(all.back().names.empty());
  EXPECT_TRUE(run->settle());
}

TEST_F(GrpcStream, AFailureAmongPartsIsToldAndTheStreamGoesOn) {
  const auto chunks = make_ref<Chunks>("step");
  serve(with(answers_with(chunks)));
  auto client = connect();
  const auto id = begin(client);
  client.send(id, framed(infer_floats({1}, "a")), false);
  chunks->push(part_of(1));
  chunks->fail(Failure{"step", 500, "ValueError", "mid", {}});
  EXPECT_EQ(read(client.wait_for(id, 2)).at(1).text, "step 'step': ValueError: mid");
  client.send(id, framed(infer_floats({1}, "whole")));
  EXPECT_EQ(read(client.wait(id).messages()).at(2).id, "whole");
}

TEST_F(GrpcStream, WhoReadsSlowlyHoldsUpTheMakerAndWhoLeavesEndsIt) {
  const auto chunks = make_ref<Chunks>("step");
  serve(with(answers_with(chunks)));
  auto client = connect(65535);
  const auto id = begin(client);
  client.send(id, framed(infer_floats({1}, "a")), false);
  // Nothing is read: what is sent ends in the client's window and the queue in front of it.
  std::size_t made = 0;
  const auto made_all = [&] {
    bool wanted = true;
    while (wanted && made < 1000) {
      chunks->push(part_of(100'000));
      ++made;
      std::atomic<bool> resumed{false};
      chunks->next([&resumed] { resumed = true; });
      for (int i = 0; i < 200 && !resumed; ++i) std::this_thread::sleep_for(1ms);
      wanted = resumed;
      if (!wanted) chunks->next({});
    }
    return made == 1000;
  };
  EXPECT_FALSE(made_all());
  EXPECT_LT(made, 40U);
  EXPECT_EQ(connect().call("ServerLive", "").status(), 0);
  EXPECT_FALSE(chunks->over());
  client.reset(id);
  while (!chunks->over()) std::this_thread::yield();
  EXPECT_TRUE(run->settle());
}

TEST_F(GrpcStream, ACallOfOneAnswerIsToldWhereToAskForParts) {
  const auto chunks = make_ref<Chunks>("step");
  serve(with(answers_with(chunks)));
  const auto answer = call("ModelInfer", infer_floats({1}));
  EXPECT_EQ(answer.status(), 12);
  EXPECT_NE(answer.text().find("ModelStreamInfer"), std::string::npos);
  EXPECT_TRUE(chunks->over());
}

TEST_F(GrpcStream, AStreamThatEndsWithinAMessageIsTold) {
  serve(with(&echo));
  auto client = connect();
  const auto id = begin(client);
  client.send(id, framed(infer_floats({1})).substr(0, 9));
  EXPECT_EQ(client.wait(id).status(), 13);
}

TEST_F(GrpcStream, TheDeadlineIsThatOfTheStream) {
  server_options.limits.header_timeout = std::chrono::milliseconds(40);  // the timer looks more often
  serve(with(&echo));
  auto client = connect();
  const auto id = begin(client, {{"grpc-timeout", "50m"}});
  client.send(id, framed(infer_floats({1})), false);
  EXPECT_EQ(client.wait(id).status(), 4);
}

TEST_F(GrpcStream, ADrainEndsTheStreamWhenItsMessagesAreAnswered) {
  serve(with(waits()));
  auto client = connect();
  const auto id = begin(client);
  const auto idle = begin(client);
  client.send(id, framed(infer_floats({1}, "wait")), false);
  ASSERT_TRUE(entered.wait());
  bool drained = false;
  std::thread draining([&] { drained = server->drain(10s); });
  EXPECT_EQ(client.wait(idle).status(), 14);
  release.set();
  const auto answer = client.wait(id);
  EXPECT_EQ(answer.messages().size(), 1U);
  EXPECT_EQ(answer.status(), 14);
  draining.join();
  EXPECT_TRUE(drained);
}

}  // namespace
}  // namespace penstock::grpc::testing
