// The step of a model server: tensors from the wire go straight to `predict`.

#include <utility>

#include "steps.hpp"
#include "tensors.hpp"

namespace penstock::python {
namespace {

class ModelStep final : public Transform {
 public:
  explicit ModelStep(StepArguments arguments)
      : model_(std::move(arguments.target)), do_event_(model_.attr("do_event")), predict_(model_.attr("predict")),
        native_(model_.attr("_native").cast<bool>()) {
    const auto name = model_.attr("name").cast<std::string>();
    const auto colon = name.find(':');
    name_ = name.substr(0, colon);
    if (colon != std::string::npos) version_ = name.substr(colon + 1);
  }

  Verdict apply(Event& event, Pass& pass) override {
    try {
      const auto request = native_ ? event.body.request() : nullptr;
      if (request != nullptr && is_infer(event) && knows_outputs() && predict(event, *request)) return Verdict::kEmit;
      return call(event);
    } catch (Failure& failure) {
      pass.failure = std::move(failure);
    } catch (const py::error_already_set& error) {
      pass.failure = to_failure(error.value());
    }
    return Verdict::kFail;
  }
  void close() override { model_ = do_event_ = predict_ = py::object(); }

 private:
  static bool is_infer(const Event& event) {
    return event.envelope && (event.envelope->path == "infer" || event.envelope->path == "predict");
  }

  /// The model learns the names and types of its tensors from its first request, through Python.
  bool knows_outputs() {
    if (!output_name_.empty()) return true;
    const py::list outputs = model_.attr("outputs");
    if (outputs.size() != 1 || py::len(model_.attr("inputs")) == 0) return false;
    output_name_ = py::str(outputs[0]["name"]).cast<std::string>();
    return !output_name_.empty();
  }

  /// False if the result is nothing that goes out without a copy; then Python answers.
  bool predict(Event& event, const InferRequest& request) const {
    py::dict body;
    if (!request.id.empty()) body["id"] = request.id;
    body["inputs"] = to_inputs(request);
    const py::object result = py::reinterpret_steal<py::object>(PyObject_CallOneArg(predict_.ptr(), body.ptr()));
    if (!result) throw py::error_already_set();
    auto output = to_tensor(output_name_, result);
    if (!output || output->type == DataType::kFp16) {
      const py::object reply = model_.attr("_reply")(body, request.id, result, names_of(request), "infer");
      event.body = Payload(share(reply.ptr()));
      return true;
    }
    auto response = std::make_shared<InferResponse>();
    response->model_name = name_;
    response->model_version = version_;
    response->id = request.id;
    response->outputs.push_back(std::move(*output));
    event.body = Payload(std::shared_ptr<const InferResponse>(std::move(response)));
    return true;
  }

  static py::list names_of(const InferRequest& request) {
    py::list names;
    for (const Tensor& tensor : request.inputs) names.append(tensor.name);
    return names;
  }

  Verdict call(Event& event) const {
    const py::object lent = lend_event(event);
    const py::object result = py::reinterpret_steal<py::object>(PyObject_CallOneArg(do_event_.ptr(), lent.ptr()));
    event.envelope = lent.cast<const PyEvent&>().envelope;
    if (!result) throw take_exception();
    take_event(event, result.ptr(), "do_event");
    return event.envelope->terminated ? Verdict::kFinish : Verdict::kEmit;
  }

  py::object model_, do_event_, predict_;
  bool native_;
  std::string name_, version_, output_name_;
};

}  // namespace

std::unique_ptr<Step> make_model_step(StepArguments arguments) {
  return std::make_unique<ModelStep>(std::move(arguments));
}

}  // namespace penstock::python
