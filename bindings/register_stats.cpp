#include <chrono>
#include <memory>

#include <penstock/inference_stats.hpp>

#include "register.hpp"

namespace penstock::python {
namespace {

using Stats = InferenceStats;
using nanoseconds = std::chrono::nanoseconds;

py::list pair_of(const Stats::Timed& timed) {
  py::list pair;
  pair.append(timed.count);
  pair.append(std::chrono::duration_cast<nanoseconds>(timed.time).count());
  return pair;
}

py::dict described(const Stats::Executions& executions) {
  py::dict phases;
  phases["compute_input"] = pair_of(executions.input);
  phases["compute_infer"] = pair_of(executions.infer);
  phases["compute_output"] = pair_of(executions.output);
  return phases;
}

py::dict described(const Stats::Responses& responses) {
  py::dict ends;
  ends["compute_infer"] = pair_of(responses.infer);
  ends["compute_output"] = pair_of(responses.output);
  ends["success"] = pair_of(responses.success);
  ends["fail"] = pair_of(responses.fail);
  ends["empty_response"] = pair_of(responses.empty);
  ends["cancel"] = pair_of(responses.cancel);
  return ends;
}

template <class T>
py::dict by_number(const std::map<std::size_t, T>& all) {
  py::dict found;
  for (const auto& [number, one] : all) found[py::str(std::to_string(number))] = described(one);
  return found;
}

py::dict counts(const Stats& stats) {
  const Stats::Snapshot done = stats.snapshot();
  py::dict found;
  found["inferences"] = done.rows;
  found["success"] = pair_of(done.success);
  found["fail"] = pair_of(done.fail);
  found["queue"] = pair_of(done.queue);
  found["executions"] = described(done.executions);
  found["batches"] = by_number(done.sizes);
  found["responses"] = by_number(done.responses);
  return found;
}

}  // namespace

void register_stats(py::module_& m) {
  py::class_<Stats, std::shared_ptr<Stats>>(m, "InferenceStats", "What a model has done; times are in nanoseconds.")
      .def(py::init<>())
      .def(
          "answered",
          [](Stats& stats, std::size_t rows, std::int64_t waited, std::int64_t begun, std::int64_t prepared,
             std::int64_t inferred, std::int64_t end) {
            stats.execution(
                rows, {nanoseconds(prepared - begun), nanoseconds(inferred - prepared), nanoseconds(end - inferred)});
            stats.request(true, rows, nanoseconds(waited), nanoseconds(end - begun));
          },
          py::arg("rows"), py::arg("waited"), py::arg("begun"), py::arg("prepared"), py::arg("inferred"),
          py::arg("end"), "A request had an execution to itself.")
      .def(
          "executed",
          [](Stats& stats, std::size_t rows, std::int64_t begun, std::int64_t prepared, std::int64_t inferred,
             std::int64_t end) {
            stats.execution(
                rows, {nanoseconds(prepared - begun), nanoseconds(inferred - prepared), nanoseconds(end - inferred)});
          },
          py::arg("rows"), py::arg("begun"), py::arg("prepared"), py::arg("inferred"), py::arg("end"))
      .def(
          "succeeded",
          [](Stats& stats, std::size_t rows, std::int64_t waited, std::int64_t taken) {
            stats.request(true, rows, nanoseconds(waited), nanoseconds(taken));
          },
          py::arg("rows"), py::arg("waited"), py::arg("taken"), "A request shared its execution with others.")
      .def(
          "failed",
          [](Stats& stats, std::int64_t waited, std::int64_t taken) {
            stats.request(false, 0, nanoseconds(waited), nanoseconds(taken));
          },
          py::arg("waited"), py::arg("taken"))
      .def(
          "response",
          [](Stats& stats, std::size_t number, const std::string& end, std::int64_t infer, std::int64_t output) {
            const auto ended = end == "success" ? Stats::End::kSuccess
                               : end == "fail"  ? Stats::End::kFail
                               : end == "empty" ? Stats::End::kEmpty
                                                : Stats::End::kCancel;
            stats.response(number, ended, nanoseconds(infer), nanoseconds(output));
          },
          py::arg("number"), py::arg("end"), py::arg("infer"), py::arg("output"),
          "The n-th of a stream; `end` is success, fail, empty or cancel.")
      .def("counts", &counts, "All that adds up, as pairs of count and time; sizes and numbers are texts.")
      .def_property_readonly(
          "last",
          [](const Stats& stats) {
            return std::chrono::duration_cast<std::chrono::milliseconds>(stats.snapshot().last.time_since_epoch())
                .count();
          },
          "When a request ended last, in milliseconds since the epoch; 0 if none has.");
}

}  // namespace penstock::python
