#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <mutex>

#include <penstock/step.hpp>

#include "objects.hpp"

namespace penstock::python {

/// A generator or an async generator.
inline bool is_generator(PyObject* result) { return PyGen_CheckExact(result) || PyAsyncGen_CheckExact(result); }

/// Lets one generator of a step run at a time; others wait without a thread.
class Turnstile {
 public:
  /// Whether the caller may go on now; else `then` is what the one ahead starts when it leaves.
  bool enter(std::function<void()> then);
  /// What is to be started next, in the caller's place; empty if nothing waits.
  std::function<void()> leave();

 private:
  std::mutex mutex_;  ///< a leaf; guards the next two
  std::deque<std::function<void()>> waiting_;
  bool busy_ = false;
};

/// Makes events of what a generator yields, one after the other, and ends the event itself behind the
/// last. The step goes on with other events meanwhile: a client that reads slowly holds up its own
/// generator only. Generators of one step run in turn, by its turnstile.
void make_chunks(Event&& event, Emitter&& out, py::object generator, std::shared_ptr<Turnstile> turnstile);

/// An iterator over an answer in chunks, for a Python caller.
py::object read_chunks(Ref<Chunks> chunks);

}  // namespace penstock::python
