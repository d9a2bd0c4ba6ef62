#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <vector>

#include <penstock/gate.hpp>
#include <penstock/sync.hpp>

namespace penstock {

/// What a lane runs. `id` means something to the host only; `owner` names the caller whose answer
/// depends on it (or null), so that this caller is preferred for it.
struct Task {
  std::uint32_t id = 0;
  const void* owner = nullptr;
  bool bounded = false;  ///< its answer may be there before it ends, so no caller is held up with it
};

/// What a lane needs of its owner. `run` is called inside the gate, the others outside.
class LaneHost {
 public:
  virtual ~LaneHost() = default;
  virtual void run(std::uint32_t task) = 0;
  /// The task has been at it for longer than the lane allows. Called under the lane's mutex: only take note.
  virtual void stalled(std::uint32_t /*task*/) {}
  /// Hands over what this thread's tasks have made (writes answers). Outside the gate.
  virtual void flush() {}
  /// Serves I/O loop `loop` until its own thread is back. Outside the gate.
  virtual void assist(std::size_t /*loop*/) {}
  /// Whether a caller shall stop waiting (a person pressed Ctrl-C). Inside the gate.
  virtual bool interrupted() { return false; }
  /// Makes some I/O thread call `drain`; the last resort when nobody else can be woken. Called under
  /// the lane's mutex: only post.
  virtual void nudge() {}
};

/// Decides which thread runs ready tasks, so that none waits for the gate in vain.
///
/// One thread at a time is *active*: it drains the ready queue under one stay in the gate, and others
/// leave their tasks to it. A thread whose task lasts longer than `stall` is *relieved*: it counts as
/// active no more, and another takes over. Tasks known to be slow go to workers. Callers wait for
/// their answer by running ready tasks themselves.
///
/// Thread-safe. The mutex is a leaf. `Sync` gives mutexes,
/// parkers and time, so that the same protocol runs under a seeded simulator (tests/cpp).
template <class Sync>
class BasicLane {
 public:
  using Time = typename Sync::Time;
  using Duration = typename Sync::Duration;

  struct Options {
    Duration stall = std::chrono::milliseconds(1);
    Duration slice = std::chrono::milliseconds(1);  ///< an active thread lets others at the gate this often
    std::size_t active = 1;                         ///< threads that may drain at once; 1 with a global lock
    std::size_t workers = 256;                      ///< at most
  };

  enum class Role : std::uint8_t { kCaller, kIo, kWorker };
  enum class Lent : std::uint8_t { kClosed, kSpawn };

  /// A thread's place in the lane; lives on its stack. Fields are guarded by the lane's mutex unless
  /// atomic. `outer` is the turn that this thread has already, if it is nested in a task.
  struct Turn {
    explicit Turn(Role r, const void* o = nullptr, Turn* outer_turn = nullptr, std::size_t l = 0)
        : role(r), owner(o), outer(outer_turn), loop(l), serves(r == Role::kIo) {}
    Role role;
    const void* owner;
    Turn* outer;
    std::size_t loop;            ///< which loop stands still while a task runs, if `serves`
    bool serves;                 ///< an I/O thread, or a worker that assists one
    bool idle = false;           ///< a caller that waits for no answer, so it may run anything
    bool punctual = false;       ///< a caller that must be back in time: no task of others may keep it
    bool interruptible = false;  ///< a caller that asks `interrupted` whenever it is woken
    bool inside = false;         ///< in the gate; touched by its own thread only
    bool active = false;
    bool relieved = false;  ///< its task goes on, but nobody counts on its coming back
    bool slow = false;      ///< its task was known to be slow
    bool called = false;    ///< a worker that was woken for slow tasks and has not come yet
    bool known = false;     ///< a worker that has been here before
    std::uint32_t task = 0;
    Turn* next = nullptr;             ///< list of turns that run a task
    std::atomic<Time> since{Time{}};  ///< when the task started; zero between tasks
    typename Sync::Parker parker;
  };

  BasicLane(LaneHost& host, Gate& gate, Options options) : host_(host), gate_(gate), options_(options) {}

  /// Makes a task ready; never blocks, never runs it. `turn` is this thread's own turn if it gets back
  /// to the lane soon by itself, else null.
  void push(Task task, bool slow, Turn* turn);

  /// An I/O thread has read what there was: run what is ready, unless an active thread will. True if
  /// a slice was not enough: the thread shall look at its sockets without blocking and come back.
  bool drain(Turn& turn);

  /// A caller waits until `done()`, running ready tasks meanwhile. Inside the gate when called and
  /// when it returns. `done` is called under the mutex and must only look. False if it was interrupted.
  template <class Done>
  bool wait(Turn& turn, Done done);

  /// Wakes the caller of this owner, whose `done` has become true before.
  void wake(const void* owner);

  /// Lends this thread until the lane is closed and empty, or until one more thread is wanted: then the
  /// caller starts one, which calls `work` with a turn of its own, and comes back with the same turn.
  Lent work(Turn& turn);
  /// The thread that was wanted could not be started: make do with those there are.
  void spawn_failed();

  /// Relieves threads that stall. Called about every `stall` while `watching()`; false when the lane
  /// has been idle for a while and need not be watched.
  bool tick();
  [[nodiscard]] bool watching() const noexcept { return watching_.load(std::memory_order_relaxed); }
  /// Set by the owner: wakes whoever calls `tick`.
  typename Sync::Parker* ticker = nullptr;

  /// Workers leave once nothing is ready. Tasks may still be pushed and run by callers.
  void close();

  [[nodiscard]] std::size_t ready() const;
  [[nodiscard]] std::size_t workers() const;

 private:
  using Lock = typename Sync::Lock;

  static bool take_front(std::deque<Task>& from, Task& task);
  bool take_own(Turn& turn, std::deque<Task>& from, Task& task);
  [[nodiscard]] bool helps(const Turn& turn) const;
  void run(Turn& turn, Task task, bool slow, Lock& lock);
  bool drain_quick(Turn& turn, Lock& lock);
  bool wants_spawn() const;
  void stand_down(Turn& turn);
  void relieve(Turn& turn);
  void relieve_stalled();
  Turn* unpark_owner(const void* owner);
  template <class Fits>
  static Turn* unpark(std::vector<Turn*>& parked, Fits fits);
  void wake_helper();
  void wake_workers();
  void step_out(Turn& turn, Lock& lock);
  void step_aside(Turn& turn, Lock& lock);
  void park(Turn& turn, std::vector<Turn*>& where, Lock& lock);
  void watch();

  LaneHost& host_;
  Gate& gate_;
  const Options options_;

  mutable typename Sync::Mutex mutex_;  ///< guards all that follows but the atomics
  std::deque<Task> quick_;
  std::deque<Task> slow_;
  std::deque<std::size_t> assists_;  ///< loops whose thread stands still
  std::vector<Turn*> idle_workers_;
  std::vector<Turn*> waiting_callers_;
  Turn* running_ = nullptr;
  std::size_t active_ = 0;
  std::size_t workers_ = 0;
  std::size_t waking_ = 0;    ///< workers with `called` set
  std::size_t spawning_ = 0;  ///< workers asked for that have not come yet
  bool spawn_ = true;
  bool closed_ = false;
  std::atomic<bool> watching_{false};
  std::atomic<std::uint64_t> runs_{0};  ///< tasks started, to see whether the lane is idle
  std::uint64_t seen_runs_ = 0;
  int quiet_ticks_ = 0;
};

using Lane = BasicLane<StdSync>;

}  // namespace penstock

#include <penstock/lane_impl.hpp>
