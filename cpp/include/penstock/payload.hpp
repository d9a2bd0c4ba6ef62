#pragma once

#include <memory>
#include <string>
#include <utility>
#include <variant>

#include <penstock/object.hpp>
#include <penstock/tensor.hpp>

namespace penstock {

/// A body as it came over the wire. Becomes an object only when a step asks for one.
struct Bytes {
  std::shared_ptr<const std::string> data;
  bool declared_json = false;  ///< the sender said that it is JSON, so anything else is an error
  bool maybe_json = false;     ///< the sender did not say: JSON if it parses, else bytes
};

/// The body of an event: nothing, an object of the host, bytes, or tensors of the protocol. Opaque to
/// the core. Cheap to move; copying shares (and, for objects, needs the gate).
class Payload {
 public:
  Payload() noexcept = default;
  explicit Payload(Object object) noexcept : value_(std::move(object)) {}
  explicit Payload(Bytes bytes) noexcept : value_(std::move(bytes)) {}
  explicit Payload(std::shared_ptr<const InferRequest> request) noexcept : value_(std::move(request)) {}
  explicit Payload(std::shared_ptr<const InferResponse> response) noexcept : value_(std::move(response)) {}

  [[nodiscard]] bool empty() const noexcept { return value_.index() == 0; }
  [[nodiscard]] const Object* object() const noexcept { return std::get_if<Object>(&value_); }
  [[nodiscard]] Object* object() noexcept { return std::get_if<Object>(&value_); }
  [[nodiscard]] const Bytes* bytes() const noexcept { return std::get_if<Bytes>(&value_); }
  [[nodiscard]] std::shared_ptr<const InferRequest> request() const noexcept {
    const auto* held = std::get_if<std::shared_ptr<const InferRequest>>(&value_);
    return held == nullptr ? nullptr : *held;
  }
  [[nodiscard]] std::shared_ptr<const InferResponse> response() const noexcept {
    const auto* held = std::get_if<std::shared_ptr<const InferResponse>>(&value_);
    return held == nullptr ? nullptr : *held;
  }

  /// A copy for another branch: a deep copy of an object, as what is mutable may be changed there;
  /// everything else is immutable and shared. Throws `Failure` if the object cannot be copied.
  [[nodiscard]] Payload clone() const {
    const Object* held = object();
    return held == nullptr ? *this : Payload(held->clone());
  }

 private:
  std::variant<std::monostate, Object, Bytes, std::shared_ptr<const InferRequest>, std::shared_ptr<const InferResponse>>
      value_;
};

}  // namespace penstock
