#include <pybind11/stl.h>

#include <algorithm>
#include <span>
#include <utility>
#include <vector>

#include <penstock/delivery.hpp>
#include <penstock/feed.hpp>

#include "core.hpp"
#include "register.hpp"

namespace penstock::python {
namespace {

struct PyOffsets {
  Ref<Offsets> held;
};

Duration seconds(double value) { return std::chrono::duration_cast<Duration>(std::chrono::duration<double>(value)); }

/// Records that are admitted in a row before those admitted are handled.
constexpr std::size_t kPortion = 256;

/// Puts together what comes from one place in a row, as most of it does.
py::list split_messages(const py::list& messages) {
  Method error_of("error");
  Method topic_of("topic");
  Method partition_of("partition");
  py::list runs;
  py::tuple place;
  py::list run;
  for (const py::handle message : messages) {
    if (const py::object error = error_of(message.ptr()); !error.is_none()) {
      runs.append(py::make_tuple(error, py::list()));
      place = py::tuple();
      continue;
    }
    const py::object topic = topic_of(message.ptr());
    const py::object partition = partition_of(message.ptr());
    if (place.empty() || !partition.equal(place[1]) || !topic.equal(place[0])) {
      place = py::make_tuple(topic, partition);
      run = py::list();
      runs.append(py::make_tuple(place, run));
    }
    run.append(message);
  }
  return runs;
}

/// Where the records of a stream enter a running graph.
class Source {
 public:
  Source(const Core& core, const std::optional<std::string>& entry, std::size_t max_bytes)
      : executor_(core.executor()), deliveries_(make_ref<Deliveries>()), max_bytes_(max_bytes) {
    if (!entry) return;
    const Plan& plan = executor_->plan();
    for (StepId id = 0; id < plan.size(); ++id)
      if (plan[id].name == *entry) entry_ = id;
    if (entry_ == kNoStep) throw std::invalid_argument("there is no step '" + *entry + "'");
  }

  bool admit(const PyOffsets& offsets, std::int64_t offset, const py::object& body, const py::object& fields,
             const py::object& origin, std::size_t size) {
    if (deliveries_->bytes() > max_bytes_) return false;
    auto envelope = make_ref<Envelope>();
    envelope->arrival = std::chrono::system_clock::now();
    if (!fields.is_none()) envelope->fields = share(fields.ptr());
    const std::uint64_t number = offsets.held->deliver(offset);
    Arrival arrival{make_ref<Delivery>(deliveries_, offsets.held, number, share(origin.ptr()), size),
                    body.is_none() ? Payload() : Payload(share(body.ptr())), std::move(envelope)};
    return is_admitted(*offsets.held, std::span(&arrival, 1));
  }

  /// Returns how many have been taken, and those of them that cannot be read.
  py::tuple admit_messages(const PyOffsets& offsets, const py::list& messages, const py::object& loads,
                           const py::object& unread, std::size_t bears) {
    Admitting all{offsets.held, messages, loads, unread, bears};
    {
      const WithoutGil released;
      feed(*executor_, GilGate::instance(), [&] { return admit_portion(all); });
    }
    return py::make_tuple(all.taken, all.unreadable);
  }

  void wait(std::size_t low, double timeout, std::size_t failures) {
    const WithoutGil released;
    deliveries_->wait(low, seconds(timeout), failures);
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
  struct Admitting {
    const Ref<Offsets>& offsets;
    const py::list& messages;
    const py::object& loads;
    const py::object& unread;
    const std::size_t bears;
    std::size_t taken = 0;
    py::list unreadable{};  ///< (message, delivery, error)
  };

  /// A record on its way in.
  struct Read {
    PyObject* message;
    std::int64_t offset;
    std::size_t size;
    Payload body;
    Ref<Envelope> envelope;
  };

  /// Whether the next portion may follow.
  bool admit_portion(Admitting& all) {
    const auto arrival = std::chrono::system_clock::now();
    const std::size_t end = std::min(all.messages.size(), all.taken + kPortion);
    Method offset_of("offset");
    Method value_of("value");
    Method key_of_message("key");
    std::size_t weight = deliveries_->bytes();
    std::vector<Read> portion;
    portion.reserve(end - all.taken);
    for (std::size_t next = all.taken; next < end && weight <= max_bytes_; ++next) {
      PyObject* message = PyList_GET_ITEM(all.messages.ptr(), static_cast<Py_ssize_t>(next));
      const auto offset = offset_of(message).cast<std::int64_t>();
      py::object value = value_of(message);
      const auto size = value.is_none() ? 0 : static_cast<std::size_t>(PyObject_Length(value.ptr()));
      Payload body;
      try {
        body = read(message, std::move(value), size, all.loads, all.unread);
      } catch (py::error_already_set& error) {
        if (!admit_all(all, portion)) return false;
        all.unreadable.append(py::make_tuple(py::handle(message), all.offsets->deliver(offset), error.value()));
        ++all.taken;
        if (all.unreadable.size() >= all.bears) return false;
        continue;
      }
      auto envelope = make_ref<RecordEnvelope>();
      envelope->arrival = arrival;
      envelope->record = share(message);
      if (const py::object key = key_of_message(message); !key.is_none()) envelope->key = key_of(key);
      portion.push_back({message, offset, size, std::move(body), std::move(envelope)});
      weight += size;
    }
    return admit_all(all, portion) && all.taken == end && end < all.messages.size();
  }

  /// Whether there was room for them. Leaves the portion empty.
  bool admit_all(Admitting& all, std::vector<Read>& portion) {
    std::vector<std::int64_t> numbers;
    numbers.reserve(portion.size());
    for (const Read& one : portion) numbers.push_back(one.offset);
    std::uint64_t number = all.offsets->deliver(numbers);
    std::vector<Arrival> arrivals;
    arrivals.reserve(portion.size());
    for (Read& one : portion) {
      auto delivery = make_ref<Delivery>(deliveries_, all.offsets, number++, share(one.message), one.size);
      arrivals.push_back({std::move(delivery), std::move(one.body), std::move(one.envelope)});
    }
    portion.clear();
    if (!is_admitted(*all.offsets, arrivals)) return false;
    all.taken += arrivals.size();
    return true;
  }

  /// Whether there was room; if not, their offsets are taken back. Throws if the graph has ended.
  bool is_admitted(Offsets& offsets, std::span<Arrival> arrivals) {
    const Admission admission = executor_->admit(arrivals, entry_);
    if (admission == Admission::kAccepted) return true;
    for (std::size_t i = 0; i < arrivals.size(); ++i) offsets.retract();
    if (admission == Admission::kFull) return false;
    const py::object error = to_exception(Failure{"", 503, "GraphClosed", "Cannot emit to a terminated flow", {}});
    PyErr_SetObject(py::type::handle_of(error).ptr(), error.ptr());
    throw py::error_already_set();
  }

  /// The body that a value is read as. Throws what `unread` raises.
  static Payload read(PyObject* message, py::object value, std::size_t size, const py::object& loads,
                      const py::object& unread) {
    if (value.is_none()) return {};
    if (size == 0) return Payload(adopt(value.release().ptr()));
    if (PyObject* body = PyObject_CallOneArg(loads.ptr(), value.ptr())) return Payload(adopt(body));
    const py::error_already_set error;
    return Payload(adopt(unread(py::handle(message), error.value()).release().ptr()));
  }

  std::shared_ptr<Executor> executor_;
  const Ref<Deliveries> deliveries_;
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
  m.def("split_messages", &split_messages, py::arg("messages"),
        "Put messages that come from one place in a row together: ((topic, partition), messages), or (error, []).");
  py::class_<Source>(m, "Source", "Where the records of a stream enter a running graph; for one thread.")
      .def(py::init<const Core&, const std::optional<std::string>&, std::size_t>(), py::arg("core"),
           py::arg("entry") = py::none(), py::arg("max_bytes") = std::size_t{64} << 20,
           "They enter at the step `entry`, else where all events do; not before those in flight weigh less.")
      .def("admit", &Source::admit, py::arg("offsets"), py::arg("offset"), py::arg("body"), py::arg("fields"),
           py::arg("origin"), py::arg("size"), "Admit a record; tells whether there was room for it.")
      .def("admit_messages", &Source::admit_messages, py::arg("offsets"), py::arg("messages"), py::arg("loads"),
           py::arg("unread"), py::arg("bears") = 1,
           "Admit a partition's messages: they have key(), value() and offset(). `loads` makes a value a body; of what "
           "it cannot, `unread` makes one, or says why not: (message, error). After `bears` that cannot be read it "
           "goes no further. Returns how many have been taken, and those of them that cannot be read, whose offsets "
           "are open: (message, delivery, error).")
      .def("wait", &Source::wait, py::arg("low"), py::arg("timeout"), py::arg("failures") = 1,
           "Wait until at most `low` records are in flight, so many have failed, or `wake` is called.")
      .def("wake", &Source::wake)
      .def("take_failed", &Source::take_failed,
           "The records that failed, each once: (origin, offsets, delivery, step, status, kind, message, cause). "
           "Their offsets stay open.")
      .def_property_readonly("in_flight", &Source::in_flight);
}

}  // namespace penstock::python
