#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <penstock/step.hpp>

#include "objects.hpp"

namespace penstock::python {

/// What a step is made of, as Python gives it.
struct StepArguments {
  std::string name;
  py::object target;
  bool full_event = false;
  std::string input_path, result_path;
  std::string prefix;
  std::map<std::string, std::uint32_t> table;
  std::size_t batch_size = 1;
  bool ragged = false;  ///< arrays of different lengths may share a batch
};

/// A step that may get another target while the graph runs. What it is in the middle of, it finishes with the
/// former one, and holds on to that as long.
class Replaceable {
 public:
  virtual ~Replaceable() = default;
  virtual void retarget(py::object target) = 0;
};

/// Makes the step of a kind: map, filter, flat_map, extend, pass, rows, model, stage, route, choose, scatter, gather.
/// Throws std::invalid_argument for a kind that is none of these.
std::unique_ptr<Step> make_step(const std::string& kind, StepArguments arguments);
std::unique_ptr<Step> make_router_step(const std::string& kind, StepArguments arguments);  ///< null for other kinds
std::unique_ptr<Step> make_stage_step(StepArguments arguments);
std::unique_ptr<Step> make_model_step(StepArguments arguments);
std::unique_ptr<Step> make_sink_step(StepArguments arguments);
std::unique_ptr<Step> make_batch_step(const std::string& kind, StepArguments arguments);

/// What is left to do when a coroutine has ended: called on the loop's thread.
class Continuation {
 public:
  virtual ~Continuation() = default;
  virtual void resolve(PyObject* result) = 0;
  virtual void reject(Failure&& failure) = 0;
  virtual Emitter& emitter() = 0;
  virtual const Event& event() = 0;  ///< whose being cancelled ends the coroutine
  /// Has `action` called inside the gate when nobody waits for the coroutine any more.
  virtual void on_abandoned(std::function<void()> action) { emitter().on_abandoned(event(), std::move(action)); }
};

/// Hands a coroutine to the loop's thread. Throws Failure if there is no loop any more.
void spawn(PyObject* coroutine, std::unique_ptr<Continuation> continuation);

}  // namespace penstock::python
