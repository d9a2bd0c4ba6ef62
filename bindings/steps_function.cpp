// Steps that call a function of the user: map, filter, extend, flat_map.

#include <utility>

#include "chunk_source.hpp"
#include "steps.hpp"

namespace penstock::python {
namespace {

/// What a handler gets and what becomes of its result; shared by the kinds of function steps.
class Function {
 public:
  Function(StepArguments arguments)
      : name_(std::move(arguments.name)), target_(std::move(arguments.target)), full_event_(arguments.full_event),
        input_(split_path(arguments.input_path)), result_(split_path(arguments.result_path)) {}

  /// A new reference, or null with a Python exception set. Throws Failure.
  PyObject* call(Event& event) const {
    const py::object target = target_;
    if (full_event_) {
      const py::object lent = lend_event(event);
      PyObject* result = PyObject_CallOneArg(target.ptr(), lent.ptr());
      // The event stays itself, whatever the handler returns or raises.
      event.envelope = lent.cast<const PyEvent&>().envelope;
      return result;
    }
    PyObject* body = body_of(event);
    if (input_.empty()) return PyObject_CallOneArg(target.ptr(), body);
    const py::object argument = py::reinterpret_steal<py::object>(get_at(body, input_));
    return argument ? PyObject_CallOneArg(target.ptr(), argument.ptr()) : nullptr;
  }

  /// Makes `result` (taken over) the event's body. Throws Failure; false with an exception set.
  bool keep(Event& event, PyObject* result) const {
    if (full_event_) {
      const py::object held = py::reinterpret_steal<py::object>(result);
      take_event(event, result, "a handler with full_event");
      return true;
    }
    if (!result_.empty() && PyObject_IsTrue(body_of(event)) == 1) {
      const py::object held = py::reinterpret_steal<py::object>(result);
      return set_at(body_of(event), result_, result);
    }
    replace_body(event, result);
    return true;
  }

  bool full_event() const { return full_event_; }
  void retarget(py::object target) { target_ = std::move(target); }
  void close() { target_ = py::object(); }

 private:
  std::string name_;
  py::object target_;
  bool full_event_;
  std::vector<py::str> input_, result_;
};

/// A step that makes of an event at most one by calling a function.
class FunctionStep : public Transform, public Replaceable {
 public:
  explicit FunctionStep(StepArguments arguments) : function_(std::make_shared<Function>(std::move(arguments))) {}

  Verdict apply(Event& event, Pass& pass) final {
    try {
      PyObject* result = function_->call(event);
      if (result == nullptr) throw take_exception();
      if (PyCoro_CheckExact(result)) return wait_for(event, pass, result);
      if (streams() && is_generator(result)) {
        make_chunks(std::move(event), pass.detach(), py::reinterpret_steal<py::object>(result), turnstile_);
        return Verdict::kTaken;
      }
      return absorb(event, result);
    } catch (Failure& failure) {
      pass.failure = std::move(failure);
    } catch (py::error_already_set& error) {
      pass.failure = to_failure(error.value());
    }
    return Verdict::kFail;
  }
  void close() override { function_->close(); }
  void retarget(py::object target) final { function_->retarget(std::move(target)); }

  /// Makes of a result (taken over) what it means for the event. Throws Failure.
  virtual Verdict absorb(Event& event, PyObject* result) const = 0;
  /// A generator is as many results.
  virtual bool streams() const { return false; }

 private:
  class Later;
  Verdict wait_for(Event& event, Pass& pass, PyObject* coroutine);

 protected:
  std::shared_ptr<Function> function_;
  const std::shared_ptr<Turnstile> turnstile_ = std::make_shared<Turnstile>();
};

class FunctionStep::Later final : public Continuation {
 public:
  Later(const FunctionStep& step, Event&& event, Emitter&& out)
      : step_(step), event_(std::move(event)), out_(std::move(out)) {}
  void resolve(PyObject* result) override {
    try {
      if (step_.streams() && is_generator(result))
        return make_chunks(std::move(event_), std::move(out_), py::reinterpret_borrow<py::object>(result),
                           step_.turnstile_);
      switch (step_.absorb(event_, Py_NewRef(result))) {
        case Verdict::kEmit:
          return out_.emit(std::move(event_));
        case Verdict::kFinish:
          return out_.finish(std::move(event_));
        default:
          return out_.drop(std::move(event_));
      }
    } catch (Failure& failure) {
      out_.fail(std::move(event_), std::move(failure));
    }
  }
  void reject(Failure&& failure) override { out_.fail(std::move(event_), std::move(failure)); }
  Emitter& emitter() override { return out_; }
  const Event& event() override { return event_; }

 private:
  const FunctionStep& step_;
  Event event_;
  Emitter out_;
};

Verdict FunctionStep::wait_for(Event& event, Pass& pass, PyObject* coroutine) {
  const py::object held = py::reinterpret_steal<py::object>(coroutine);
  spawn(coroutine, std::make_unique<Later>(*this, std::move(event), pass.detach()));
  return Verdict::kTaken;
}

class Map final : public FunctionStep {
 public:
  using FunctionStep::FunctionStep;
  bool streams() const override { return true; }
  Verdict absorb(Event& event, PyObject* result) const override {
    if (result == dropped()) {
      Py_DECREF(result);
      return Verdict::kDrop;
    }
    if (!function_->keep(event, result)) throw take_exception();
    return function_->full_event() && event.envelope && event.envelope->terminated ? Verdict::kFinish : Verdict::kEmit;
  }
};

class Filter final : public FunctionStep {
 public:
  using FunctionStep::FunctionStep;
  Verdict absorb(Event& /*event*/, PyObject* result) const override {
    const int truth = PyObject_IsTrue(result);
    Py_DECREF(result);
    if (truth < 0) throw take_exception();
    return truth == 1 ? Verdict::kEmit : Verdict::kDrop;
  }
};

class Extend final : public FunctionStep {
 public:
  using FunctionStep::FunctionStep;
  Verdict absorb(Event& event, PyObject* result) const override {
    const py::object more = py::reinterpret_steal<py::object>(result);
    PyObject* body = body_of(event);
    if (PyDict_Check(body) == 0 || PyDict_Check(result) == 0)
      throw Failure{"",
                    500,
                    "TypeError",
                    std::string("Extend merges a dict into a dict, the body is ") + Py_TYPE(body)->tp_name +
                        " and the function gave " + Py_TYPE(result)->tp_name,
                    {}};
    if (PyDict_Update(body, result) != 0) throw take_exception();
    return Verdict::kEmit;
  }
};

class PassOn final : public Transform {
 public:
  Verdict apply(Event& /*event*/, Pass& /*pass*/) override { return Verdict::kEmit; }
};

/// One event for each element of what the function gives.
class FlatMap final : public Step {
 public:
  explicit FlatMap(StepArguments arguments) : function_(std::make_shared<Function>(std::move(arguments))) {}

  void run(Batch& batch, Emitter& out) override {
    for (Event& event : batch) {
      try {
        PyObject* result = function_->call(event);
        if (result == nullptr) throw take_exception();
        const py::object held = py::reinterpret_steal<py::object>(result);
        if (PyCoro_CheckExact(result)) {
          auto share = std::make_shared<Emitter>(std::move(out));  // a flat map runs one event at a time
          spawn(result, std::make_unique<Later>(std::move(event), share));
          out = Emitter();
          return;
        }
        emit_each(std::move(event), result, out);
      } catch (Failure& failure) {
        out.fail(std::move(event), std::move(failure));
      }
    }
  }
  void close() override { function_->close(); }

 private:
  /// All elements are taken before the first goes on: a failure in the middle sends none.
  static void emit_each(Event&& event, PyObject* elements, Emitter& out) {
    std::vector<py::object> taken;
    const py::object iterator = py::reinterpret_steal<py::object>(PyObject_GetIter(elements));
    if (!iterator) throw take_exception();
    while (PyObject* element = PyIter_Next(iterator.ptr())) taken.push_back(py::reinterpret_steal<py::object>(element));
    if (PyErr_Occurred() != nullptr) throw take_exception();
    if (taken.empty()) return out.drop(std::move(event));
    Batch derived;
    for (std::size_t i = 1; i < taken.size(); ++i)
      derived.push_back(event.derive(Payload(adopt(taken[i].release().ptr())), true));
    event.body = Payload(adopt(taken[0].release().ptr()));
    out.emit(std::move(event));
    for (Event& next : derived) out.emit(std::move(next));
  }

  class Later final : public Continuation {
   public:
    Later(Event&& event, std::shared_ptr<Emitter> out) : event_(std::move(event)), out_(std::move(out)) {}
    void resolve(PyObject* result) override {
      try {
        emit_each(std::move(event_), result, *out_);
      } catch (Failure& failure) {
        out_->fail(std::move(event_), std::move(failure));
      }
    }
    void reject(Failure&& failure) override { out_->fail(std::move(event_), std::move(failure)); }
    Emitter& emitter() override { return *out_; }
    const Event& event() override { return event_; }

   private:
    Event event_;
    std::shared_ptr<Emitter> out_;
  };

  std::shared_ptr<Function> function_;
};

}  // namespace

std::unique_ptr<Step> make_step(const std::string& kind, StepArguments arguments) {
  if (kind == "rows") return make_sink_step(std::move(arguments));
  if (arguments.batch_size > 1) return make_batch_step(kind, std::move(arguments));
  if (kind == "map") return std::make_unique<Map>(std::move(arguments));
  if (kind == "filter") return std::make_unique<Filter>(std::move(arguments));
  if (kind == "extend") return std::make_unique<Extend>(std::move(arguments));
  if (kind == "flat_map") return std::make_unique<FlatMap>(std::move(arguments));
  if (kind == "pass") return std::make_unique<PassOn>();
  if (kind == "model") return make_model_step(std::move(arguments));
  if (kind == "stage") return make_stage_step(std::move(arguments));
  if (auto router = make_router_step(kind, std::move(arguments))) return router;
  throw std::invalid_argument("there is no kind of step '" + kind + "'");
}

}  // namespace penstock::python
