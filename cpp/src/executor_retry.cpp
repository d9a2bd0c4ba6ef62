// Steps that are called again with an event they failed with.

#include <algorithm>
#include <random>
#include <utility>

#include <penstock/executor.hpp>

namespace penstock {
namespace {

constexpr std::chrono::seconds kLongestRest{30};

/// The sender's mistakes stay mistakes, but for those that say "later".
bool may_pass(int status) { return status >= 500 || status == 408 || status == 425 || status == 429; }

double random_share() {
  static thread_local std::mt19937_64 generator{std::random_device{}()};
  return std::uniform_real_distribution<double>(0.0, 1.0)(generator);
}

}  // namespace

double Executor::chance() const { return options_.random ? options_.random() : random_share(); }

/// Lets the event rest, for a random part of a time that doubles, and has the step called again; false
/// if it has been tried often enough. Events of one key wait for it; others do not.
bool Executor::try_again(StepId at, Event& event, const Failure& failure) {
  const Plan::Entry& step = (*plan_)[at];
  if (event.tries.step != at) event.tries = {at, 0};
  if (++event.tries.count >= step.attempts || !may_pass(failure.status) || event.cancelled() || event.chunk)
    return false;
  const auto doubled = step.backoff * (1LL << std::min<std::uint32_t>(event.tries.count - 1, 20));
  const auto longest = std::min<Duration>(doubled, kLongestRest);
  const double share = chance();
  const std::uint64_t key = event.key();
  std::uint64_t ticket = 0;
  {
    const std::lock_guard lock(mutex_);
    if (closed_) return false;
    ticket = ++last_ticket_;
    resting_.emplace(ticket, std::move(event));
  }
  resting_count_.fetch_add(1);
  if (step.by_key) slots_[at]->channel.adopt(key);
  const auto rest = std::chrono::duration_cast<Duration>(longest * share);
  at_time(now() + rest, [this, ticket, at] { add_chore([this, ticket, at] { call_again(ticket, at); }); });
  return true;
}

void Executor::call_again(std::uint64_t ticket, StepId at) {
  const Plan::Entry& step = (*plan_)[at];
  Event event;
  {
    const std::lock_guard lock(mutex_);
    const auto found = resting_.find(ticket);
    if (found == resting_.end()) return;  // the graph was closed
    event = std::move(found->second);
    resting_.erase(found);
  }
  const std::uint64_t key = event.key();
  if (!step.by_key) {
    deliver(at, std::move(event));
  } else if (step.timeout > Duration::zero()) {
    run_timed(at, std::move(event));
  } else {
    run_line(at, std::move(event));
    end(at, 1, key);
  }
  resting_count_.fetch_sub(1);
  if (refusing_.load()) wake_settling();
}

}  // namespace penstock
