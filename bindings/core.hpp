#pragma once

#include <memory>
#include <optional>

#include <penstock/executor.hpp>

#include "objects.hpp"
#include "plan.hpp"

namespace penstock::python {

/// A running graph as Python holds it.
class Core final : private Observer {
 public:
  explicit Core(PyPlan& plan);
  ~Core() override;
  Core(const Core&) = delete;
  Core& operator=(const Core&) = delete;

  py::object run(PyEvent& event, std::optional<double> timeout);
  void submit(PyEvent& event);
  void lend(const py::function& spawn);
  bool drain(double timeout);
  void close();
  py::dict stats() const;

  [[nodiscard]] const std::shared_ptr<Executor>& executor() const noexcept { return executor_; }
  [[nodiscard]] const PyPlan& plan() const noexcept { return plan_; }
  /// What the server's threads do for the lane; set before anything is admitted by them.
  struct Service {
    std::function<void()> flush;
    std::function<void(std::size_t)> assist;
    std::function<void()> nudge;
  };
  std::shared_ptr<Service> service = std::make_shared<Service>();

 private:
  void failed(const Failure& failure, const Event& event) override;

  PyPlan plan_;
  std::shared_ptr<Executor> executor_;
};

}  // namespace penstock::python
