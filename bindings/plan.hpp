#pragma once

#include <memory>
#include <optional>
#include <string>

#include <penstock/plan.hpp>

namespace penstock::python {

/// A plan as Python holds it, with what the server has to know of it.
struct PyPlan {
  std::shared_ptr<Plan> plan;
  std::string model_prefix;   ///< below it, requests are decoded before Python sees them; may be empty
  StepId frontend = kNoStep;  ///< answers protocol calls that are no inference
  bool taken = false;         ///< a core runs it: its steps hold state, so only one may
};

}  // namespace penstock::python
