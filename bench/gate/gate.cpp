// The hot paths of the core alone, to have their instructions counted (gate.py):
//
//   penstock_gate PATH TIMES      goes that path so many times
//   penstock_gate                 prints what the counts depend on, then the names of the paths
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <iterator>
#include <random>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <gnu/libc-version.h>
#include <simdjson.h>
#include <boost/version.hpp>

#include <grpc/infer.hpp>
#include <http/head_parser.hpp>
#include <penstock/executor.hpp>
#include <penstock/oip_json.hpp>

namespace {

using namespace penstock;

// --- steps ---------------------------------------------------------------------------------------

/// One thread is all there is.
struct Open final : Gate {
  void enter() override {}
  void leave() override {}
};

struct PassOn final : Transform {
  Verdict apply(Event&, Pass&) override { return Verdict::kEmit; }
};

/// Sends events to its outlets by turns, as a router does by name.
struct Turns final : Step {
  explicit Turns(std::uint32_t outlets) : outlets_(outlets) {}
  void run(Batch& batch, Emitter& out) override {
    for (Event& event : batch) out.emit(std::move(event), next_++ % outlets_);
  }

 private:
  const std::uint32_t outlets_;
  std::uint32_t next_ = 0;
};

StepSpec step(std::string name, std::unique_ptr<Step> run, std::vector<StepId> outlets, bool responder = false) {
  StepSpec spec;
  spec.name = std::move(name);
  spec.step = std::move(run);
  spec.outlets = std::move(outlets);
  spec.responder = responder;
  return spec;
}

void call(std::vector<StepSpec> steps, std::size_t times) {
  Open gate;
  Executor::Options options;
  options.lane.stall = std::chrono::hours(1);  // a step that is slow on a busy machine is measured more often after it
  const auto executor = Executor::create(Plan::compile(std::move(steps), {0}), gate, std::move(options));
  for (std::size_t i = 0; i < times; ++i)
    if (executor->call(make_ref<Waiter>(), Payload(), make_ref<Envelope>()).failure) throw std::runtime_error("failed");
  executor->close();
}

/// An event through a chain of so many steps that are fused, and back.
void chain(std::uint32_t steps, std::size_t times) {
  std::vector<StepSpec> specs;
  for (StepId id = 0; id < steps; ++id) {
    std::vector<StepId> next;
    if (id + 1 < steps) next.push_back(id + 1);
    specs.push_back(step("step-" + std::to_string(id), std::make_unique<PassOn>(), next, next.empty()));
  }
  call(std::move(specs), times);
}

/// An event through a router to one of eight routes, and back.
void route(std::size_t times) {
  constexpr StepId kRoutes = 8;
  std::vector<StepSpec> specs;
  std::vector<StepId> routes;
  for (StepId id = 1; id <= kRoutes; ++id) routes.push_back(id);
  specs.push_back(step("router", std::make_unique<Turns>(kRoutes), routes));
  for (const StepId id : routes)
    specs.push_back(step("route-" + std::to_string(id), std::make_unique<PassOn>(), {kRoutes + 1}));
  specs.push_back(step("answer", std::make_unique<PassOn>(), {}, true));
  call(std::move(specs), times);
}

// --- the wire ------------------------------------------------------------------------------------

Tensor tensor_of(std::vector<std::int64_t> shape) {
  std::size_t count = 1;
  for (const std::int64_t size : shape) count *= static_cast<std::size_t>(size);
  auto memory = std::make_shared<std::vector<float>>(count);
  std::mt19937 random(1);
  for (float& value : *memory) value = static_cast<float>(random()) / 4e9F;
  Tensor tensor;
  tensor.name = "y";
  tensor.shape = std::move(shape);
  tensor.data = reinterpret_cast<const std::byte*>(memory->data());
  tensor.size = count * sizeof(float);
  tensor.storage = std::move(memory);
  return tensor;
}

InferResponse response_of(std::vector<std::int64_t> shape) { return {"m", "", "", "", {tensor_of(std::move(shape))}}; }

std::string json_of(std::vector<std::int64_t> shape) {
  std::string text = encode_infer_response(response_of(std::move(shape)));
  const std::string answer = "\"outputs\"";
  return text.replace(text.find(answer), answer.size(), "\"inputs\"");
}

void decode_json(std::vector<std::int64_t> shape, std::size_t times) {
  std::string text = json_of(std::move(shape));
  for (std::size_t i = 0; i < times; ++i)
    if (!decode_infer_request(text)) throw std::runtime_error("no request");
}

void encode_json(std::vector<std::int64_t> shape, std::size_t times) {
  const InferResponse response = response_of(std::move(shape));
  for (std::size_t i = 0; i < times; ++i)
    if (encode_infer_response(response).empty()) throw std::runtime_error("no text");
}

void read_head(std::size_t times) {
  const std::string head =
      "POST /v2/models/m/infer HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nUser-Agent: python-requests/2.32.3\r\n"
      "Accept-Encoding: gzip, deflate\r\nAccept: */*\r\nConnection: keep-alive\r\n"
      "Content-Type: application/json\r\nContent-Length: 82\r\n\r\n";
  const http::Limits limits;
  for (std::size_t i = 0; i < times; ++i) {
    http::HeadParser parser(limits);
    http::Request request;
    if (parser.parse_head(head, request)) throw std::runtime_error("refused");
  }
}

void write_head(std::size_t times) {
  http::Response response;
  response.content_type = "application/json";
  response.body = std::string(100, ' ');
  for (std::size_t i = 0; i < times; ++i) {
    std::string out;
    http::append_head(out, response, {});
  }
}

/// A ModelInferRequest with one raw 1x4 FP32 tensor, in its frame.
std::string grpc_request() {
  const std::string tensor = std::string("\x0a\x01x\x12\x04") + "FP32" + "\x1a\x02\x01\x04";
  std::string message = std::string("\x0a\x01m\x2a") + static_cast<char>(tensor.size()) + tensor;
  message += "\x3a\x10" + std::string(16, '\0');
  return std::string(4, '\0') + static_cast<char>(message.size()) + message;  // not compressed, four bytes of length
}

void decode_grpc(std::size_t times) {
  const std::string bytes = grpc_request();
  for (std::size_t i = 0; i < times; ++i) {
    std::string_view rest = bytes;
    grpc::Deframer deframer(1 << 20, grpc::Encoding::kIdentity);
    const auto message = deframer.take(rest);
    if (grpc::decode_infer(message.value()).request.inputs.size() != 1) throw std::runtime_error("no input");
  }
}

void encode_grpc(std::size_t times) {
  const auto response = std::make_shared<const InferResponse>(response_of({1, 4}));
  for (std::size_t i = 0; i < times; ++i) {
    grpc::Pieces pieces = grpc::encode_infer(response, {"m", "", "", {}, false});
    pieces.frame();
  }
}

const std::vector<std::pair<std::string, std::function<void(std::size_t)>>> kPaths{
    {"chain-1", [](std::size_t times) { chain(1, times); }},
    {"chain-20", [](std::size_t times) { chain(20, times); }},
    {"route", route},
    {"http-head-in", read_head},
    {"http-head-out", write_head},
    {"json-in", [](std::size_t times) { decode_json({1, 4}, times); }},
    {"json-out", [](std::size_t times) { encode_json({1, 4}, times); }},
    {"json-in-4096", [](std::size_t times) { decode_json({1, 4096}, times); }},
    {"json-out-4096", [](std::size_t times) { encode_json({1, 4096}, times); }},
    {"grpc-in", decode_grpc},
    {"grpc-out", encode_grpc},
};

void describe() {
#ifdef __clang__
  const char* compiler = "clang " __clang_version__;
#else
  const char* compiler = "gcc " __VERSION__;
#endif
  std::printf("%s, glibc %s, boost %s, simdjson %s %s\n", compiler, gnu_get_libc_version(), BOOST_LIB_VERSION,
              SIMDJSON_STRINGIFY(SIMDJSON_VERSION), simdjson::get_active_implementation()->name().c_str());
  for (const auto& [name, go] : kPaths) std::printf("%s\n", name.c_str());
}

}  // namespace

int main(int count, char** words) {
  if (count != 3) {
    describe();
    return count == 1 ? 0 : 2;
  }
  for (const auto& [name, go] : kPaths) {
    if (name != words[1]) continue;
    go(std::stoul(words[2]));
    return 0;
  }
  std::fprintf(stderr, "penstock_gate: no path %s\n", words[1]);
  return 2;
}
