#include <penstock/intake.hpp>

#include <atomic>
#include <exception>
#include <memory>
#include <mutex>
#include <utility>

namespace penstock {
namespace {

class Intake {
 public:
  Intake(Gate& gate, std::function<bool()> turn) : gate_(gate), turn_(std::move(turn)) {}

  /// The owner's part, at its seat.
  void run() {
    for (;;) {
      std::unique_lock turning(turning_, std::try_to_lock);
      if (!turning) {
        owner_waits_.store(true);
        Executor::rest();
        turning.lock();
        owner_waits_.store(false);
      }
      Executor::attend();
      if (!turn()) break;
      turning.unlock();
      Executor::drain();
    }
    if (failure_) std::rethrow_exception(failure_);
  }

  /// Takes the turns until the owner is back, or another thread is at it.
  void assist() {
    for (;;) {
      std::unique_lock turning(turning_, std::try_to_lock);
      if (!turning || owner_waits_.load() || !turn()) return;
      turning.unlock();
      Executor::drain();
    }
  }

 private:
  bool turn() {
    if (over_) return false;
    gate_.enter();
    try {
      over_ = !turn_();
    } catch (...) {
      over_ = true;
      failure_ = std::current_exception();
    }
    gate_.leave();
    return !over_;
  }

  Gate& gate_;
  const std::function<bool()> turn_;
  std::atomic<bool> owner_waits_{false};
  std::mutex turning_;  ///< comes before the gate; held for a turn. Guards the next two
  bool over_ = false;
  std::exception_ptr failure_;
};

}  // namespace

void take_in(Executor& executor, Gate& gate, std::function<bool()> turn) {
  const auto intake = std::make_shared<Intake>(gate, std::move(turn));
  const Executor::Seat seat(executor, [intake] { intake->assist(); });
  intake->run();
}

}  // namespace penstock
