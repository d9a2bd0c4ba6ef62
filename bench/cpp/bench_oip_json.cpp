// The protocol's JSON codec alone: no HTTP, no Python. "Image" is a 1x3x224x224 FP32 tensor whose
// values have the digits that floats have after normalising; "small" is the 1x4 request of the
// HTTP benchmarks. A round trip of an image should stay below 10 ms, of a small one near 2 us.
#include <random>
#include <string>

#include <benchmark/benchmark.h>

#include <penstock/oip_json.hpp>

namespace {

using penstock::InferRequest;
using penstock::InferResponse;

InferResponse response_of(std::vector<std::int64_t> shape) {
  std::size_t count = 1;
  for (const std::int64_t size : shape) count *= static_cast<std::size_t>(size);
  auto memory = std::make_shared<std::vector<float>>(count);
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  for (float& value : *memory) value = normal(random);
  penstock::Tensor tensor;
  tensor.name = "y";
  tensor.shape = std::move(shape);
  tensor.data = reinterpret_cast<const std::byte*>(memory->data());
  tensor.size = count * sizeof(float);
  tensor.storage = std::move(memory);
  return {"m", "", "", "", {tensor}};
}

std::string request_of(const std::vector<std::int64_t>& shape) {
  std::string text = encode_infer_response(response_of(shape));
  const std::string answer = "\"outputs\"";
  return text.replace(text.find(answer), answer.size(), "\"inputs\"");
}

const std::vector<std::int64_t> kSmall{1, 4};
const std::vector<std::int64_t> kImage{1, 3, 224, 224};

void decode(benchmark::State& state, const std::vector<std::int64_t>& shape) {
  std::string text = request_of(shape);
  for (auto _ : state) benchmark::DoNotOptimize(penstock::decode_infer_request(text));
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(text.size()));
}

void encode(benchmark::State& state, const std::vector<std::int64_t>& shape) {
  const InferResponse response = response_of(shape);
  for (auto _ : state) benchmark::DoNotOptimize(encode_infer_response(response));
}

BENCHMARK_CAPTURE(decode, small, kSmall);
BENCHMARK_CAPTURE(encode, small, kSmall);
BENCHMARK_CAPTURE(decode, image, kImage)->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(encode, image, kImage)->Unit(benchmark::kMillisecond);

}  // namespace
