#pragma once

#include <utility>

namespace penstock {

/// What the host language can do with one of its objects. One static table a host.
/// `release` may be called from any thread, inside the gate or not; the others only inside it.
struct ObjectTraits {
  void (*retain)(void* object);
  void (*release)(void* object) noexcept;
  /// A deep copy, owned by the caller. Throws `Failure` if the object cannot be copied.
  void* (*clone)(void* object);
};

/// A counted reference to an object of the host language (a Python object). The core never looks
/// inside. Copy only inside the gate (see gate.hpp); move and destroy anywhere.
class Object {
 public:
  Object() noexcept = default;
  /// Takes over one reference to `object`.
  Object(void* object, const ObjectTraits* traits) noexcept : object_(object), traits_(traits) {}
  Object(const Object& other) : object_(other.object_), traits_(other.traits_) {
    if (object_ != nullptr) traits_->retain(object_);
  }
  Object(Object&& other) noexcept : object_(std::exchange(other.object_, nullptr)), traits_(other.traits_) {}
  Object& operator=(Object other) noexcept {
    std::swap(object_, other.object_);
    std::swap(traits_, other.traits_);
    return *this;
  }
  ~Object() {
    if (object_ != nullptr) traits_->release(object_);
  }

  [[nodiscard]] void* get() const noexcept { return object_; }
  /// Takes over one reference to `object` of the same host, and gives the one held up to the caller.
  [[nodiscard]] void* exchange(void* object) noexcept { return std::exchange(object_, object); }
  /// Gives the reference up to the caller.
  [[nodiscard]] void* detach() noexcept { return std::exchange(object_, nullptr); }
  [[nodiscard]] Object clone() const {
    return object_ == nullptr ? Object() : Object(traits_->clone(object_), traits_);
  }
  explicit operator bool() const noexcept { return object_ != nullptr; }

 private:
  void* object_ = nullptr;
  const ObjectTraits* traits_ = nullptr;
};

}  // namespace penstock
