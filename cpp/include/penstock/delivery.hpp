#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <new>
#include <optional>
#include <utility>
#include <vector>

#include <penstock/executor.hpp>
#include <penstock/offsets.hpp>

namespace penstock {

/// Keeps the memory of objects that are gone for others of their kind: there are as many, and as short-lived, as a
/// stream has records, and they end on other threads than they were made on. Thread-safe.
template <class T>
class Pooled {
 public:
  static void* operator new(std::size_t size) {
    {
      Pool& pool = instance();
      const std::lock_guard lock(pool.mutex);
      if (!pool.free.empty()) {
        void* memory = pool.free.back();
        pool.free.pop_back();
        return memory;
      }
    }
    return ::operator new(size);
  }
  static void operator delete(void* memory) noexcept {
    {
      Pool& pool = instance();
      const std::lock_guard lock(pool.mutex);
      if (pool.free.size() < pool.free.capacity()) return pool.free.push_back(memory);
    }
    ::operator delete(memory);
  }

 private:
  struct Pool {
    Pool() { free.reserve(kMost); }
    std::mutex mutex;
    std::vector<void*> free;
  };
  static constexpr std::size_t kMost = 8192;
  /// Never destroyed, as the last objects may end at the very end.
  static Pool& instance() {
    static Pool* const pool = new Pool;
    return *pool;
  }
};

/// The envelope of a stream's record.
struct RecordEnvelope final : Envelope, Pooled<RecordEnvelope> {};

/// What a stream source hears of the records that it has delivered. A record that ended well settles
/// its offset at once, on whichever thread ends it; one that failed is left here, its offset open, for
/// the source to decide. Thread-safe.
class Deliveries final : public RefCounted {
 public:
  struct Failed {
    Ref<Offsets> offsets;
    std::uint64_t delivery = 0;
    Object origin;  ///< what the source gave along with the record
    Failure failure;
  };

  /// Waits until at most `low` records are in flight, `failures` are to be taken, or someone calls `wake`.
  void wait(std::size_t low, Duration timeout, std::size_t failures = 1);
  void wake();
  [[nodiscard]] std::vector<Failed> take_failed();
  [[nodiscard]] std::size_t in_flight() const noexcept { return in_flight_.load(); }
  [[nodiscard]] std::size_t bytes() const noexcept { return bytes_.load(); }

 private:
  friend class Delivery;
  void began(std::size_t bytes) noexcept {
    in_flight_.fetch_add(1);
    bytes_.fetch_add(bytes);
  }
  void ended(std::size_t bytes);
  void failed(Failed&& failed);

  std::atomic<std::size_t> in_flight_{0};
  std::atomic<std::size_t> bytes_{0};
  std::atomic<std::size_t> low_{0};  ///< what is waited for
  std::atomic<bool> waiting_{false};
  std::mutex mutex_;  ///< a leaf; guards the next four
  std::condition_variable changed_;
  std::vector<Failed> failed_;
  std::size_t wanted_ = 1;  ///< failures that are waited for
  bool woken_ = false;
};

/// The completion of one record of a stream. It takes no place from the events of callers: how many
/// records are in flight is the source's to bound.
class Delivery final : public Root, public Pooled<Delivery> {
 public:
  Delivery(Ref<Deliveries> deliveries, Ref<Offsets> offsets, std::uint64_t delivery, Object origin, std::size_t size)
      : deliveries_(std::move(deliveries)), offsets_(std::move(offsets)), delivery_(delivery),
        origin_(std::move(origin)) {
    bytes = size;
    takes_place = false;
    deliveries_->began(size);
  }
  ~Delivery() override;

 private:
  void on_reply(Answer&& /*answer*/) override {}
  void on_failed(const Failure& failure) override;
  void on_ended(Outcome outcome) override;
  void leave_place();

  const Ref<Deliveries> deliveries_;
  const Ref<Offsets> offsets_;
  const std::uint64_t delivery_;
  Object origin_;
  std::atomic<bool> told_{false};
  std::unique_ptr<Failure> failure_;  ///< the first, written by whoever set `told_`
  bool ended_ = false;
};

}  // namespace penstock
