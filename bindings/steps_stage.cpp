// A step that holds events beyond its calls: Python says when they go on, through a port.

#include <pybind11/stl.h>

#include <algorithm>
#include <atomic>
#include <mutex>
#include <optional>
#include <set>
#include <unordered_map>
#include <utility>

#include <penstock/joined.hpp>

#include "register.hpp"
#include "steps.hpp"

namespace penstock::python {
namespace {

using Token = std::uint64_t;

/// The events that a stage holds. Its port and its step share it.
class Hold : public std::enable_shared_from_this<Hold> {
 public:
  Outlet outlet;

  Token put(Event&& event) {
    Token token = 0;
    {
      const std::lock_guard lock(mutex_);
      token = ++last_;
      events_.emplace(token, std::move(event));
    }
    outlet.hold(1);
    return token;
  }
  /// Notes, in time, that no other part of the event can come any more.
  void watch(Token token) {
    const Event* event = nullptr;  // stays where it is while it is held
    {
      const std::lock_guard lock(mutex_);
      const auto found = events_.find(token);
      if (found == events_.end()) return;
      event = &found->second;
      watched_.insert(token);
    }
    event->completion()->wait(event, outlet.rank(), [weak = weak_from_this(), token] {
      const auto hold = weak.lock();
      if (!hold) return;
      {
        const std::lock_guard lock(hold->mutex_);
        hold->stranded_.push_back(token);
      }
      hold->outlet.wake();
    });
  }
  std::vector<Token> take_stranded() {
    const std::lock_guard lock(mutex_);
    return std::exchange(stranded_, {});
  }
  /// Throws std::invalid_argument for a token that stands for no event; nothing if the graph has ended.
  Batch take(const std::vector<Token>& tokens) {
    Batch taken;
    std::vector<std::pair<Completion*, const void*>> waited;
    {
      const std::lock_guard lock(mutex_);
      if (over_) return taken;
      for (const Token token : tokens) {
        const auto found = events_.find(token);
        if (found == events_.end())
          throw std::invalid_argument("the step holds no event under token " + std::to_string(token));
        if (watched_.erase(token) != 0) waited.emplace_back(found->second.completion(), &found->second);
        taken.push_back(std::move(found->second));
        events_.erase(found);
      }
    }
    for (const auto& [completion, waiter] : waited) completion->wait_no_more(waiter);
    outlet.hold(-static_cast<std::ptrdiff_t>(taken.size()));
    return taken;
  }
  std::optional<Event> derive(Token token, Payload&& body) {
    const std::lock_guard lock(mutex_);
    const auto found = events_.find(token);
    if (over_ || found == events_.end()) return std::nullopt;
    return found->second.derive(std::move(body), true);
  }
  bool holds(Token token) const {
    const std::lock_guard lock(mutex_);
    return events_.count(token) != 0;
  }
  Batch take_all(bool over) {
    Batch taken;
    std::vector<std::pair<Completion*, const void*>> waited;
    {
      const std::lock_guard lock(mutex_);
      over_ = over_ || over;
      for (auto& [token, event] : events_) {
        if (watched_.count(token) != 0) waited.emplace_back(event.completion(), &event);
        taken.push_back(std::move(event));
      }
      watched_.clear();
      events_.clear();
    }
    for (const auto& [completion, waiter] : waited) completion->wait_no_more(waiter);
    outlet.hold(-static_cast<std::ptrdiff_t>(taken.size()));
    return taken;
  }
  bool over() const {
    const std::lock_guard lock(mutex_);
    return over_;
  }

  void wake_after(double seconds) {
    const TimePoint when =
        Clock::now() + std::chrono::duration_cast<Duration>(std::chrono::duration<double>(std::max(seconds, 0.0)));
    {
      const std::lock_guard lock(mutex_);
      due_ = when;
    }
    outlet.wake(when);
  }
  /// The stage wanted to be woken by now; whether it still does.
  bool due() {
    const std::lock_guard lock(mutex_);
    if (!due_ || Clock::now() < *due_) return false;
    due_.reset();
    return true;
  }

 private:
  mutable std::mutex mutex_;  ///< a leaf; guards all below
  std::unordered_map<Token, Event> events_;
  std::set<Token> watched_;
  std::vector<Token> stranded_;
  Token last_ = 0;
  std::optional<TimePoint> due_;
  bool over_ = false;
};

/// How a stage sends its events on.
class Port {
 public:
  explicit Port(std::shared_ptr<Hold> hold) : hold_(std::move(hold)) {}

  void emit(const std::vector<Token>& tokens, const py::object& value, bool keep,
            std::optional<std::uint32_t> to) const {
    Ref<Envelope> envelope;
    py::object body = value;
    if (py::isinstance<PyEvent>(value)) {
      const auto& given = value.cast<const PyEvent&>();
      envelope = given.envelope;
      body = given.body;
    }
    std::optional<Event> event = made(tokens, Payload(share(body.ptr())), envelope, keep);
    if (!event) return;
    if (envelope) event->envelope = std::move(envelope);
    if (to)
      hold_->outlet.emit(std::move(*event), *to);
    else
      hold_->outlet.emit(std::move(*event));
  }
  void drop(const std::vector<Token>& tokens) const {
    for (Event& event : hold_->take(tokens)) hold_->outlet.drop(std::move(event));
  }
  void fail(const std::vector<Token>& tokens, const py::object& error) const {
    const Failure failure = to_failure(error);
    for (Event& event : hold_->take(tokens)) hold_->outlet.fail(std::move(event), Failure(failure));
  }
  void wake_after(double seconds) const { hold_->wake_after(seconds); }

 private:
  std::optional<Event> made(const std::vector<Token>& tokens, Payload&& body, const Ref<Envelope>& envelope,
                            bool keep) const {
    if (keep) {
      if (tokens.size() != 1) throw std::invalid_argument("keep=True goes with a single token");
      return hold_->derive(tokens.front(), std::move(body));
    }
    if (tokens.empty())
      return hold_->over()
                 ? std::nullopt
                 : std::optional(hold_->outlet.orphan(std::move(body), envelope ? envelope : make_ref<Envelope>()));
    Batch taken = hold_->take(tokens);
    if (taken.empty()) return std::nullopt;
    if (taken.size() == 1) {
      Event event = std::move(taken.front());
      event.body = std::move(body);
      return event;
    }
    Ref<Envelope> first = taken.front().envelope;
    auto joined = make_ref<Joined>(std::move(taken));
    const bool answering = joined->answering();
    return Event(std::move(body), std::move(first), Ref<Completion>(std::move(joined)), answering);
  }

  std::shared_ptr<Hold> hold_;
};

/// Calls the stage: `take` for each event, `wake` when it asked for it, `finish` when the graph drains.
class StageStep final : public Step {
 public:
  explicit StageStep(const py::object& stage)
      : take_(stage.attr("take")), wake_(py::getattr(stage, "wake", py::none())),
        finish_(py::getattr(stage, "finish", py::none())), stranded_(py::getattr(stage, "stranded", py::none())),
        close_(py::getattr(stage, "close", py::none())), port_(py::cast(Port(hold_))),
        takes_chunks_(py::getattr(stage, "takes_chunks", py::bool_(false)).cast<bool>()) {}

  void start(const Outlet& outlet) override { hold_->outlet = outlet; }
  bool finishes() const override { return true; }
  bool takes_last_chunks() const override { return true; }
  bool ask_to_finish() override {
    if (finished_.exchange(true)) return false;
    asked_ = true;
    return true;
  }

  void run(Batch& batch, Emitter& /*out*/) override {
    for (Event& event : batch) {
      if (event.completion() != nullptr)
        take(std::move(event));
      else if (asked_.exchange(false))
        finish();
      else
        woken();
    }
  }

  void close() override {
    for (Event& event : hold_->take_all(true))
      hold_->outlet.fail(std::move(event), Failure{"", 503, "GraphClosed", "the graph was closed before", {}});
    if (!close_.is_none()) report(PyObject_CallNoArgs(close_.ptr()));
    take_ = wake_ = finish_ = stranded_ = close_ = port_ = py::object();
  }

 private:
  void take(Event&& event) {
    if (event.chunk && !takes_chunks_) {
      if (event.last_chunk) return hold_->outlet.emit(std::move(event));
      return hold_->outlet.fail(std::move(event), Failure{"",
                                                          500,
                                                          "StreamingError",
                                                          "a stream cannot go into a step that holds events; "
                                                          "put a storey.Collector ahead of it",
                                                          {}});
    }
    PyObject* body = nullptr;
    try {
      body = body_of(event);
    } catch (Failure& failure) {  // a body that is not JSON
      return hold_->outlet.fail(std::move(event), std::move(failure));
    }
    if (!event.envelope) event.envelope = make_ref<Envelope>();
    const py::object seen = py::cast(PyEvent{event.envelope, py::reinterpret_borrow<py::object>(body)});
    if (event.chunk) mark_chunk(event, seen.cast<PyEvent&>());
    const Token token = hold_->put(std::move(event));
    const py::object number = py::int_(token);
    const py::object done = py::reinterpret_steal<py::object>(
        PyObject_CallFunctionObjArgs(take_.ptr(), port_.ptr(), number.ptr(), seen.ptr(), nullptr));
    if (done) return stranded_.is_none() ? void() : hold_->watch(token);
    Failure failure = take_exception();
    if (!hold_->holds(token)) return log(failure);
    for (Event& held : hold_->take({token})) hold_->outlet.fail(std::move(held), std::move(failure));
  }

  void woken() {
    for (const Token token : hold_->take_stranded()) {
      if (!hold_->holds(token)) continue;
      const py::object number = py::int_(token);
      report(PyObject_CallFunctionObjArgs(stranded_.ptr(), port_.ptr(), number.ptr(), nullptr));
    }
    if (hold_->due() && !wake_.is_none()) report(PyObject_CallOneArg(wake_.ptr(), port_.ptr()));
  }

  /// What a step that collects chunks has to know; from here on it is an event like any other.
  static void mark_chunk(Event& event, PyEvent& seen) {
    seen.fields(true)["streaming_step"] = py::str(event.chunk->chunks->maker);
    seen.fields(true)["last_chunk"] = py::bool_(event.last_chunk);
    event.chunk = {};
    event.last_chunk = false;
  }

  void finish() {
    if (!finish_.is_none()) report(PyObject_CallOneArg(finish_.ptr(), port_.ptr()));
    for (Event& event : hold_->take_all(false))
      hold_->outlet.fail(std::move(event),
                         Failure{"", 500, "Unfinished", "the step still held the event when the graph ended", {}});
  }

  /// Nobody waits for these calls, so what they raise is said aloud.
  static void report(PyObject* result) {
    if (result == nullptr) return log(take_exception());
    Py_DECREF(result);
  }
  static void log(const Failure& failure) {
    if (hooks.log_failure == nullptr) return;
    const py::object cause = failure.cause ? py::reinterpret_borrow<py::object>(raw(failure.cause)) : py::none();
    py::reinterpret_borrow<py::object>(hooks.log_failure)(failure.step, failure.text(), "", cause);
  }

  std::shared_ptr<Hold> hold_ = std::make_shared<Hold>();
  py::object take_, wake_, finish_, stranded_, close_, port_;
  const bool takes_chunks_;
  std::atomic<bool> finished_{false};
  std::atomic<bool> asked_{false};  ///< and not finished yet
};

}  // namespace

std::unique_ptr<Step> make_stage_step(StepArguments arguments) { return std::make_unique<StageStep>(arguments.target); }

void register_port(py::module_& m) {
  py::class_<Port>(m, "Port", "How a step that holds events sends them on; from any thread.")
      .def("emit", &Port::emit, py::arg("tokens"), py::arg("value"), py::kw_only(), py::arg("keep") = false,
           py::arg("outlet") = py::none(),
           "One event goes on for all of these: with `value` as its body, or as the event that `value` is.")
      .def("drop", &Port::drop, py::arg("tokens"), "They were filtered out.")
      .def("fail", &Port::fail, py::arg("tokens"), py::arg("error"), "They failed here.")
      .def("wake_after", &Port::wake_after, py::arg("seconds"), "Have `wake` called once, in the step's turn.");
}

}  // namespace penstock::python
