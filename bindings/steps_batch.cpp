// Steps that handle batches: models, and functions that get a list of bodies.

#include <utility>

#include "model_batch.hpp"
#include "steps.hpp"

namespace penstock::python {
namespace {

/// Where the handler's argument is in a body, and where its result goes.
class Paths {
 public:
  explicit Paths(const StepArguments& arguments)
      : input_(split_path(arguments.input_path)), result_(split_path(arguments.result_path)) {}

  /// Throws Failure.
  py::object argument(Event& event) const {
    PyObject* body = body_of(event);
    if (input_.empty()) return py::reinterpret_borrow<py::object>(body);
    auto argument = py::reinterpret_steal<py::object>(get_at(body, input_));
    if (!argument) throw take_exception();
    return argument;
  }
  /// Throws Failure.
  void keep(Event& event, PyObject* result) const {
    if (result_.empty() || PyObject_IsTrue(body_of(event)) != 1)
      event.body = Payload(share(result));
    else if (!set_at(body_of(event), result_, result))
      throw take_exception();
  }

 private:
  std::vector<py::str> input_, result_;
};

void fail_all(Batch& batch, const Failure& failure, Emitter& out) {
  for (Event& event : batch)
    if (event.completion() != nullptr) out.fail(std::move(event), Failure(failure));
}

/// A function that gets a list of bodies, or a model or a sink that gets a list of events.
class BatchMap final : public Step, public Replaceable {
 public:
  /// `model`: its `do_events` is called, and its `measure`.
  BatchMap(StepArguments arguments, bool events, bool model)
      : paths_(arguments), events_(events), model_(model), ragged_(arguments.ragged) {
    retarget(std::move(arguments.target));
  }

  void retarget(py::object target) override {
    target_ = model_ ? target.attr("do_events") : target;
    if (!model_) return;
    measure_ = target.attr("measure");
    isolate_ = target.attr("isolate").cast<bool>();
    served_ = std::make_shared<Model>(target.attr("model"));
  }

  /// Rows that Python holds are measured by Python; bytes that nobody has read yet count as one row.
  Fit fit(Event& event) const override {
    Fit fit = fit_of(event, ragged_);
    if (!measure_) return Fit{0, 1, fit.priority};
    if (event.body.request() != nullptr || !GilGate::inside()) return fit;
    try {
      const py::object measure = measure_;
      const py::tuple measured = measure(py::handle(body_of(event)));
      fit.form = measured[0].cast<std::uint64_t>();
      fit.rows = measured[1].cast<std::uint32_t>();
      if (fit.priority == 0) fit.priority = measured[2].cast<std::uint32_t>();
    } catch (const Failure&) {  // what is wrong with the body shows when the step handles it
    } catch (py::error_already_set& error) {
      error.discard_as_unraisable("penstock: a request could not be measured");
    }
    return fit;
  }

  void run(Batch& batch, Emitter& out) override {
    try {
      const std::shared_ptr<Model> served = served_;  // whatever takes its place meanwhile
      if (served && predict_together(*served, batch, out, isolate_)) return;
      py::list items;
      std::vector<std::size_t> bad;
      for (std::size_t i = 0; i < batch.size(); ++i) {
        try {
          items.append(events_ ? lend_event(batch[i]) : paths_.argument(batch[i]));
        } catch (Failure& failure) {  // a body that is not JSON fails alone
          out.fail(std::move(batch[i]), std::move(failure));
          bad.push_back(i);
        }
      }
      for (auto place = bad.rbegin(); place != bad.rend(); ++place)
        batch.erase(batch.begin() + static_cast<std::ptrdiff_t>(*place));
      if (batch.empty()) return;
      const py::object target = target_;
      const py::object result = py::reinterpret_steal<py::object>(PyObject_CallOneArg(target.ptr(), items.ptr()));
      for (std::size_t i = 0; events_ && i < batch.size(); ++i)
        batch[i].envelope = items[i].cast<const PyEvent&>().envelope;
      if (!result) throw take_exception();
      if (PyCoro_CheckExact(result.ptr())) {
        spawn(result.ptr(), std::make_unique<Later>(*this, std::move(batch), std::move(out)));
        out = Emitter();
        batch.clear();
        return;
      }
      emit_results(batch, result.ptr(), out);
    } catch (const Failure& failure) {
      fail_all(batch, failure, out);
    }
  }
  void close() override {
    target_ = measure_ = py::object();
    served_.reset();
  }

 private:
  class Later final : public Continuation {
   public:
    Later(const BatchMap& step, Batch&& batch, Emitter&& out)
        : step_(step), batch_(std::move(batch)), out_(std::move(out)) {}
    void resolve(PyObject* result) override {
      try {
        step_.emit_results(batch_, result, out_);
      } catch (const Failure& failure) {
        fail_all(batch_, failure, out_);
      }
    }
    void reject(Failure&& failure) override { fail_all(batch_, failure, out_); }
    Emitter& emitter() override { return out_; }
    const Event& event() override { return nobody_; }  // one caller's leaving does not end the batch

   private:
    const BatchMap& step_;
    Batch batch_;
    Emitter out_;
    Event nobody_;
  };

  static constexpr const char* kNoList = "a step with .batch() must return a list of results";

  /// Sends each event on with its result; an exception among the results fails that event alone.
  void emit_results(Batch& batch, PyObject* results, Emitter& out) const {
    if (PyUnicode_Check(results) || PyBytes_Check(results) || PyDict_Check(results) || PyAnySet_Check(results))
      throw Failure{"", 500, "TypeError", kNoList, {}};  // they can be walked through, but hold no results
    const py::object list = py::reinterpret_steal<py::object>(PySequence_Fast(results, kNoList));
    if (!list) throw take_exception();
    const auto count = static_cast<std::size_t>(PySequence_Fast_GET_SIZE(list.ptr()));
    if (count != batch.size())
      throw Failure{"",
                    500,
                    "ValueError",
                    "the batch had " + std::to_string(batch.size()) + " events, the handler returned " +
                        std::to_string(count) + " results",
                    {}};
    for (std::size_t i = 0; i < count; ++i) {
      PyObject* result = PySequence_Fast_GET_ITEM(list.ptr(), static_cast<Py_ssize_t>(i));
      Event event = std::move(batch[i]);
      if (result == dropped()) {
        out.drop(std::move(event));
        continue;
      }
      if (PyExceptionInstance_Check(result)) {
        out.fail(std::move(event), to_failure(py::reinterpret_borrow<py::object>(result)));
        continue;
      }
      try {
        if (events_)
          take_event(event, result, "do_events");
        else
          paths_.keep(event, result);
      } catch (Failure& failure) {
        out.fail(std::move(event), std::move(failure));
        continue;
      }
      const bool ended = events_ && event.envelope && event.envelope->terminated;
      if (ended)
        out.finish(std::move(event));
      else
        out.emit(std::move(event));
    }
  }

  py::object target_, measure_;
  std::shared_ptr<Model> served_;  ///< null if it is no model
  bool isolate_ = true;
  Paths paths_;
  bool events_, model_, ragged_;
};

}  // namespace

std::unique_ptr<Step> make_batch_step(const std::string& kind, StepArguments arguments) {
  const bool model = kind == "model";
  const bool events = model || kind == "sink";
  if (events || (kind == "map" && !arguments.full_event))
    return std::make_unique<BatchMap>(std::move(arguments), events, model);
  throw std::invalid_argument("a step of kind '" + kind + "' takes one event at a time, so it cannot have .batch()");
}

}  // namespace penstock::python
