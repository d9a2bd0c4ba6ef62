#pragma once

#include <memory>
#include <optional>
#include <utility>

#include <penstock/executor.hpp>

#include <http/host.hpp>

namespace penstock::http {

/// A client's request to a graph, until it is answered. Objects are rendered where the answer is
/// made, inside the gate; all else, and the sending, waits until the thread is outside.
class Asked : public Root {
 public:
  Asked(Host& host, std::shared_ptr<Executor> executor) : host_(host), executor_(std::move(executor)) {}

  /// Sends what this thread has answered; the executor's `flush`.
  static void flush();

 protected:
  /// Sends the answer; `rendered` if its body was an object. Once, outside the gate.
  virtual void deliver(Answer&& answer, std::optional<Response>&& rendered) = 0;
  /// Whether objects that are a response of the protocol are to come as tensors, not rendered.
  [[nodiscard]] virtual bool wants_tensors() const { return false; }
  [[nodiscard]] const std::shared_ptr<Executor>& executor() const noexcept { return executor_; }

 private:
  void on_reply(Answer&& answer) final;

  Host& host_;
  const std::shared_ptr<Executor> executor_;
};

}  // namespace penstock::http
