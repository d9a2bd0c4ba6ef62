#pragma once

#include <ucontext.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

namespace penstock::sim {

using Duration = std::chrono::steady_clock::duration;
using Time = std::chrono::steady_clock::time_point;

/// Threads as fibers of one real thread: a seeded generator decides at every synchronising call who
/// goes on, and time is virtual. The same seed gives the same run. `current()` is the run at hand.
class World {
 public:
  explicit World(std::uint64_t seed) : random_(seed) { instance() = this; }
  ~World() { instance() = nullptr; }
  static World& current() { return *instance(); }

  void spawn(std::string name, std::function<void()> body) {
    auto fiber = std::make_unique<Fiber>();
    fiber->name = std::move(name);
    fiber->body = std::move(body);
    fiber->stack.resize(64 * 1024);
    getcontext(&fiber->context);
    fiber->context.uc_stack.ss_sp = fiber->stack.data();
    fiber->context.uc_stack.ss_size = fiber->stack.size();
    fiber->context.uc_link = &scheduler_;
    makecontext(&fiber->context, reinterpret_cast<void (*)()>(&World::enter), 0);
    fibers_.push_back(std::move(fiber));
  }

  /// Runs until every fiber has ended. Throws if none can go on, or after too long a virtual time.
  void run(Duration limit) {
    const Time end = now_ + limit;
    for (;;) {
      std::vector<Fiber*> able;
      Fiber* sleeper = nullptr;
      bool alive = false;
      for (auto& fiber : fibers_) {
        if (fiber->ended) continue;
        alive = true;
        if (fiber->blocked != nullptr) continue;
        if (fiber->until <= now_)
          able.push_back(fiber.get());
        else if (sleeper == nullptr || fiber->until < sleeper->until)
          sleeper = fiber.get();
      }
      if (!alive) return;
      if (able.empty()) {
        if (sleeper == nullptr) throw std::runtime_error("deadlock: " + describe());
        now_ = sleeper->until;
        continue;
      }
      if (now_ > end) throw std::runtime_error("no end: " + describe());
      now_ += std::chrono::nanoseconds(below(2000));
      running_ = able[below(able.size())];
      swapcontext(&scheduler_, &running_->context);
      running_ = nullptr;
    }
  }

  /// Lets any fiber go on; nothing when called from outside a fiber.
  void yield() {
    if (running_ != nullptr) swapcontext(&running_->context, &scheduler_);
  }
  void sleep(Duration duration) {
    running_->until = now_ + duration;
    yield();
  }
  /// Blocks the running fiber on `what` until `release(what)`.
  void block(const void* what) {
    running_->blocked = what;
    yield();
  }
  void release(const void* what) {
    for (auto& fiber : fibers_)
      if (fiber->blocked == what) fiber->blocked = nullptr;
  }
  void advance(Duration duration) { now_ += duration; }
  [[nodiscard]] Time now() const { return now_; }
  std::uint64_t below(std::uint64_t bound) { return random_() % bound; }

 private:
  struct Fiber {
    std::string name;
    std::function<void()> body;
    std::vector<char> stack;
    ucontext_t context{};
    const void* blocked = nullptr;
    Time until{};
    bool ended = false;
  };

  static World*& instance() {
    static World* world = nullptr;
    return world;
  }
  static void enter() {
    Fiber* fiber = current().running_;
    fiber->body();
    fiber->ended = true;
  }
  std::string describe() const {
    std::string text;
    for (const auto& fiber : fibers_)
      if (!fiber->ended) text += fiber->name + (fiber->blocked != nullptr ? " blocked; " : " waiting; ");
    return text;
  }

  std::mt19937_64 random_;
  Time now_{std::chrono::hours(1)};
  std::vector<std::unique_ptr<Fiber>> fibers_;
  Fiber* running_ = nullptr;
  ucontext_t scheduler_{};
};

class Mutex {
 public:
  void lock() {
    World::current().yield();
    while (held_) World::current().block(this);
    held_ = true;
  }
  void unlock() {
    held_ = false;
    World::current().release(this);
    World::current().yield();
  }

 private:
  bool held_ = false;
};

class Lock {
 public:
  explicit Lock(Mutex& mutex) : mutex_(mutex) { lock(); }
  ~Lock() {
    if (owned_) unlock();
  }
  Lock(const Lock&) = delete;
  Lock& operator=(const Lock&) = delete;
  void lock() {
    mutex_.lock();
    owned_ = true;
  }
  void unlock() {
    owned_ = false;
    mutex_.unlock();
  }

 private:
  Mutex& mutex_;
  bool owned_ = false;
};

class Parker {
 public:
  void park() {
    World::current().yield();
    while (!token_) World::current().block(this);
    token_ = false;
  }
  void unpark() {
    token_ = true;
    World::current().release(this);
  }

 private:
  bool token_ = false;
};

struct Sync {
  using Mutex = sim::Mutex;
  using Lock = sim::Lock;
  using Time = sim::Time;
  using Duration = sim::Duration;
  using Parker = sim::Parker;
  static Time now() { return World::current().now(); }
};

}  // namespace penstock::sim
