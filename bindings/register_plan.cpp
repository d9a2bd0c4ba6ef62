#include <pybind11/stl.h>

#include <chrono>

#include "plan.hpp"
#include "register.hpp"
#include "steps.hpp"

namespace penstock::python {
namespace {

Duration seconds(double value) { return std::chrono::duration_cast<Duration>(std::chrono::duration<double>(value)); }

/// Collects the steps of a graph.
class PlanBuilder {
 public:
  StepId add_step(std::string name, const std::string& kind, py::object target, bool full_event,
                  const std::optional<std::string>& input_path, const std::optional<std::string>& result_path,
                  std::size_t concurrency, std::size_t capacity, std::size_t batch_size, double batch_delay,
                  double timeout, bool responder, bool copy, std::int64_t gather, const std::string& prefix,
                  const std::optional<std::map<std::string, std::uint32_t>>& table, bool by_key,
                  const std::string& label, std::size_t attempts, double backoff, std::vector<std::size_t> preferred,
                  bool adaptive, double target_latency, bool ragged, bool stamp, bool eager) {
    StepArguments arguments{name,
                            std::move(target),
                            full_event,
                            input_path.value_or(""),
                            result_path.value_or(""),
                            prefix,
                            table.value_or(std::map<std::string, std::uint32_t>()),
                            batch_size,
                            ragged};
    if (kind == "route" && table && steps_.empty()) model_prefix_ = prefix;
    StepSpec spec;
    spec.name = std::move(name);
    spec.label = label;
    spec.step = make_step(kind, std::move(arguments));
    spec.concurrency = concurrency;
    spec.capacity = capacity;
    spec.batch = {batch_size, seconds(batch_delay), std::move(preferred), adaptive, seconds(target_latency), eager};
    spec.timeout = seconds(timeout);
    spec.by_key = by_key;
    spec.attempts = attempts;
    spec.backoff = seconds(backoff);
    spec.responder = responder;
    spec.copy = copy;
    spec.stamp = stamp;
    spec.gather = gather < 0 ? kNoStep : static_cast<StepId>(gather);
    steps_.push_back(std::move(spec));
    return static_cast<StepId>(steps_.size() - 1);
  }
  void connect(StepId source, StepId target, bool returns) {
    StepSpec& spec = steps_.at(source);
    spec.outlets.push_back(target);
    if (returns) spec.returns.push_back(target);
  }
  void on_error(StepId source, StepId handler) { steps_.at(source).error_handler = handler; }
  void entry(StepId step) { entries_.push_back(step); }
  void frontend(StepId step) { frontend_ = step; }

  PyPlan compile() { return PyPlan{Plan::compile(std::move(steps_), std::move(entries_)), model_prefix_, frontend_}; }

 private:
  std::vector<StepSpec> steps_;
  std::vector<StepId> entries_;
  std::string model_prefix_;
  StepId frontend_ = kNoStep;
};

}  // namespace

void register_plan(py::module_& m) {
  py::class_<PyPlan>(m, "Plan", "A graph that has been checked and can be run, once.")
      .def_property_readonly("steps", [](const PyPlan& plan) {
        std::vector<std::string> names;
        for (StepId id = 0; id < plan.plan->size(); ++id) names.push_back((*plan.plan)[id].name);
        return names;
      });
  py::class_<PlanBuilder>(m, "PlanBuilder", "Collects the steps of a graph; durations are in seconds.")
      .def(py::init<>())
      .def("add_step", &PlanBuilder::add_step, py::arg("name"), py::arg("kind"), py::arg("target") = py::none(),
           py::kw_only(), py::arg("full_event") = false, py::arg("input_path") = py::none(),
           py::arg("result_path") = py::none(), py::arg("concurrency") = 1, py::arg("capacity") = 1024,
           py::arg("batch_size") = 1, py::arg("batch_delay") = 0.0, py::arg("timeout") = 0.0,
           py::arg("responder") = false, py::arg("copy") = true, py::arg("gather") = -1, py::arg("prefix") = "",
           py::arg("table") = py::none(), py::arg("by_key") = false, py::arg("label") = "", py::arg("attempts") = 1,
           py::arg("backoff") = 0.0, py::arg("preferred") = std::vector<std::size_t>(), py::arg("adaptive") = false,
           py::arg("target_latency") = 0.0, py::arg("ragged") = false, py::arg("stamp") = false,
           py::arg("eager") = false, "Add a step; returns its number.")
      .def("connect", &PlanBuilder::connect, py::arg("source"), py::arg("target"), py::kw_only(),
           py::arg("returns") = false, "The order of calls numbers the outlets; one that `returns` closes a loop.")
      .def("on_error", &PlanBuilder::on_error, py::arg("source"), py::arg("handler"))
      .def("entry", &PlanBuilder::entry, py::arg("step"), "Events enter here; with several, each gets one.")
      .def("frontend", &PlanBuilder::frontend, py::arg("step"), "Protocol calls that are no inference go here.")
      .def("compile", &PlanBuilder::compile, "Check it all. Raises ValueError with what is wrong.");
}

}  // namespace penstock::python
