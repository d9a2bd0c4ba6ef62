#include "objects.hpp"

#include <algorithm>
#include <cmath>

#include "tensors.hpp"

namespace penstock::python {

Hooks hooks;

namespace {

void retain(void* object) { Py_INCREF(static_cast<PyObject*>(object)); }
void release(void* object) noexcept { GilGate::instance().drop(static_cast<PyObject*>(object)); }
void* clone(void* object) {
  PyObject* copy = PyObject_CallOneArg(hooks.clone, static_cast<PyObject*>(object));
  if (copy == nullptr) throw take_exception();
  return copy;
}
constexpr ObjectTraits kTraits{retain, release, clone};

PyObject* decode(const Bytes& bytes) {
  const auto size = static_cast<Py_ssize_t>(bytes.data->size());
  const py::bytes data(bytes.data->data(), static_cast<std::size_t>(size));
  if (size == 0) return Py_NewRef(Py_None);
  if (!bytes.declared_json && !bytes.maybe_json) return py::object(data).release().ptr();
  PyObject* result =
      PyObject_CallFunctionObjArgs(hooks.loads, data.ptr(), bytes.declared_json ? Py_True : Py_False, nullptr);
  if (result == nullptr) throw take_exception();
  return result;
}

}  // namespace

PyObject* dropped() {
  // An object that compares with nothing else; one reference for the life of the process.
  static PyObject* const object = PyObject_CallNoArgs(reinterpret_cast<PyObject*>(&PyBaseObject_Type));
  return object;
}

Object adopt(PyObject* object) { return Object(object, &kTraits); }

Object share(PyObject* object) {
  Py_INCREF(object);
  return adopt(object);
}

py::object to_object(const Payload& payload) {
  if (const Object* object = payload.object(); object != nullptr && *object)
    return py::reinterpret_borrow<py::object>(raw(*object));
  if (const Bytes* bytes = payload.bytes()) return py::reinterpret_steal<py::object>(decode(*bytes));
  if (const auto request = payload.request()) return to_dict(*request);
  if (const auto response = payload.response()) return to_dict(*response);
  return py::none();
}

PyObject* body_of(Event& event) {
  if (const Object* object = event.body.object(); object != nullptr && *object) return raw(*object);
  event.body = Payload(adopt(to_object(event.body).release().ptr()));
  return raw(*event.body.object());
}

Failure take_exception() {
  py::error_already_set error;
  py::object exception = error.value();
  if (const py::object trace = error.trace(); trace && !trace.is_none())
    PyException_SetTraceback(exception.ptr(), trace.ptr());
  return to_failure(exception);
}

Failure to_failure(const py::object& exception) {
  Failure failure;
  failure.cause = share(exception.ptr());
  try {
    const py::tuple described = py::reinterpret_borrow<py::object>(hooks.describe)(exception);
    failure.status = described[0].cast<int>();
    failure.kind = described[1].cast<std::string>();
    failure.message = described[2].cast<std::string>();
    // A step that hands on another one's exception says whose it is: a router that of its route.
    const py::object step = py::getattr(exception, "_penstock_step", py::none());
    if (!step.is_none()) failure.step = step.cast<std::string>();
    if (failure.status != 503 && failure.status != 429) return failure;
    const py::object asked = py::getattr(exception, "retry_after", py::none());
    if (!asked.is_none()) failure.retry_after = std::max(1, static_cast<int>(std::ceil(asked.cast<double>())));
  } catch (const py::error_already_set&) {  // an exception that cannot even be described is still a failure
    failure.kind = Py_TYPE(exception.ptr())->tp_name;
  } catch (const py::cast_error&) {
    failure.kind = Py_TYPE(exception.ptr())->tp_name;
  }
  return failure;
}

py::object to_exception(const Failure& failure) {
  py::object cause = failure.cause ? py::reinterpret_borrow<py::object>(raw(failure.cause)) : py::none();
  // Ctrl-C is the person's, not the step's.
  if (PyErr_GivenExceptionMatches(cause.ptr(), PyExc_KeyboardInterrupt) != 0) return cause;
  return py::reinterpret_borrow<py::object>(hooks.make_error)(failure.step, failure.status, failure.kind,
                                                              failure.message, cause);
}

Duration waited_by(const Event& event) {
  return event.queued == TimePoint{} ? Duration{} : Clock::now() - event.queued;
}

py::object lend_event(Event& event) {
  PyObject* body = body_of(event);
  return py::cast(PyEvent{std::move(event.envelope), py::reinterpret_borrow<py::object>(body), waited_by(event)});
}

void take_event(Event& event, PyObject* returned, const char* what) {
  const py::handle handle(returned);
  if (py::isinstance<PyEvent>(handle)) {
    const auto& lent = handle.cast<const PyEvent&>();
    event.envelope = lent.envelope;
    event.body = Payload(share(lent.body.ptr()));
    return;
  }
  if (py::hasattr(handle, "body")) {  // another package's event: its body counts
    event.body = Payload(adopt(py::object(handle.attr("body")).release().ptr()));
    return;
  }
  throw Failure{"",
                500,
                "TypeError",
                std::string(what) + " must return the event, it returned " + Py_TYPE(returned)->tp_name,
                {}};
}

py::object Method::operator()(PyObject* message) {
  if (Py_TYPE(message) != type_) {
    type_ = Py_TYPE(message);
    function_ = py::getattr(reinterpret_cast<PyObject*>(type_), name_);
  }
  auto answer = py::reinterpret_steal<py::object>(PyObject_CallOneArg(function_.ptr(), message));
  if (!answer) throw py::error_already_set();
  return answer;
}

std::uint64_t key_of(const py::object& key) {
  const Py_hash_t hash = PyObject_Hash(key.ptr());
  if (hash == -1) throw py::error_already_set();
  return PyObject_IsTrue(key.ptr()) == 1 ? static_cast<std::uint64_t>(hash) | 1U : 0;
}

std::vector<py::str> split_path(const std::string& path) {
  std::vector<py::str> keys;
  std::string key;
  for (std::size_t i = 0; i < path.size(); ++i) {
    if (path[i] == '\\' && i + 1 < path.size() && path[i + 1] == '.') {
      key += path[++i];
    } else if (path[i] == '.') {
      keys.emplace_back(std::exchange(key, {}));
    } else {
      key += path[i];
    }
  }
  if (!path.empty()) keys.emplace_back(key);
  return keys;
}

PyObject* get_at(PyObject* body, const std::vector<py::str>& path) {
  PyObject* at = Py_NewRef(body);
  for (const py::str& key : path) {
    if (PyMapping_Check(at) == 0 || PyUnicode_Check(at) || PyList_Check(at) || PyBytes_Check(at)) {
      const bool first = at == body;
      Py_DECREF(at);
      if (!first) return Py_NewRef(Py_None);
      PyErr_SetString(PyExc_TypeError, "input_path parameter supports only dict-like event bodies");
      return nullptr;
    }
    PyObject* next = PyObject_GetItem(at, key.ptr());
    Py_DECREF(at);
    if (next == nullptr) {
      if (!PyErr_ExceptionMatches(PyExc_KeyError)) return nullptr;
      PyErr_Clear();
      return Py_NewRef(Py_None);
    }
    at = next;
  }
  return at;
}

bool set_at(PyObject* body, const std::vector<py::str>& path, PyObject* value) {
  py::object at = py::reinterpret_borrow<py::object>(body);
  for (std::size_t i = 0; i + 1 < path.size(); ++i) {
    py::object next = py::reinterpret_steal<py::object>(PyObject_GetItem(at.ptr(), path[i].ptr()));
    if (!next) {
      if (!PyErr_ExceptionMatches(PyExc_KeyError)) return false;
      PyErr_Clear();
      next = py::dict();
      if (PyObject_SetItem(at.ptr(), path[i].ptr(), next.ptr()) != 0) return false;
    }
    at = std::move(next);
  }
  return PyObject_SetItem(at.ptr(), path.back().ptr(), value) == 0;
}

}  // namespace penstock::python
