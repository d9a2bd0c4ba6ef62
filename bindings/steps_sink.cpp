// The end of a graph that writes to a stream which takes many records at once.

#include <algorithm>
#include <memory>
#include <utility>

#include "steps.hpp"

namespace penstock::python {
namespace {

/// Records that are handed over at once: no longer than a thread may be kept from other steps.
constexpr std::size_t kAtOnce = 250;
/// Between looks whether a stream has written what it was given, and how many there are before a thread waits for it.
constexpr auto kMoment = std::chrono::microseconds(700);
constexpr int kLooks = 8;

/// An event's key as a stream takes it: untouched if it came from one, None for none.
py::object stream_key(const Event& event, Method& key_of_message) {
  static PyObject* const kKey = PyUnicode_InternFromString("key");
  if (event.envelope && event.envelope->record) return key_of_message(raw(event.envelope->record));
  PyObject* key =
      event.envelope && event.envelope->fields ? PyDict_GetItemWithError(raw(event.envelope->fields), kKey) : nullptr;
  return key == nullptr ? py::object(py::none()) : py::reinterpret_borrow<py::object>(key);
}

/// A batch on its way into a stream. It is handed over in parts between the tasks of other steps; then it is looked
/// whether it is written, and if that takes long, a worker waits. Touched inside the gate, by one thread at a time;
/// keeps itself alive in what it leaves to be done.
class Writing : public std::enable_shared_from_this<Writing> {
 public:
  Writing(Batch&& batch, Emitter&& out, const py::object& target)
      : batch_(std::move(batch)), out_(std::move(out)), target_(share(target.ptr())), sent_(share(Py_None)) {}

  /// In a task of its own: the first part may make a topic, which makes no slow step of this one.
  void begin() { soon(&Writing::hand_over); }

 private:
  using Action = void (Writing::*)();

  void soon(Action action) {
    out_.outlet().later([self = shared_from_this(), action] { self->act(action); }, false);
  }
  void in_a_moment(Action action) {
    out_.outlet().later([self = shared_from_this(), action] { self->act(action); }, Clock::now() + kMoment);
  }
  void by_a_worker(Action action) {
    out_.outlet().later([self = shared_from_this(), action] { self->act(action); }, true);
  }
  void act(Action action) {
    try {
      (this->*action)();
    } catch (py::error_already_set& error) {
      fail_from(0, to_failure(error.value()));
    } catch (const Failure& failure) {
      fail_from(0, failure);
    } catch (const std::exception& error) {
      fail_from(0, Failure{"", 500, "", error.what(), {}});
    }
  }

  void hand_over() {
    const std::size_t first = next_;
    try {
      send(std::min(first + kAtOnce, batch_.size()));
    } catch (py::error_already_set& error) {
      fail_from(first, to_failure(error.value()));
    }
    if (next_ < batch_.size()) return soon(&Writing::hand_over);
    std::erase_if(batch_, [](const Event& event) { return event.completion() == nullptr; });
    if (!batch_.empty()) in_a_moment(&Writing::look);
  }

  void send(std::size_t end) {
    py::list bodies;
    py::list keys;
    Method key_of_message("key");
    for (; next_ < end; ++next_) {
      Event& event = batch_[next_];
      try {
        bodies.append(py::handle(body_of(event)));
        keys.append(stream_key(event, key_of_message));
      } catch (Failure& failure) {  // a body that is not JSON fails alone
        out_.fail(std::move(event), std::move(failure));
      }
    }
    sent_ = share(py::handle(raw(target_))(bodies, keys, py::handle(raw(sent_))).ptr());
  }

  /// Here rather than by a worker, as a client's reports are heard of where no other thread wants the gate.
  void look() {
    if (py::handle(raw(sent_)).attr("is_known")().cast<bool>()) {
      hear();
      conclude();
    } else if (++looks_ < kLooks) {
      in_a_moment(&Writing::look);
    } else {
      by_a_worker(&Writing::wait);
    }
  }

  void wait() {
    hear();
    soon(&Writing::conclude);  // where the events were made, if possible
  }

  void hear() { failures_ = share(py::handle(raw(sent_)).attr("wait")().ptr()); }

  void conclude() {
    const auto failures = py::reinterpret_borrow<py::object>(raw(failures_));
    for (std::size_t i = 0; i < batch_.size(); ++i) {
      const py::object failed = failures.is_none() ? failures : py::object(failures[py::int_(i)]);
      if (failed.is_none())
        out_.emit(std::move(batch_[i]));
      else
        out_.fail(std::move(batch_[i]), to_failure(failed));
    }
  }

  void fail_from(std::size_t first, const Failure& failure) {
    for (std::size_t i = first; i < batch_.size(); ++i)
      if (batch_[i].completion() != nullptr) out_.fail(std::move(batch_[i]), Failure(failure));
    next_ = batch_.size();
  }

  Batch batch_;
  Emitter out_;
  const Object target_;
  Object sent_;           ///< what the target has returned last
  Object failures_;       ///< None, or one or None for each of the batch
  std::size_t next_ = 0;  ///< the first that is not handed over
  int looks_ = 0;
};

/// A function that gets the bodies of a batch and their keys, with None for no key, in parts: with each but the first
/// comes what it has returned for the one before. What it returns for the last tells by `is_known()` whether it is
/// known what became of all; `wait()` returns None if all are written, else a list that has None for each that is, and
/// an exception for one that is not.
class Sink final : public Step {
 public:
  explicit Sink(StepArguments arguments) : target_(std::move(arguments.target)) {}

  void run(Batch& batch, Emitter& out) override {
    std::make_shared<Writing>(std::move(batch), std::move(out), target_)->begin();
    batch.clear();
  }
  void close() override { target_ = py::object(); }

 private:
  py::object target_;
};

}  // namespace

std::unique_ptr<Step> make_sink_step(StepArguments arguments) { return std::make_unique<Sink>(std::move(arguments)); }

}  // namespace penstock::python
