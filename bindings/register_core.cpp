#include <pybind11/stl.h>

#include <utility>

#include <http/front.hpp>
#include <penstock/ids.hpp>

#include "chunk_source.hpp"
#include "core.hpp"
#include "register.hpp"
#include "steps.hpp"

namespace penstock::python {
namespace {

/// An event that nobody waits for.
class Unattended final : public Root {
 private:
  void on_reply(Answer&& /*answer*/) override {}
};

/// The continuation as the loop's thread holds it.
struct PyContinuation {
  std::shared_ptr<Continuation> held;
  void resolve(const py::object& result) {
    if (const auto continuation = std::exchange(held, nullptr)) continuation->resolve(result.ptr());
  }
  void reject(const py::object& error) {
    if (const auto continuation = std::exchange(held, nullptr)) continuation->reject(to_failure(error));
  }
};

void set_hooks(const py::kwargs& given) {
  const std::pair<const char*, PyObject**> places[] = {
      {"describe", &hooks.describe}, {"make_error", &hooks.make_error},
      {"clone", &hooks.clone},       {"loads", &hooks.loads},
      {"dumps", &hooks.dumps},       {"spawn", &hooks.spawn},
      {"cancel", &hooks.cancel},     {"log_failure", &hooks.log_failure},
      {"drive", &hooks.drive},       {"read", &hooks.read},
      {"fields", &hooks.fields}};
  for (const auto& [name, place] : places) {
    // Kept for the life of the process: a step may need them until the very end.
    if (given.contains(name)) *place = py::object(given[name]).release().ptr();
  }
}

/// Where Ctrl-C arrives; set by the engine.
unsigned long main_thread = 0;
bool on_main_thread() { return PyThread_get_thread_ident() == main_thread; }

/// Why the calling thread must not wait for an answer; empty if it may.
std::string& no_waiting() {
  static thread_local std::string reason;
  return reason;
}

Payload body_payload(const PyEvent& event) {
  return event.body.is_none() ? Payload() : Payload(share(event.body.ptr()));
}

py::dict step_stats(const Executor& executor, StepId id) {
  const StepStats& stats = executor.stats(id);
  py::dict described;
  described["events"] = stats.events.get();
  described["failed"] = stats.failed.get();
  described["dropped"] = stats.dropped.get();
  described["batches"] = stats.batches.get();
  described["waiting"] = executor.waiting(id);
  described["slow"] = executor.slow(id);
  py::list times, sizes;
  for (std::size_t i = 0; i < Histogram::kBuckets; ++i) times.append(stats.time.count(i));
  for (std::size_t i = 0; i < SizeHistogram::kBuckets; ++i) sizes.append(stats.sizes.count(i));
  described["times"] = std::move(times);
  described["time"] = std::chrono::duration<double>(stats.time.sum()).count();
  described["sizes"] = std::move(sizes);
  described["batched"] = stats.sizes.sum();
  described["batching"] = executor.plan()[id].batch.size > 1;
  const std::uint64_t measured = stats.time.total();
  described["seconds"] =
      measured == 0 ? 0.0 : std::chrono::duration<double>(stats.time.sum()).count() / static_cast<double>(measured);
  return described;
}

}  // namespace

void spawn(PyObject* coroutine, std::unique_ptr<Continuation> continuation) {
  Continuation& later = *continuation;
  const py::object held = py::cast(PyContinuation{std::move(continuation)});
  later.on_abandoned([kept = share(held.ptr())] {
    const py::object done = py::reinterpret_steal<py::object>(PyObject_CallOneArg(hooks.cancel, raw(kept)));
    if (!done) PyErr_WriteUnraisable(hooks.cancel);
  });
  const py::object done =
      py::reinterpret_steal<py::object>(PyObject_CallFunctionObjArgs(hooks.spawn, coroutine, held.ptr(), nullptr));
  if (done) return;
  if (const auto unused = std::exchange(held.cast<PyContinuation&>().held, nullptr)) unused->reject(take_exception());
}

Core::Core(PyPlan& plan, py::object on_failure) : plan_(plan), on_failure_(std::move(on_failure)) {
  if (std::exchange(plan.taken, true)) throw std::invalid_argument("this plan runs already");
  Executor::Options options;
  options.observer = this;
  options.flush = &http::Front::flush;
  options.assist = [s = service_](std::size_t loop) { s->assist(loop); };
  options.nudge = [s = service_] { s->nudge(); };
  options.interrupted = [] { return PyErr_CheckSignals() != 0; };
  executor_ = Executor::create(plan_.plan, GilGate::instance(), std::move(options));
}

Core::~Core() {
  close();
  const WithoutGil released;
  executor_.reset();
}

py::object Core::run(PyEvent& event, std::optional<double> timeout, py::object nothing) {
  if (!no_waiting().empty()) throw std::runtime_error(no_waiting());
  auto waiter = make_ref<Waiter>();
  if (timeout)
    waiter->deadline = Clock::now() + std::chrono::duration_cast<Duration>(std::chrono::duration<double>(*timeout));
  Answer answer;
  try {
    answer = executor_->call(std::move(waiter), body_payload(event), event.envelope, on_main_thread());
  } catch (Failure& failure) {
    answer.failure = std::move(failure);
  } catch (const Interrupted&) {
    throw py::error_already_set();
  }
  if (answer.failure) {
    const py::object error = to_exception(*answer.failure);
    PyErr_SetObject(py::type::handle_of(error).ptr(), error.ptr());
    throw py::error_already_set();
  }
  if (answer.chunks) return read_chunks(std::move(answer.chunks));
  return answer.body ? to_object(*answer.body) : std::move(nothing);
}

void Core::submit(PyEvent& event) {
  try {
    executor_->post(make_ref<Unattended>(), body_payload(event), event.envelope);
  } catch (const Interrupted&) {
    throw py::error_already_set();
  } catch (const Failure& failure) {
    const py::object error = to_exception(failure);
    PyErr_SetObject(py::type::handle_of(error).ptr(), error.ptr());
    throw py::error_already_set();
  }
}

void Core::lend(const py::function& spawn_thread) {
  const std::shared_ptr<Executor> executor = executor_;
  const WithoutGil released;
  executor->lend([&] {
    GilGate& gate = GilGate::instance();
    gate.enter();
    bool started = false;
    try {
      started = spawn_thread().cast<bool>();
    } catch (py::error_already_set& error) {
      error.discard_as_unraisable("penstock: no further thread could be started");
    }
    gate.leave();
    return started;
  });
}

bool Core::drain(double timeout) {
  try {
    return executor_->settle(std::chrono::duration_cast<Duration>(std::chrono::duration<double>(timeout)),
                             on_main_thread(), true);
  } catch (const Interrupted&) {
    throw py::error_already_set();
  }
}

void Core::close() { executor_->close(); }

py::dict Core::stats() const {
  py::dict all;
  for (StepId id = 0; id < executor_->plan().size(); ++id)
    all[py::str(executor_->plan()[id].name)] = step_stats(*executor_, id);
  return all;
}

void Core::retarget(StepId step, py::object target) {
  auto* replaceable =
      step < executor_->plan().size() ? dynamic_cast<Replaceable*>(executor_->plan()[step].step) : nullptr;
  if (replaceable == nullptr) throw std::invalid_argument("this step keeps its target");
  replaceable->retarget(std::move(target));
}

void Core::failed(const Failure& failure, const Event& event, bool heard) {
  const py::object cause = failure.cause ? py::reinterpret_borrow<py::object>(raw(failure.cause)) : py::none();
  if (event.envelope && event.envelope->id.empty()) event.envelope->id = make_id();
  const std::string id = event.envelope ? event.envelope->id : std::string();
  try {
    if (!heard && hooks.log_failure != nullptr)
      py::reinterpret_borrow<py::object>(hooks.log_failure)(failure.step, failure.text(), id, cause);
    if (!on_failure_.is_none()) on_failure_(failure.step, failure.text(), id, cause, to_object(event.body));
  } catch (const Failure&) {  // a body that cannot be read: then it cannot be reported, either
  } catch (py::error_already_set& error) {
    error.discard_as_unraisable("penstock: a failure could not be logged");
  }
}

void register_core(py::module_& m) {
  m.def("set_hooks", &set_hooks, "What Python does for the core; see penstock.engine.");
  m.def(
      "set_main_thread", [](unsigned long ident) { main_thread = ident; }, py::arg("ident"),
      "On the thread of this `threading.get_ident()`, waiting ends when a signal handler raises.");
  m.def(
      "forbid_waiting", [](const std::string& reason) { no_waiting() = reason; }, py::arg("reason"),
      "From now on `Core.run` on this thread raises RuntimeError.");
  py::class_<PyContinuation>(m, "Continuation", "How a coroutine's end is told to the core.")
      .def("resolve", &PyContinuation::resolve, py::arg("result"))
      .def("reject", &PyContinuation::reject, py::arg("error"));
  py::class_<Core>(m, "Core", "One running graph.")
      .def(py::init<PyPlan&, py::object>(), py::arg("plan"), py::arg("on_failure") = py::none(),
           "`on_failure(step, text, event_id, cause, body)` hears of each failure that no error handler took.")
      .def("run", &Core::run, py::arg("event"), py::arg("timeout") = py::none(), py::arg("nothing") = py::none(),
           "The answer's body; `nothing` if nothing answers.")
      .def("submit", &Core::submit, py::arg("event"), "Returns when the event is admitted.")
      .def("lend", &Core::lend, py::arg("spawn"),
           "Lend this thread until the core is closed; `spawn` starts one more and tells whether it could.")
      .def("drain", &Core::drain, py::arg("timeout"),
           "Take no more events and wait until the threads lent have settled all; whether they have.")
      .def("close", &Core::close)
      .def("retarget", &Core::retarget, py::arg("step"), py::arg("target"),
           "Have a step of this number call something else from now on, in place of what it was made with.")
      .def("stats", &Core::stats, "What each step has done; bucket i of `times` ends at 2**i us, of `sizes` at 2**i.")
      .def_property_readonly("in_flight", [](const Core& core) { return core.executor()->in_flight(); })
      .def_property_readonly(
          "refused", [](const Core& core) { return core.executor()->refused(); }, "Requests that found no room.");
}

}  // namespace penstock::python
