#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include <penstock/chunks.hpp>
#include <penstock/failure.hpp>
#include <penstock/payload.hpp>
#include <penstock/ref.hpp>
#include <penstock/sync.hpp>

namespace penstock {

/// What a caller gets: a failure, a body, chunks to read, or nothing if no event was left that could answer.
struct Answer {
  std::optional<Failure> failure;
  std::optional<Payload> body;
  Ref<Chunks> chunks{};
};

/// How the events derived from one admitted event ended; the worst of them.
enum class Outcome : std::uint8_t { kOk, kFiltered, kFailed };

/// Shared by all events derived from one admitted event.
///
/// The first answer counts: a respond, a failure of an event that could still answer, or "nothing"
/// when the last such event has ended. When the last event of all has ended the completion is
/// settled, with the worst outcome. Both happen exactly once, on whichever thread ends the event, and
/// never under a core mutex. Thread-safe.
class Completion : public RefCounted {
 public:
  /// Counts one more event, which can still answer or not.
  void join(bool answering) noexcept {
    live_.fetch_add(1, std::memory_order_relaxed);
    if (answering) answering_.fetch_add(1, std::memory_order_relaxed);
  }
  /// One event cannot answer any more, but lives on.
  void give_up() {
    if (answering_.fetch_sub(1, std::memory_order_acq_rel) == 1) answer(Answer{});
  }
  /// One event has ended.
  void leave(bool answering) {
    if (answering) give_up();
    const std::uint32_t left = live_.fetch_sub(1) - 1;
    if (left == 0)
      on_settled(outcome_.load(std::memory_order_relaxed));
    else if (left <= waiting_.load())
      strand();
  }
  /// One event waits for others of this completion, and `stranded` is called, now or later, once no
  /// other is left that could come; among several that wait so, that of the lowest rank. On any thread;
  /// it must not block, and the event must still be there when it returns.
  void wait(const void* waiter, std::uint32_t rank, std::function<void()> stranded);
  /// It waits no more.
  void wait_no_more(const void* waiter);
  /// Answers the caller unless it has been answered; whether it did.
  bool answer(Answer&& answer) {
    if (answered_.load(std::memory_order_relaxed) || answered_.exchange(true, std::memory_order_acq_rel)) return false;
    on_answer(std::move(answer));
    return true;
  }
  /// One event has failed, and nothing took the failure. Inside the gate.
  void failed(const Failure& failure) {
    worsen(Outcome::kFailed);
    on_failed(failure);
  }
  void worsen(Outcome outcome) noexcept {
    Outcome seen = outcome_.load(std::memory_order_relaxed);
    while (seen < outcome && !outcome_.compare_exchange_weak(seen, outcome, std::memory_order_relaxed)) {
    }
  }

  /// Nobody wants the answer any more: what is still queued is not started.
  void cancel();
  /// The same, with an answer: an event that ends because of it does not answer with nothing before,
  /// and whoever hears the answer can be sure that what is queued is not started.
  void cancel(Answer&& answer);
  /// Has `action` called once if the completion is cancelled; at once, here, if it is already. It must
  /// not block, and is dropped with the completion.
  void on_cancel(std::function<void()> action);
  [[nodiscard]] bool cancelled() const noexcept { return cancelled_.load(std::memory_order_relaxed); }
  [[nodiscard]] bool answered() const noexcept { return answered_.load(std::memory_order_acquire); }

  /// When the answer is due; set before the event is admitted.
  std::optional<TimePoint> deadline;
  std::atomic<std::uint64_t> timer{0};  ///< the deadline's timer; the executor's
  std::size_t bytes = 0;                ///< what the admitted body weighs; the executor's

 protected:
  /// May be called on any thread; must not block.
  virtual void on_answer(Answer&& answer) = 0;
  virtual void on_settled(Outcome /*outcome*/) {}
  /// Of every failure that nothing took, always before it is settled; several events may fail together.
  virtual void on_failed(const Failure& /*failure*/) {}

 private:
  struct Waiting {
    const void* waiter;
    std::uint32_t rank;
    std::function<void()> stranded;
  };
  void strand();

  std::atomic<std::uint32_t> live_{0};
  std::atomic<std::uint32_t> waiting_{0};
  std::atomic<std::uint32_t> answering_{0};
  std::atomic<bool> answered_{false};
  std::atomic<bool> cancelled_{false};
  std::atomic<Outcome> outcome_{Outcome::kOk};
  std::mutex mutex_;  ///< a leaf; guards the next two
  std::vector<std::function<void()>> cancel_actions_;
  std::vector<Waiting> waits_;
};

}  // namespace penstock
