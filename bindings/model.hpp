#pragma once

// A model server as steps call it. Needs the GIL.

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <penstock/event.hpp>
#include <penstock/inference_stats.hpp>
#include <penstock/tensor.hpp>

#include "gil.hpp"

namespace penstock::python {

std::size_t rows_of(const InferRequest& request);
/// What `predict` gets.
py::dict body_for(const InferRequest& request);

/// A model, and what is known of it.
class Model {
 public:
  explicit Model(py::object model);

  const std::string& name() const { return name_; }
  const py::object& do_event() const { return do_event_; }
  /// The tensors of an event that needs nothing of Python but `predict`; null for any other.
  std::shared_ptr<const InferRequest> request_in(const Event& event);
  /// Makes the answer the event's body, and counts the request. Returns a generator of replies, if the answer comes in
  /// parts: those count themselves.
  py::object predict(Event& event, const InferRequest& request) const;

  /// What `predict` returns.
  py::object call(const py::dict& body) const;
  /// The tensors of a result, in memory that they share with its arrays; nothing if Python has to write them.
  std::optional<std::vector<Tensor>> outputs_of(const py::object& result) const;
  void answer(Event& event, const InferRequest& request, std::vector<Tensor>&& outputs) const;
  /// Has Python write the answer.
  void answer(Event& event, const InferRequest& request, const py::dict& body, const py::object& result) const;
  InferenceStats& stats() const { return *stats_; }

 private:
  struct Output {
    std::string name;
    bool bfloat;
  };

  bool knows_outputs();
  std::optional<Tensor> output(const std::string& name, const py::object& result) const;

  py::object model_, do_event_, predict_;
  const std::shared_ptr<InferenceStats> stats_;  ///< null if Python sees all of it: then Python counts
  std::string name_, version_;
  std::vector<Output> outputs_;  ///< of the model, once they are known
};

}  // namespace penstock::python
