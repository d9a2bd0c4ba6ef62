#include "chunk_source.hpp"

#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <utility>

#include <penstock/ids.hpp>

#include "register.hpp"
#include "steps.hpp"

namespace penstock::python {
namespace {

class Driven;

// A generator that took so long is asked for more by a worker: others do not wait for it.
constexpr std::chrono::milliseconds kSlow{1};

/// Takes one chunk after the other and sends each on as an event of its own.
class ChunkSource : public std::enable_shared_from_this<ChunkSource> {
 public:
  ChunkSource(Event&& event, const Emitter& out)
      : event_(std::move(event)), outlet_(out.outlet()), chunks_(make_ref<Chunks>(out.step_name())) {
    Envelope& envelope = event_.own_envelope();
    if (envelope.id.empty()) envelope.id = make_id();  // the same for every chunk
  }

  /// Nobody wants another chunk.
  bool over() const { return chunks_->over() || event_.cancelled(); }

  void send(const py::object& item) {
    Event chunk = event_.derive(Payload(), true);
    if (py::isinstance<PyEvent>(item)) {
      const auto& made = item.cast<const PyEvent&>();
      chunk.envelope = made.envelope;
      chunk.body = Payload(share(made.body.ptr()));
    } else {
      chunk.body = Payload(share(item.ptr()));
    }
    chunk.chunk = make_ref<Chunk>(chunks_);
    sent_ = true;
    outlet_.emit(std::move(chunk));
  }
  /// Has `action` run inside the gate when the next chunk is wanted.
  void next(std::function<void()> action) {
    chunks_->next(
        [self = shared_from_this(), action = std::move(action)] { self->outlet_.later(action, self->slow_); });
  }
  void end() {
    if (event_.completion() == nullptr) return;
    event_.chunk = make_ref<Chunk>(chunks_);
    event_.last_chunk = true;
    event_.body = Payload();
    outlet_.emit(std::move(event_));
  }
  /// The generator failed: the reader hears of it, or the caller if nothing has been read.
  void fail(Failure&& failure) {
    if (event_.completion() == nullptr) return;
    if (sent_) event_.chunk = make_ref<Chunk>(chunks_);
    chunks_->no_more();
    outlet_.fail(std::move(event_), std::move(failure));
  }
  /// Nobody reads on.
  void stop() { event_.end(); }

 protected:
  Event event_;
  const Outlet outlet_;
  const Ref<Chunks> chunks_;
  bool sent_ = false;
  bool slow_ = false;  ///< the last chunk took long to make

  friend class Driven;
};

class GeneratorSource final : public ChunkSource {
 public:
  GeneratorSource(Event&& event, const Emitter& out, py::object generator, std::shared_ptr<Turnstile> turnstile)
      : ChunkSource(std::move(event), out), generator_(std::move(generator)), turnstile_(std::move(turnstile)) {}

  void pull() {
    const auto self = std::static_pointer_cast<GeneratorSource>(shared_from_this());
    if (turnstile_->enter([self] { self->pull_in_turn(); })) pull_in_turn();
  }

 private:
  void pull_in_turn() {
    make_one();
    if (auto other = turnstile_->leave()) outlet_.later(std::move(other), slow_);
  }

  void make_one() {
    if (over()) {
      close();
      return stop();
    }
    const TimePoint start = Clock::now();
    const py::object item = py::reinterpret_steal<py::object>(PyIter_Next(generator_.ptr()));
    slow_ = Clock::now() - start > kSlow;
    if (item) {
      send(item);
      return next([self = std::static_pointer_cast<GeneratorSource>(shared_from_this())] { self->pull(); });
    }
    const bool failed = PyErr_Occurred() != nullptr;
    if (failed)
      fail(take_exception());
    else
      end();
    generator_ = py::object();
  }

  void close() {
    const py::object closed =
        py::reinterpret_steal<py::object>(PyObject_CallMethod(generator_.ptr(), "close", nullptr));
    if (!closed) PyErr_WriteUnraisable(generator_.ptr());
    generator_ = py::object();
  }
  py::object generator_;
  const std::shared_ptr<Turnstile> turnstile_;
};

/// The same as the coroutine sees it that drives an async generator.
struct PyChunkSource {
  std::shared_ptr<ChunkSource> source;
  void send(const py::object& item, const py::function& then) const {
    source->send(item);
    source->next([then = share(then.ptr())] {
      const py::object done = py::reinterpret_steal<py::object>(PyObject_CallNoArgs(raw(then)));
      if (!done) PyErr_WriteUnraisable(raw(then));
    });
  }
};

class Driven final : public Continuation {
 public:
  explicit Driven(std::shared_ptr<ChunkSource> source) : source_(std::move(source)) {}
  void resolve(PyObject* finished) override {
    if (finished == Py_True)
      source_->end();
    else
      source_->stop();
  }
  void reject(Failure&& failure) override { source_->fail(std::move(failure)); }
  Emitter& emitter() override { return nothing_; }
  const Event& event() override { return source_->event_; }
  void on_abandoned(std::function<void()> action) override {
    source_->event_.completion()->on_cancel(
        [outlet = source_->outlet_, action = std::move(action)] { outlet.later(action, false); });
  }

 private:
  std::shared_ptr<ChunkSource> source_;
  Emitter nothing_;
};

/// Reads chunks on a Python thread; without the GIL while there is none.
class Reader {
 public:
  explicit Reader(Ref<Chunks> chunks) : chunks_(std::move(chunks)) {}
  Reader(Reader&&) = default;
  ~Reader() {
    if (chunks_) chunks_->cancel();
  }

  py::object next() {
    for (;;) {
      std::optional<Chunks::Item> item = chunks_->take();
      if (!item) {
        wait();
        continue;
      }
      if (item->chunk) return to_object(*item->chunk);
      if (!item->failure) throw py::stop_iteration();
      const py::object error = to_exception(*item->failure);
      PyErr_SetObject(py::type::handle_of(error).ptr(), error.ptr());
      throw py::error_already_set();
    }
  }

 private:
  struct Bell {
    std::mutex mutex;
    std::condition_variable rung;
    bool ringing = false;
  };
  void wait() {
    const auto bell = std::make_shared<Bell>();
    chunks_->on_ready([bell] {
      const std::lock_guard lock(bell->mutex);
      bell->ringing = true;
      bell->rung.notify_all();
    });
    for (;;) {
      {
        const WithoutGil released;
        std::unique_lock lock(bell->mutex);
        if (bell->rung.wait_for(lock, std::chrono::milliseconds(100), [&] { return bell->ringing; })) return;
      }
      if (PyErr_CheckSignals() != 0) throw py::error_already_set();
    }
  }
  Ref<Chunks> chunks_;
};

}  // namespace

py::object read_chunks(Ref<Chunks> chunks) {
  return py::reinterpret_borrow<py::object>(hooks.read)(Reader(std::move(chunks)));
}

bool Turnstile::enter(std::function<void()> then) {
  const std::lock_guard lock(mutex_);
  if (!std::exchange(busy_, true)) return true;
  waiting_.push_back(std::move(then));
  return false;
}

std::function<void()> Turnstile::leave() {
  const std::lock_guard lock(mutex_);
  if (waiting_.empty()) {
    busy_ = false;
    return {};
  }
  std::function<void()> next = std::move(waiting_.front());
  waiting_.pop_front();
  return next;
}

void make_chunks(Event&& event, Emitter&& out, py::object generator, std::shared_ptr<Turnstile> turnstile) {
  if (!out.claim(event)) return;  // the step's time is up, and the event has failed
  if (event.chunk) {
    const std::string text = "Streaming on top of streaming is not allowed. Step '" + out.step_name() +
                             "' received a streaming event from '" + event.chunk->chunks->maker + "'.";
    return out.outlet().fail(std::move(event), Failure{"", 500, "StreamingError", text, {}});
  }
  if (PyGen_CheckExact(generator.ptr()))
    return std::make_shared<GeneratorSource>(std::move(event), out, std::move(generator), std::move(turnstile))->pull();
  auto source = std::make_shared<ChunkSource>(std::move(event), out);
  const py::object coroutine = py::reinterpret_borrow<py::object>(hooks.drive)(generator, PyChunkSource{source});
  spawn(coroutine.ptr(), std::make_unique<Driven>(std::move(source)));
}

void register_chunks(py::module_& m) {
  py::class_<Reader>(m, "Chunks", "An answer that comes in chunks: an iterator.")
      .def("__iter__", [](py::object self) { return self; })
      .def("__next__", &Reader::next);
  py::class_<PyChunkSource>(m, "ChunkSource", "Where an async generator's chunks go.")
      .def("send", &PyChunkSource::send, py::arg("item"), py::arg("then"),
           "Send one on; `then` is called when the next is wanted, or none is any more.")
      .def_property_readonly("over", [](const PyChunkSource& self) { return self.source->over(); });
}

}  // namespace penstock::python
