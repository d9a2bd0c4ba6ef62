#include <pybind11/chrono.h>
#include <pybind11/stl.h>

#include <chrono>

#include <penstock/ids.hpp>

#include "objects.hpp"
#include "register.hpp"

namespace penstock::python {
namespace {

py::object utc_time(std::chrono::system_clock::time_point time) {
  const double seconds = std::chrono::duration<double>(time.time_since_epoch()).count();
  const auto datetime = py::module_::import("datetime");
  return datetime.attr("datetime").attr("fromtimestamp")(seconds, datetime.attr("timezone").attr("utc"));
}

std::string text_or_empty(const py::object& value) {
  return value.is_none() ? std::string() : py::str(value).cast<std::string>();
}

void set_key(PyEvent& event, const py::object& key) {
  const std::uint64_t compared = key_of(key);
  event.fields(true)["key"] = key;
  event.own().key = compared;
}

PyEvent make_event(py::object body, const py::object& content_type, const py::object& headers, const py::object& method,
                   const py::object& path, const py::object& event_id, const py::object& key, const py::object& trigger,
                   const py::object& offset, const py::object& time) {
  PyEvent event{make_ref<Envelope>(), std::move(body)};
  Envelope& envelope = *event.envelope;
  envelope.arrival = std::chrono::system_clock::now();
  if (!content_type.is_none()) envelope.content_type = text_or_empty(content_type);
  if (!method.is_none()) envelope.method = text_or_empty(method);
  if (!path.is_none()) envelope.path = text_or_empty(path);
  if (!event_id.is_none()) envelope.id = text_or_empty(event_id);
  const std::pair<const char*, const py::object*> extras[] = {
      {"headers", &headers}, {"trigger", &trigger}, {"offset", &offset}, {"time", &time}};
  for (const auto& [name, value] : extras)
    if (!value->is_none()) event.fields(true)[name] = *value;
  if (!key.is_none()) set_key(event, key);
  return event;
}

py::object field(PyEvent& event, const char* name, py::object fallback) {
  const py::dict fields = event.fields(false);
  return fields.contains(name) ? py::object(fields[name]) : std::move(fallback);
}

/// The trigger of an event that none has brought: handlers look at its kind.
py::object no_trigger() { return py::module_::import("nuclio_sdk").attr("TriggerInfo")("", ""); }

py::object headers_of(PyEvent& event) {
  const py::dict fields = event.fields(false);
  if (fields.contains("headers")) return fields["headers"];
  py::dict headers;
  for (const auto& [name, value] : event.envelope->headers) headers[py::str(name)] = py::str(value);
  event.fields(true)["headers"] = headers;
  return headers;
}

py::object get_free(PyEvent& event, const std::string& name) {
  const py::dict fields = event.fields(false);
  if (fields.contains(name)) return fields[py::str(name)];
  throw py::attribute_error("'Event' object has no attribute '" + name + "'");
}

void set_any(const py::object& self, const py::str& name, const py::object& value) {
  if (PyObject_GenericSetAttr(self.ptr(), name.ptr(), value.ptr()) == 0) return;
  if (!PyErr_ExceptionMatches(PyExc_AttributeError)) throw py::error_already_set();
  PyErr_Clear();
  self.cast<PyEvent&>().fields(true)[name] = value;
}

PyEvent copy_event(const PyEvent& event) {
  return PyEvent{make_ref<Envelope>(*event.envelope), event.body, event.waited};
}

using Text = std::string Envelope::*;

template <Text member>
std::string get_text(const PyEvent& event) {
  return (*event.envelope).*member;
}
template <Text member>
void set_text(PyEvent& event, const py::object& value) {
  event.own().*member = text_or_empty(value);
}
template <Text member>
py::object get_optional(const PyEvent& event) {
  const std::string& text = (*event.envelope).*member;
  return text.empty() ? py::object(py::none()) : py::object(py::str(text));
}

}  // namespace

Envelope& PyEvent::own() {
  if (!envelope)
    envelope = make_ref<Envelope>();
  else if (!envelope->unique())
    envelope = envelope->copied();
  return *envelope;
}

/// Makes the fields of the record, if nobody has done so yet. In place, also if others share the envelope.
static void read_record(Envelope& envelope) {
  if (!envelope.record) return;
  const Object record = envelope.record;
  py::object fields = py::reinterpret_borrow<py::object>(hooks.fields)(py::handle(raw(record)));
  if (!envelope.record) return;  // another thread has, meanwhile
  envelope.fields = adopt(fields.release().ptr());
  envelope.record = Object();
}

py::dict PyEvent::fields(bool writable) {
  if (envelope) read_record(*envelope);
  if (envelope && envelope->fields && (!writable || envelope->unique()))
    return py::reinterpret_borrow<py::dict>(raw(envelope->fields));
  if (!writable) return py::dict();
  const bool shared = envelope && !envelope->unique();
  Envelope& mine = own();
  if (mine.fields && shared)  // what one branch sets, another does not see
    mine.fields = adopt(py::reinterpret_borrow<py::dict>(raw(mine.fields)).attr("copy")().release().ptr());
  if (!mine.fields) mine.fields = adopt(py::dict().release().ptr());
  return py::reinterpret_borrow<py::dict>(raw(mine.fields));
}

void register_event(py::module_& m) {
  const auto none = py::none();
  m.attr("DROPPED") = py::reinterpret_borrow<py::object>(dropped());
  py::class_<PyEvent>(m, "Event",
                      "What goes through a graph: a body, and what is known about it. Takes further attributes.")
      .def(py::init(&make_event), py::arg("body") = none, py::kw_only(), py::arg("content_type") = none,
           py::arg("headers") = none, py::arg("method") = none, py::arg("path") = "/", py::arg("event_id") = none,
           py::arg("key") = none, py::arg("trigger") = none, py::arg("offset") = none, py::arg("time") = none)
      .def_property(
          "body", [](const PyEvent& e) { return e.body; },
          [](PyEvent& e, py::object body) { e.body = std::move(body); })
      .def_property(
          "id",
          [](PyEvent& e) {
            // Made in place, also if others share the envelope: it is the same event's id.
            if (e.envelope->id.empty()) e.envelope->id = make_id();
            return e.envelope->id;
          },
          &set_text<&Envelope::id>)
      .def_property("path", &get_text<&Envelope::path>, &set_text<&Envelope::path>)
      .def_property("method", &get_text<&Envelope::method>, &set_text<&Envelope::method>)
      .def_property("content_type", &get_text<&Envelope::content_type>, &set_text<&Envelope::content_type>)
      .def_property("error", &get_optional<&Envelope::error>, &set_text<&Envelope::error>,
                    "The text of the failure that led here.")
      .def_property("origin_state", &get_optional<&Envelope::origin>, &set_text<&Envelope::origin>,
                    "The step that failed.")
      .def_property(
          "terminated", [](const PyEvent& e) { return e.envelope->terminated; },
          [](PyEvent& e, bool terminated) { e.own().terminated = terminated; })
      .def_property_readonly(
          "_waited",
          [](const PyEvent& e) { return std::chrono::duration_cast<std::chrono::nanoseconds>(e.waited).count(); },
          "Nanoseconds that it has waited for a model's step.")
      .def_property("headers", &headers_of, [](PyEvent& e, const py::object& v) { e.fields(true)["headers"] = v; })
      .def_property(
          "key", [](PyEvent& e) { return field(e, "key", py::str("")); }, &set_key)
      .def_property(
          "trigger", [](PyEvent& e) { return field(e, "trigger", no_trigger()); },
          [](PyEvent& e, const py::object& v) { e.fields(true)["trigger"] = v; })
      .def_property(
          "offset", [](PyEvent& e) { return field(e, "offset", py::int_(0)); },
          [](PyEvent& e, const py::object& v) { e.fields(true)["offset"] = v; })
      .def_property(
          "time", [](PyEvent& e) { return field(e, "time", utc_time(e.envelope->arrival)); },
          [](PyEvent& e, const py::object& v) { e.fields(true)["time"] = v; })
      .def_property(
          "processing_time", [](PyEvent& e) { return field(e, "time", utc_time(e.envelope->arrival)); },
          [](PyEvent& e, const py::object& v) { e.fields(true)["time"] = v; }, "What storey calls `time`.")
      .def("__getattr__", &get_free)
      .def("__setattr__", &set_any)
      .def("__copy__", &copy_event)
      .def("__deepcopy__",
           [](const PyEvent& e, const py::dict& memo) {
             PyEvent copied = copy_event(e);
             copied.body = py::module_::import("copy").attr("deepcopy")(e.body, memo);
             return copied;
           })
      .def("__repr__", [](PyEvent& e) {
        return "Event(id=" + py::repr(py::cast(e.envelope->id)).cast<std::string>() + ", path='" + e.envelope->path +
               "', body=" + py::repr(e.body).cast<std::string>() + ")";
      });
}

}  // namespace penstock::python
