#include <pybind11/stl.h>

#include <algorithm>
#include <utility>

#include <penstock/delivery.hpp>

#include "core.hpp"
#include "register.hpp"

namespace penstock::python {
namespace {

struct PyOffsets {
  Ref<Offsets> held;
};

Duration seconds(double value) { return std::chrono::duration_cast<Duration>(std::chrono::duration<double>(value)); }

/// What a source gives for a record: (offsets, offset, body, fields, key, origin, size).
struct Item {
  explicit Item(const py::handle& given) : tuple(py::reinterpret_borrow<py::tuple>(given)) {
    if (!py::isinstance<py::tuple>(given) || tuple.size() != 7)
      throw std::invalid_argument("a record is (offsets, offset, body, fields, key, origin, size)");
  }
  PyObject* at(Py_ssize_t place) const { return PyTuple_GET_ITEM(tuple.ptr(), place); }
  template <class T>
  T as(Py_ssize_t place) const {
    return py::handle(at(place)).cast<T>();
  }

  py::tuple tuple;
};

Ref<Envelope> envelope_of(const Item& item) {
  auto envelope = make_ref<Envelope>();
  envelope->arrival = std::chrono::system_clock::now();
  if (item.at(3) != Py_None) envelope->fields = share(item.at(3));
  if (item.at(4) != Py_None) envelope->key = key_of(py::reinterpret_borrow<py::object>(item.at(4)));
  return envelope;
}

/// Where the records of a stream enter a running graph.
class Source {
 public:
  Source(const Core& core, const std::optional<std::string>& entry, std::size_t max_bytes)
      : executor_(core.executor()), place_(executor_, 0), max_bytes_(max_bytes) {
    if (!entry) return;
    const Plan& plan = executor_->plan();
    for (StepId id = 0; id < plan.size(); ++id)
      if (plan[id].name == *entry) entry_ = id;
    if (entry_ == kNoStep) throw std::invalid_argument("there is no step '" + *entry + "'");
  }

  std::size_t admit(const py::list& records, std::size_t start) {
    for (std::size_t i = start; i < records.size(); ++i) {
      if (deliveries_->bytes() > max_bytes_) return i;
      const Item item(records[i]);
      Ref<Envelope> envelope = envelope_of(item);
      const Ref<Offsets> offsets = item.as<PyOffsets&>(0).held;
      const std::uint64_t number = offsets->deliver(item.as<std::int64_t>(1));
      auto delivery =
          make_ref<Delivery>(deliveries_, offsets, number, share(item.at(5)), place_, item.as<std::size_t>(6));
      Payload body = item.at(2) == Py_None ? Payload() : Payload(share(item.at(2)));
      const Admission admission = executor_->admit(delivery, std::move(body), std::move(envelope), entry_);
      if (admission == Admission::kAccepted) continue;
      offsets->retract();
      if (admission == Admission::kFull) return i;
      const py::object error = to_exception(Failure{"", 503, "GraphClosed", "Cannot emit to a terminated flow", {}});
      PyErr_SetObject(py::type::handle_of(error).ptr(), error.ptr());
      throw py::error_already_set();
    }
    return records.size();
  }

  void wait(std::size_t low, double timeout) {
    const WithoutGil released;
    deliveries_->wait(low, seconds(timeout));
  }

  py::list take_failed() {
    py::list taken;
    for (Deliveries::Failed& failed : deliveries_->take_failed()) {
      const Failure& failure = failed.failure;
      const py::object cause =
          failure.cause ? py::reinterpret_borrow<py::object>(raw(failure.cause)) : py::object(py::none());
      taken.append(py::make_tuple(py::reinterpret_borrow<py::object>(raw(failed.origin)), PyOffsets{failed.offsets},
                                  failed.delivery, failure.step, failure.status, failure.kind, failure.message, cause));
    }
    return taken;
  }

  void wake() { deliveries_->wake(); }
  std::size_t in_flight() const { return deliveries_->in_flight(); }

 private:
  std::shared_ptr<Executor> executor_;
  Ref<Deliveries> deliveries_ = make_ref<Deliveries>();
  const Outlet place_;
  const std::size_t max_bytes_;
  StepId entry_ = kNoStep;
};

}  // namespace

void register_source(py::module_& m) {
  py::class_<PyOffsets>(m, "Offsets", "How far one assignment of a stream's partition is settled.")
      .def(py::init([](std::int64_t next) { return PyOffsets{make_ref<Offsets>(next)}; }), py::arg("next"))
      .def(
          "deliver", [](const PyOffsets& self, std::int64_t offset) { return self.held->deliver(offset); },
          py::arg("offset"), "One record more, behind all others; returns what it is settled by.")
      .def(
          "retract", [](const PyOffsets& self) { self.held->retract(); },
          "The last delivered was not taken: it will come again.")
      .def(
          "settle", [](const PyOffsets& self, std::uint64_t delivery) { return self.held->settle(delivery); },
          py::arg("delivery"), "False if that is too late, or was done before.")
      .def(
          "due", [](const PyOffsets& self) { return self.held->due(); },
          "The position to commit, if it has moved since this was asked last.")
      .def(
          "not_written", [](const PyOffsets& self) { self.held->not_written(); },
          "The position was not committed: it is due again.")
      .def("revoke", [](const PyOffsets& self) { self.held->revoke(); })
      .def_property_readonly("position", [](const PyOffsets& self) { return self.held->position(); })
      .def_property_readonly(
          "open", [](const PyOffsets& self) { return self.held->open(); }, "Delivered from the position on.")
      .def_property_readonly("unsettled", [](const PyOffsets& self) { return self.held->unsettled(); })
      .def_property_readonly("revoked", [](const PyOffsets& self) { return self.held->revoked(); })
      .def_property_readonly(
          "late", [](const PyOffsets& self) { return self.held->late(); },
          "Settlements that came when it was revoked.");
  py::class_<Source>(m, "Source", "Where the records of a stream enter a running graph; for one thread.")
      .def(py::init<const Core&, const std::optional<std::string>&, std::size_t>(), py::arg("core"),
           py::arg("entry") = py::none(), py::arg("max_bytes") = std::size_t{64} << 20,
           "They enter at the step `entry`, else where all events do; not before those in flight weigh less.")
      .def("admit", &Source::admit, py::arg("records"), py::arg("start") = 0,
           "Admit records, each (offsets, offset, body, fields, key, origin, size); returns the place of the first "
           "that found no room.")
      .def("wait", &Source::wait, py::arg("low"), py::arg("timeout"),
           "Wait until at most `low` records are in flight, one has failed, or `wake` is called.")
      .def("wake", &Source::wake)
      .def("take_failed", &Source::take_failed,
           "The records that failed, each once: (origin, offsets, delivery, step, status, kind, message, cause). "
           "Their offsets stay open.")
      .def_property_readonly("in_flight", &Source::in_flight);
}

}  // namespace penstock::python
