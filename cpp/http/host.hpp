#pragma once

#include <memory>

#include <penstock/object.hpp>
#include <penstock/tensor.hpp>

#include <http/message.hpp>

namespace penstock::http {

/// What the fronts need of the host language.
class Host {
 public:
  virtual ~Host() = default;
  /// An answer's body, an object, as a response. Inside the gate.
  virtual Response render(const Object& body) = 0;
  /// The answer's body as tensors, if it is the protocol's response written as an object; else null.
  /// Inside the gate.
  virtual std::shared_ptr<const InferResponse> tensors(const Object& /*body*/) { return nullptr; }
  /// Makes an I/O thread known to the host while the result lives.
  virtual std::shared_ptr<void> attach() = 0;
};

}  // namespace penstock::http
