#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include <penstock/executor.hpp>
#include <penstock/oip_json.hpp>

#include <http/application.hpp>
#include <http/host.hpp>
#include <http/limits.hpp>

namespace penstock::http {

/// Between the wire and a graph: requests become events, answers become responses.
///
/// Health is answered here, without the gate; other GET calls of the protocol and all of the model
/// repository go to the plan's `frontend` step, as do GET /metrics, GET /openapi.json and a browser's GET /; everything
/// else enters the graph with its path. Below `model_prefix`, tensors are decoded before Python sees them.
class Front final : public Application {
 public:
  struct Options {
    std::string model_prefix;  ///< empty: nothing is decoded ahead
    StepId frontend = kNoStep;
    bool responds = true;  ///< a graph without responder: 200 and the event's id, at once
    std::chrono::milliseconds deadline{30000};
    std::size_t body_bytes = Limits{}.body_bytes;  ///< of what a compressed body holds; more: 413
  };

  Front(std::shared_ptr<Executor> executor, Host& host, Options options);

  /// Whether /v2/health/ready says so. Any thread.
  void set_ready(bool ready) noexcept { ready_.store(ready); }
  /// See Server::wake; set before the server starts.
  std::function<void(std::size_t)> wake;

  void handle(Request&& request, Reply reply) override;
  void after_poll(std::size_t loop) override;
  void thread_started(std::size_t loop) override;
  void thread_ending(std::size_t loop) override;
  /// Sends what this thread has answered; the executor's `flush`.
  static void flush();

 private:
  bool answer_health(const Request& request, Reply& reply) const;
  void admit(Request&& request, Reply reply, StepId entry);
  Payload payload_of(Request& request, AnswerTerms& terms) const;
  [[nodiscard]] Duration deadline_of(std::optional<std::chrono::milliseconds> header, const AnswerTerms& terms) const;
  [[nodiscard]] bool is_for_frontend(const Request& request) const;

  const std::shared_ptr<Executor> executor_;
  Host& host_;
  const Options options_;
  std::atomic<bool> ready_{true};
};

}  // namespace penstock::http
