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
#include <http/entrance.hpp>
#include <http/host.hpp>
#include <http/limits.hpp>

namespace penstock::http {

/// Between the wire and the graph at the entrance: requests become events, answers become responses.
///
/// Health is answered here, without the gate; other GET calls of the protocol and all of the model
/// repository go to its `frontend` step, as do GET /metrics, GET /openapi.json and a browser's GET /; everything
/// else enters the graph with its path. Below `model_prefix`, tensors are decoded before Python sees them.
class Front final : public Application {
 public:
  struct Options {
    std::chrono::milliseconds deadline{30000};
    std::size_t body_bytes = Limits{}.body_bytes;  ///< of what a compressed body holds; more: 413
  };

  Front(const Entrance& entrance, Host& host, Options options);

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
  void admit(Request&& request, Reply reply, const Served& graph);
  void take_seat(std::size_t loop) const;

  const Entrance& entrance_;
  Host& host_;
  const Options options_;
  std::atomic<bool> ready_{true};
};

}  // namespace penstock::http
