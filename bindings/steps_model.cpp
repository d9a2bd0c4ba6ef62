// The step of a model server: tensors from the wire go straight to `predict`.

#include <algorithm>
#include <chrono>
#include <utility>

#include <penstock/inference_stats.hpp>

#include "chunk_source.hpp"
#include "steps.hpp"
#include "tensors.hpp"

namespace penstock::python {
namespace {

bool is_infer(const Event& event) {
  return event.envelope && (event.envelope->path == "infer" || event.envelope->path == "predict");
}

py::list names_of(const InferRequest& request) {
  py::list names;
  for (const Tensor& tensor : request.inputs) names.append(tensor.name);
  return names;
}

std::size_t rows_of(const InferRequest& request) {
  const std::vector<std::int64_t>& shape = request.inputs.front().shape;
  return shape.empty() ? 1 : static_cast<std::size_t>(shape.front());
}

/// The model's own counts, so that whatever else calls it counts there, too.
std::shared_ptr<InferenceStats> stats_of(const py::object& model) {
  if (model.attr("_stats").is_none()) model.attr("_stats") = std::make_shared<InferenceStats>();
  return model.attr("_stats").cast<std::shared_ptr<InferenceStats>>();
}

/// A model, and what is known of it.
class Model {
 public:
  explicit Model(py::object model)
      : model_(std::move(model)), do_event_(model_.attr("do_event")), predict_(model_.attr("predict")),
        native_(model_.attr("_native").cast<bool>()), stats_(native_ ? stats_of(model_) : nullptr) {
    const auto name = model_.attr("name").cast<std::string>();
    const auto colon = name.find(':');
    name_ = name.substr(0, colon);
    if (colon != std::string::npos) version_ = name.substr(colon + 1);
  }

  bool native() const { return native_; }
  const py::object& do_event() const { return do_event_; }

  /// The model learns the names and types of its tensors from its first request, through Python.
  bool knows_outputs() {
    if (!outputs_.empty()) return true;
    const py::list outputs = model_.attr("outputs");
    if (outputs.empty() || py::len(model_.attr("inputs")) == 0) return false;
    for (const py::handle output : outputs) {
      const auto type = data_type_from(py::str(output["datatype"]).cast<std::string>());
      outputs_.push_back({py::str(output["name"]).cast<std::string>(), type == DataType::kBf16});
    }
    return true;
  }

  /// Makes the answer the event's body, and counts the request. Returns a generator of replies, if the answer comes in
  /// parts: those count themselves.
  py::object predict(Event& event, const InferRequest& request) const {
    const Duration waited = waited_by(event);
    const TimePoint begun = Clock::now();
    TimePoint prepared, inferred;
    try {
      const py::dict body = body_for(request);
      prepared = Clock::now();
      const py::object result = py::reinterpret_steal<py::object>(PyObject_CallOneArg(predict_.ptr(), body.ptr()));
      if (!result) throw py::error_already_set();
      inferred = Clock::now();
      if (is_generator(result.ptr()))
        return model_.attr("_parts")(body, request.id, result, names_of(request),
                                     std::chrono::duration_cast<std::chrono::nanoseconds>(waited).count());
      answer(event, request, body, result);
    } catch (...) {
      stats_->request(false, 0, waited, Clock::now() - begun);
      throw;
    }
    const TimePoint end = Clock::now();
    stats_->execution(rows_of(request), {prepared - begun, inferred - prepared, end - inferred});
    stats_->request(true, rows_of(request), waited, end - begun);
    return {};
  }

 private:
  struct Output {
    std::string name;
    bool bfloat;
  };

  static py::dict body_for(const InferRequest& request) {
    py::dict body;
    if (!request.id.empty()) body["id"] = request.id;
    body["inputs"] = to_inputs(request);
    if (!request.parameters.empty()) body["parameters"] = parameters_of(request);
    if (!request.outputs.empty()) body["outputs"] = outputs_of(request);
    return body;
  }

  /// Answers from memory that the arrays share with the wire; what else `predict` gives, Python writes.
  void answer(Event& event, const InferRequest& request, const py::dict& body, const py::object& result) const {
    auto response = std::make_shared<InferResponse>();
    if (!add_all(*response, result)) {
      const py::object reply = model_.attr("_reply")(body, request.id, result, names_of(request), "infer");
      event.body = Payload(share(reply.ptr()));
      return;
    }
    response->model_name = name_;
    response->model_version = version_;
    response->id = request.id;
    event.body = Payload(std::shared_ptr<const InferResponse>(std::move(response)));
  }

  /// Adds an output; false if it cannot go out as it is.
  bool add(InferResponse& response, const std::string& name, const py::object& result) const {
    auto tensor = to_tensor(name, result);
    const auto known =
        std::find_if(outputs_.begin(), outputs_.end(), [&name](const Output& o) { return o.name == name; });
    if (tensor && known != outputs_.end() && known->bfloat) tensor = to_bfloat(*tensor);
    if (tensor) response.outputs.push_back(std::move(*tensor));
    return tensor.has_value();
  }

  bool add_all(InferResponse& response, const py::object& result) const {
    if (!py::isinstance<py::dict>(result)) return add(response, outputs_.front().name, result);
    for (const auto& [name, array] : py::reinterpret_borrow<py::dict>(result))
      if (!py::isinstance<py::str>(name) ||
          !add(response, name.cast<std::string>(), py::reinterpret_borrow<py::object>(array)))
        return false;
    return !response.outputs.empty();
  }

  py::object model_, do_event_, predict_;
  bool native_;
  const std::shared_ptr<InferenceStats> stats_;  ///< null if it is not native: then Python counts
  std::string name_, version_;
  std::vector<Output> outputs_;  ///< of the model, once they are known
};

class ModelStep final : public Transform, public Replaceable {
 public:
  explicit ModelStep(StepArguments arguments) : model_(std::make_shared<Model>(std::move(arguments.target))) {}

  Verdict apply(Event& event, Pass& pass) override {
    const std::shared_ptr<Model> model = model_;  // whatever takes its place meanwhile
    try {
      const auto request = model->native() ? event.body.request() : nullptr;
      if (request != nullptr && is_infer(event) && model->knows_outputs()) {
        py::object parts = model->predict(event, *request);
        if (!parts) return Verdict::kEmit;
        make_chunks(std::move(event), pass.detach(), std::move(parts), turnstile_);
        return Verdict::kTaken;
      }
      return call(*model, event, pass);
    } catch (Failure& failure) {
      pass.failure = std::move(failure);
    } catch (const py::error_already_set& error) {
      pass.failure = to_failure(error.value());
    }
    return Verdict::kFail;
  }
  void close() override { model_.reset(); }
  void retarget(py::object target) override { model_ = std::make_shared<Model>(std::move(target)); }

 private:
  Verdict call(const Model& model, Event& event, Pass& pass) const {
    const py::object lent = lend_event(event);
    PyObject* result = PyObject_CallOneArg(model.do_event().ptr(), lent.ptr());
    event.envelope = lent.cast<const PyEvent&>().envelope;
    if (result == nullptr) throw take_exception();
    const py::object held = py::reinterpret_steal<py::object>(result);
    take_event(event, result, "do_event");
    if (const Object* body = event.body.object(); body != nullptr && *body && is_generator(raw(*body))) {
      const auto generator = py::reinterpret_borrow<py::object>(raw(*body));
      make_chunks(std::move(event), pass.detach(), generator, turnstile_);
      return Verdict::kTaken;
    }
    return event.envelope->terminated ? Verdict::kFinish : Verdict::kEmit;
  }

  std::shared_ptr<Model> model_;
  const std::shared_ptr<Turnstile> turnstile_ = std::make_shared<Turnstile>();
};

}  // namespace

std::unique_ptr<Step> make_model_step(StepArguments arguments) {
  return std::make_unique<ModelStep>(std::move(arguments));
}

}  // namespace penstock::python
