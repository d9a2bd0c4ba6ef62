#pragma once

// Payloads, failures and events as Python sees them. All functions need the GIL.

#include <optional>
#include <string>
#include <vector>

#include <penstock/event.hpp>
#include <penstock/failure.hpp>
#include <penstock/payload.hpp>

#include "gil.hpp"

namespace penstock::python {

/// What Python does for the bindings; set once by the engine.
struct Hooks {
  PyObject* describe = nullptr;     ///< exception -> (status, kind, message)
  PyObject* make_error = nullptr;   ///< (step, status, kind, message, cause) -> exception
  PyObject* clone = nullptr;        ///< body -> deep copy
  PyObject* loads = nullptr;        ///< (bytes, declared to be JSON) -> body
  PyObject* fields = nullptr;       ///< message of a stream -> what an event's attributes are
  PyObject* dumps = nullptr;        ///< body -> (status, content type, headers, bytes)
  PyObject* spawn = nullptr;        ///< (coroutine, continuation): runs it on the loop's thread
  PyObject* drive = nullptr;        ///< (async generator, ChunkSource) -> coroutine: True at the end
  PyObject* read = nullptr;         ///< iterator over chunks -> generator
  PyObject* cancel = nullptr;       ///< (continuation): ends its coroutine, if it still runs
  PyObject* log_failure = nullptr;  ///< (step, text, event id, cause): one that nobody else hears of
};
extern Hooks hooks;

/// What a handler returns to have its event filtered out.
PyObject* dropped();

/// Takes over one reference.
Object adopt(PyObject* object);
Object share(PyObject* object);
inline PyObject* raw(const Object& object) { return static_cast<PyObject*>(object.get()); }

/// The body as an object, made of bytes or tensors when first asked for. Borrowed from the event.
/// Throws Failure (a body that is not JSON).
PyObject* body_of(Event& event);
/// Makes `object` (taken over) the body: without the detour over another thread that `Object` allows for.
inline void replace_body(Event& event, PyObject* object) {
  if (Object* held = event.body.object(); held != nullptr && *held)
    Py_DECREF(static_cast<PyObject*>(held->exchange(object)));
  else
    event.body = Payload(adopt(object));
}
/// A payload as an object: a new reference.
py::object to_object(const Payload& payload);

/// The pending Python exception, which is cleared.
Failure take_exception();
Failure to_failure(const py::object& exception);
/// The exception that a failure becomes for a Python caller.
py::object to_exception(const Failure& failure);

/// The event as a handler with `full_event` sees it. Holds the envelope while the handler has it.
struct PyEvent {
  Ref<Envelope> envelope;
  py::object body;
  Duration waited{};  ///< for the step that has it now, where that asks for it

  Envelope& own();
  py::dict fields(bool writable);
};

/// How long an event has waited for the step that has it, if that asks for it; else 0.
Duration waited_by(const Event& event);

/// Lends the event's envelope and body to a Python event.
py::object lend_event(Event& event);
/// Takes back what the handler returned. Throws Failure if it is no event.
void take_event(Event& event, PyObject* returned, const char* what);

/// A method of the messages of a stream's client. It is looked up once for a run of them, as all are of one class.
class Method {
 public:
  explicit Method(const char* name) noexcept : name_(name) {}
  /// Throws py::error_already_set.
  py::object operator()(PyObject* message);

 private:
  const char* const name_;
  PyTypeObject* type_ = nullptr;
  py::object function_;
};

/// What the core compares of an event's key: its hash; 0 for none, which an empty key is, too.
std::uint64_t key_of(const py::object& key);

/// "a.b" split at dots; backslash-dot is a dot.
std::vector<py::str> split_path(const std::string& path);
/// What is at the path; None if a key is missing. A new reference, or null with an exception set.
PyObject* get_at(PyObject* body, const std::vector<py::str>& path);
/// Writes at the path, making dicts on the way; false with an exception set.
bool set_at(PyObject* body, const std::vector<py::str>& path, PyObject* value);

}  // namespace penstock::python
