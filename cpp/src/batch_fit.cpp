// What of an event decides with whom it shares a batch.

#include <algorithm>
#include <limits>

#include <simdjson.h>
#include <penstock/batch_queue.hpp>

namespace penstock {
namespace {

/// FNV-1a.
class Hash {
 public:
  void add(std::uint64_t number) noexcept {
    for (int byte = 0; byte < 8; ++byte, number >>= 8) add_byte(static_cast<unsigned char>(number));
  }
  void add(const std::string& text) noexcept {
    add(text.size());
    for (const char c : text) add_byte(static_cast<unsigned char>(c));
  }
  [[nodiscard]] std::uint64_t value() const noexcept { return value_; }

 private:
  void add_byte(unsigned char byte) noexcept { value_ = (value_ ^ byte) * 0x100000001b3; }
  std::uint64_t value_ = 0xcbf29ce484222325;
};

void add_form(Hash& hash, const Tensor& tensor, bool ragged) {
  hash.add(tensor.name);
  hash.add(static_cast<std::uint64_t>(tensor.type));
  hash.add(tensor.shape.size());
  if (ragged) return;
  std::for_each(tensor.shape.begin() + 1, tensor.shape.end(),
                [&](std::int64_t size) { hash.add(static_cast<std::uint64_t>(size)); });
}

}  // namespace

Fit fit_of(const Event& event, bool ragged) {
  Fit fit;
  if (event.envelope) fit.priority = event.envelope->priority;
  const auto request = event.body.request();
  if (request == nullptr || request->inputs.empty()) return fit;
  Hash hash;
  for (const Tensor& tensor : request->inputs) {
    if (tensor.shape.empty()) {  // a single value has no rows to be one of: it is like no other
      fit.form = reinterpret_cast<std::uintptr_t>(request.get());
      return fit;
    }
    add_form(hash, tensor, ragged);
  }
  fit.form = hash.value();
  fit.rows = static_cast<std::uint32_t>(
      std::clamp<std::int64_t>(request->inputs.front().shape.front(), 1, std::numeric_limits<std::int32_t>::max()));
  return fit;
}

std::uint32_t priority_in(const std::string& parameters) {
  if (parameters.find("\"priority\"") == std::string::npos) return 0;
  simdjson::dom::parser parser;
  std::uint64_t priority = 0;
  if (parser.parse(parameters)["priority"].get(priority) != simdjson::SUCCESS) return 0;
  return static_cast<std::uint32_t>(std::min<std::uint64_t>(priority, std::numeric_limits<std::uint32_t>::max()));
}

}  // namespace penstock
