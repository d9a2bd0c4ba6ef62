#pragma once

#include <utility>

#include <penstock/event.hpp>

namespace penstock {

/// The completion of one event that stands for several: they share its answer, and end when it and all
/// that was derived from it have ended. Thread-safe, as a completion is.
class Joined final : public Completion {
 public:
  explicit Joined(Batch members) : members_(std::move(members)) {}
  /// Some member could still answer.
  [[nodiscard]] bool answering() const;

 private:
  void on_answer(Answer&& answer) override;
  void on_settled(Outcome outcome) override;
  void on_failed(const Failure& failure) override;
  Batch members_;
};

}  // namespace penstock
