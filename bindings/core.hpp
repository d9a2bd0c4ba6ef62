#pragma once

#include <memory>
#include <optional>

#include <http/service.hpp>
#include <penstock/executor.hpp>

#include "objects.hpp"
#include "plan.hpp"

namespace penstock::python {

/// A running graph as Python holds it.
class Core final : private Observer {
 public:
  Core(PyPlan& plan, py::object on_failure);
  ~Core() override;
  Core(const Core&) = delete;
  Core& operator=(const Core&) = delete;

  py::object run(PyEvent& event, std::optional<double> timeout, py::object nothing);
  void submit(PyEvent& event);
  void lend(const py::function& spawn);
  bool drain(double timeout);
  void close();
  py::dict stats() const;
  void retarget(StepId step, py::object target);

  [[nodiscard]] const std::shared_ptr<Executor>& executor() const noexcept { return executor_; }
  [[nodiscard]] const PyPlan& plan() const noexcept { return plan_; }
  /// Where a server is made known to the core's threads.
  [[nodiscard]] const std::shared_ptr<http::Service>& service() const noexcept { return service_; }

 private:
  void failed(const Failure& failure, const Event& event, bool heard) override;

  PyPlan plan_;
  py::object on_failure_;
  std::shared_ptr<http::Service> service_ = std::make_shared<http::Service>();
  std::shared_ptr<Executor> executor_;
};

}  // namespace penstock::python
