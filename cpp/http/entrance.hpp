#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include <penstock/executor.hpp>

namespace penstock::http {

/// A graph as the fronts see it.
struct Served {
  std::shared_ptr<Executor> executor;
  std::string model_prefix{};  ///< below it, tensors are decoded ahead; empty: nowhere
  StepId frontend = kNoStep;   ///< takes what is no inference
  bool responds = true;        ///< a graph without responder: taken, and answered at once
};

/// The graph that requests enter. Another may take its place while they come: a request that is in
/// hand then enters the former one, as does nothing that is read afterwards (docs/adr/0006). Thread-safe.
class Entrance {
 public:
  explicit Entrance(Served graph) : held_(std::make_shared<const Served>(std::move(graph))), now_(held_.get()) {}

  /// For a handler of one of the server's loops: good until it returns, at the cost of a plain load.
  [[nodiscard]] const Served& now() const noexcept { return *now_.load(std::memory_order_acquire); }
  /// Whether it is this one still.
  [[nodiscard]] bool is(const Served* graph) const noexcept { return now_.load(std::memory_order_relaxed) == graph; }
  /// For all others.
  [[nodiscard]] std::shared_ptr<const Served> held() const {
    const std::lock_guard lock(mutex_);
    return held_;
  }
  /// Returns the former one. It has to be kept until every handler that runs now has returned; see
  /// Server::await_handlers.
  [[nodiscard]] std::shared_ptr<const Served> replace(Served graph) {
    auto next = std::make_shared<const Served>(std::move(graph));
    const std::lock_guard lock(mutex_);
    now_.store(next.get(), std::memory_order_release);
    return std::exchange(held_, std::move(next));
  }

 private:
  mutable std::mutex mutex_;  ///< a leaf; guards the next
  std::shared_ptr<const Served> held_;
  std::atomic<const Served*> now_;
};

}  // namespace penstock::http
