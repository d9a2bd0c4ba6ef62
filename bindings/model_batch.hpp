#pragma once

#include <penstock/step.hpp>

#include "model.hpp"

namespace penstock::python {

/// Answers a batch by one `predict`, if all of it are requests of tensors that may be rows of one: each caller gets the
/// rows that are his. False, and nothing is done, if Python has to look at it. When all together have failed, each is
/// tried alone if `isolate`. Needs the GIL.
bool predict_together(Model& model, Batch& batch, Emitter& out, bool isolate);

}  // namespace penstock::python
