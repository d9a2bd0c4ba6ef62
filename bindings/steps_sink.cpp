// The end of a graph that writes to a stream which takes many records at once.

#include <utility>

#include "steps.hpp"

namespace penstock::python {
namespace {

/// An event's key as a stream takes it: untouched if it came from one, None for none.
py::object stream_key(const Event& event, Method& key_of_message) {
  static PyObject* const kKey = PyUnicode_InternFromString("key");
  if (event.envelope && event.envelope->record) return key_of_message(raw(event.envelope->record));
  PyObject* key =
      event.envelope && event.envelope->fields ? PyDict_GetItemWithError(raw(event.envelope->fields), kKey) : nullptr;
  return key == nullptr ? py::object(py::none()) : py::reinterpret_borrow<py::object>(key);
}

/// A function that gets the bodies of a batch and their keys, with None for no key. It returns None when all are
/// written, else a list that has None for each that is, and an exception for one that is not.
class Sink final : public Step {
 public:
  explicit Sink(StepArguments arguments) : target_(std::move(arguments.target)) {}

  void run(Batch& batch, Emitter& out) override {
    try {
      py::list bodies;
      py::list keys;
      Method key_of_message("key");
      for (Event& event : batch) {
        try {
          bodies.append(py::handle(body_of(event)));
          keys.append(stream_key(event, key_of_message));
        } catch (Failure& failure) {  // a body that is not JSON fails alone
          out.fail(std::move(event), std::move(failure));
        }
      }
      std::erase_if(batch, [](const Event& event) { return event.completion() == nullptr; });
      if (batch.empty()) return;
      const py::object target = target_;
      conclude(batch, target(bodies, keys), out);
    } catch (py::error_already_set& error) {
      const Failure failure = to_failure(error.value());
      for (Event& event : batch) {
        if (event.completion() != nullptr) out.fail(std::move(event), Failure(failure));
      }
    }
  }
  void close() override { target_ = py::object(); }

 private:
  static void conclude(Batch& batch, const py::object& failures, Emitter& out) {
    for (std::size_t i = 0; i < batch.size(); ++i) {
      const py::object failed = failures.is_none() ? failures : py::object(failures[py::int_(i)]);
      if (failed.is_none())
        out.emit(std::move(batch[i]));
      else
        out.fail(std::move(batch[i]), to_failure(failed));
    }
  }

  py::object target_;
};

}  // namespace

std::unique_ptr<Step> make_sink_step(StepArguments arguments) { return std::make_unique<Sink>(std::move(arguments)); }

}  // namespace penstock::python
