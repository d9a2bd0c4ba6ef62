// The step of a model server: tensors from the wire go straight to `predict`.

#include <utility>

#include "chunk_source.hpp"
#include "model.hpp"
#include "steps.hpp"

namespace penstock::python {
namespace {

class ModelStep final : public Transform, public Replaceable {
 public:
  explicit ModelStep(StepArguments arguments) : model_(std::make_shared<Model>(std::move(arguments.target))) {}

  Verdict apply(Event& event, Pass& pass) override {
    const std::shared_ptr<Model> model = model_;  // whatever takes its place meanwhile
    try {
      if (const auto request = model->request_in(event)) {
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
