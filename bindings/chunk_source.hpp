#pragma once

#include <penstock/step.hpp>

#include "objects.hpp"

namespace penstock::python {

/// A generator or an async generator.
inline bool is_generator(PyObject* result) { return PyGen_CheckExact(result) || PyAsyncGen_CheckExact(result); }

/// Makes events of what a generator yields, one after the other, and ends the event itself behind the
/// last. Holds the emitter, and so the step's place, until then.
void make_chunks(Event&& event, Emitter&& out, py::object generator);

/// An iterator over an answer in chunks, for a Python caller.
py::object read_chunks(Ref<Chunks> chunks);

}  // namespace penstock::python
