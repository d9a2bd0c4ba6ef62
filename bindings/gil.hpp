#pragma once

// The one file that names the GIL.

#include <pybind11/pybind11.h>

#if defined(__linux__)
#include <sys/prctl.h>
#endif

#include <mutex>
#include <vector>

#include <penstock/gate.hpp>

namespace penstock::python {

namespace py = pybind11;

/// The GIL as the core's gate. A thread that came from Python leaves and enters with its own thread
/// state; a thread of the core needs an `Attached` first.
class GilGate final : public Gate {
 public:
  /// The one gate: there is one GIL.
  static GilGate& instance() {
    static GilGate gate;
    return gate;
  }

  void enter() override {
    PyEval_RestoreThread(state());
    if (has_dropped_.load(std::memory_order_relaxed)) release_dropped();
  }
  void leave() override { state() = PyEval_SaveThread(); }
  /// Whether the calling thread, which may be any, is inside.
  static bool inside() { return PyGILState_Check() == 1; }

  /// While something computes for long, Python hands the GIL over every 20 µs instead of every 5 ms,
  /// so that a quick handler does not wait for that.
  void crowd(bool crowded) override {
    crowds_ += crowded ? 1 : -1;
    if (crowded && crowds_ == 1) {
      usual_interval_ = py::module_::import("sys").attr("getswitchinterval")().cast<double>();
      py::module_::import("sys").attr("setswitchinterval")(20e-6);
    } else if (!crowded && crowds_ == 0) {
      py::module_::import("sys").attr("setswitchinterval")(usual_interval_);
    }
  }

  /// Gives a reference back: at once if this thread is inside, else when the next one enters.
  void drop(PyObject* object) noexcept {
    if (Py_IsInitialized() == 0) return;  // the process is going away
    if (PyGILState_Check() != 0) {
      Py_DECREF(object);
      return;
    }
    const std::lock_guard lock(mutex_);
    dropped_.push_back(object);
    has_dropped_.store(true, std::memory_order_relaxed);
  }

  /// Inside.
  void release_dropped() {
    std::vector<PyObject*> dropped;
    {
      const std::lock_guard lock(mutex_);
      dropped.swap(dropped_);
      has_dropped_.store(false, std::memory_order_relaxed);
    }
    for (PyObject* object : dropped) Py_DECREF(object);
  }

 private:
  static PyThreadState*& state() {
    static thread_local PyThreadState* state = nullptr;
    return state;
  }

  std::mutex mutex_;  ///< a leaf; guards dropped_
  std::vector<PyObject*> dropped_;
  std::atomic<bool> has_dropped_{false};
  int crowds_ = 0;  ///< as the next one, touched inside only
  double usual_interval_ = 0.005;

  friend class Attached;
};

/// Makes a thread of the core known to Python, outside the GIL, while it lives.
class Attached {
 public:
  Attached() : held_(PyGILState_Ensure()) {
#if defined(__linux__)
    // Linux adds up to 50 µs to a timed wait, and a wait for the GIL is one: see docs/adr/0003.
    prctl(PR_SET_TIMERSLACK, 1000, 0, 0, 0);
#endif
    GilGate::instance().leave();
  }
  ~Attached() {
    GilGate::instance().enter();
    PyGILState_Release(held_);
  }
  Attached(const Attached&) = delete;
  Attached& operator=(const Attached&) = delete;

 private:
  PyGILState_STATE held_;
};

/// A stretch outside the GIL, for a thread that came from Python: it may block there, or run the core.
class WithoutGil {
 public:
  WithoutGil() { GilGate::instance().leave(); }
  ~WithoutGil() { GilGate::instance().enter(); }
  WithoutGil(const WithoutGil&) = delete;
  WithoutGil& operator=(const WithoutGil&) = delete;
};

}  // namespace penstock::python
