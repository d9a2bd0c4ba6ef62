#include <penstock/joined.hpp>

#include <algorithm>

namespace penstock {

bool Joined::answering() const {
  return std::any_of(members_.begin(), members_.end(), [](const Event& event) { return event.awaited(); });
}

void Joined::on_answer(Answer&& answer) {
  for (Event& member : members_) member.answer(answer);
}

void Joined::on_settled(Outcome outcome) {
  for (const Event& member : members_)
    if (member.completion() != nullptr) member.completion()->worsen(outcome);
  members_.clear();
}

void Joined::on_failed(const Failure& failure) {
  for (const Event& member : members_)
    if (member.completion() != nullptr) member.completion()->failed(failure);
}

}  // namespace penstock
