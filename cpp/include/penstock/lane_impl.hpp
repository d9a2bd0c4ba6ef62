#pragma once

// The bodies of BasicLane; included by lane.hpp only.

#include <algorithm>
#include <utility>

#include <penstock/lane.hpp>

namespace penstock {

template <class Sync>
void BasicLane<Sync>::push(Task task, bool slow, Turn* turn) {
  Lock lock(mutex_);
  // A turn that was relieved is in a long task: it does not come back soon.
  const bool comes_back = turn != nullptr && !turn->relieved;
  if (slow) {
    slow_.push_back(task);
    const bool own = !task.bounded || workers_ + spawning_ == 0;
    if (comes_back && turn->role != Role::kIo && own) return;
    if (!own || unpark_owner(task.owner) == nullptr) wake_workers();
  } else {
    quick_.push_back(task);
    if (active_ < options_.active && !comes_back) wake_helper();
  }
}

template <class Sync>
bool BasicLane<Sync>::drain(Turn& turn) {
  Lock lock(mutex_);
  bool more = false;
  if (!quick_.empty() && active_ >= options_.active) relieve_stalled();
  if (!quick_.empty() && active_ < options_.active) more = drain_quick(turn, lock);
  if (!slow_.empty()) wake_workers();
  step_out(turn, lock);
  return more;
}

template <class Sync>
template <class Done>
bool BasicLane<Sync>::wait(Turn& turn, Done done) {
  Lock lock(mutex_);
  // The task that this caller is nested in makes no progress: whoever left work to it gets another.
  if (turn.outer != nullptr) relieve(*turn.outer);
  Time slice_start = Sync::now();
  bool interrupted = false;
  while (!done() && !interrupted) {
    Task task;
    if (take_own(turn, quick_, task) || (helps(turn) && take_front(quick_, task))) {
      run(turn, task, false, lock);
    } else if (take_own(turn, slow_, task) || (workers_ == 0 && helps(turn) && take_front(slow_, task))) {
      run(turn, task, true, lock);
    } else {
      stand_down(turn);
      if (!quick_.empty() && active_ < options_.active) wake_helper();
      if (!slow_.empty()) wake_workers();
      park(turn, waiting_callers_, lock);
      if (turn.interruptible) {
        lock.unlock();
        interrupted = host_.interrupted();
        lock.lock();
      }
      slice_start = Sync::now();
    }
    if (Sync::now() - slice_start < options_.slice || done()) continue;
    step_aside(turn, lock);  // others wait for what this thread has made meanwhile
    slice_start = Sync::now();
  }
  stand_down(turn);
  if (!quick_.empty() && active_ < options_.active) wake_helper();
  if (!slow_.empty()) wake_workers();
  lock.unlock();
  host_.flush();
  if (!turn.inside) {
    gate_.enter();
    turn.inside = true;
  }
  return !interrupted;
}

template <class Sync>
void BasicLane<Sync>::wake(const void* owner) {
  const Lock lock(mutex_);
  unpark_owner(owner);
}

template <class Sync>
typename BasicLane<Sync>::Lent BasicLane<Sync>::work(Turn& turn) {
  Lock lock(mutex_);
  if (!std::exchange(turn.known, true)) {
    ++workers_;
    if (spawning_ > 0) --spawning_;
  }
  Lent lent = Lent::kClosed;
  for (;;) {
    const bool has_quick = turn.active || (!quick_.empty() && active_ < options_.active);
    const bool has_slow = !slow_.empty() || !assists_.empty();
    if ((has_quick || has_slow) && wants_spawn()) {
      ++spawning_;
      lent = Lent::kSpawn;
      break;
    }
    if (has_quick) {
      drain_quick(turn, lock);
    } else if (!slow_.empty()) {
      const Task task = slow_.front();
      slow_.pop_front();
      run(turn, task, true, lock);
      step_aside(turn, lock);  // its answer does not wait for the next one
    } else if (!assists_.empty()) {
      turn.loop = assists_.front();
      assists_.pop_front();
      turn.serves = true;
      step_out(turn, lock);
      host_.assist(turn.loop);
      lock.lock();
      turn.serves = false;
    } else if (closed_) {
      break;
    } else {
      park(turn, idle_workers_, lock);
    }
  }
  if (lent == Lent::kSpawn && turn.active) {
    stand_down(turn);  // the quick task waits for this thread no longer than it takes to start another
  }
  if (lent == Lent::kClosed) --workers_;
  step_out(turn, lock);
  return lent;
}

/// One worker stays free, so that there is always one to wake.
template <class Sync>
bool BasicLane<Sync>::wants_spawn() const {
  return spawn_ && !closed_ && idle_workers_.empty() && spawning_ == 0 && workers_ < options_.workers;
}

template <class Sync>
void BasicLane<Sync>::spawn_failed() {
  const Lock lock(mutex_);
  spawn_ = false;
  if (spawning_ > 0) --spawning_;
}

template <class Sync>
bool BasicLane<Sync>::tick() {
  Lock lock(mutex_);
  relieve_stalled();
  if (!quick_.empty() && active_ < options_.active) wake_helper();
  if (!slow_.empty() || !assists_.empty()) wake_workers();
  const std::uint64_t runs = runs_.load(std::memory_order_relaxed);
  const bool idle = running_ == nullptr && quick_.empty() && slow_.empty() && runs == seen_runs_;
  seen_runs_ = runs;
  quiet_ticks_ = idle ? quiet_ticks_ + 1 : 0;
  if (quiet_ticks_ < 16) return true;
  quiet_ticks_ = 0;
  watching_.store(false);
  return false;
}

template <class Sync>
void BasicLane<Sync>::close() {
  Lock lock(mutex_);
  closed_ = true;
  while (unpark(idle_workers_, [](const Turn&) { return true; }) != nullptr) {
  }
}

template <class Sync>
std::size_t BasicLane<Sync>::ready() const {
  Lock lock(mutex_);
  return quick_.size() + slow_.size();
}

template <class Sync>
std::size_t BasicLane<Sync>::workers() const {
  Lock lock(mutex_);
  return workers_;
}

template <class Sync>
bool BasicLane<Sync>::take_front(std::deque<Task>& from, Task& task) {
  if (from.empty()) return false;
  task = from.front();
  from.pop_front();
  return true;
}

/// Whether a caller runs the tasks of others. One that waits for an answer does not, if there are
/// workers: a task that turns out to be slow would hold it up. One that is nested in a task never
/// does: it might wait for that very task.
template <class Sync>
bool BasicLane<Sync>::helps(const Turn& turn) const {
  return turn.outer == nullptr && !turn.punctual && (turn.idle || workers_ == 0);
}

/// A task that this caller waits for; a guess, as a step's task takes whatever event is then first.
template <class Sync>
bool BasicLane<Sync>::take_own(Turn& turn, std::deque<Task>& from, Task& task) {
  const bool alone = workers_ + spawning_ == 0;  // else a bounded task is a worker's
  const auto found = std::find_if(from.begin(), from.end(), [&](const Task& t) {
    return t.owner != nullptr && t.owner == turn.owner && (alone || !t.bounded);
  });
  if (found == from.end()) return false;
  task = *found;
  from.erase(found);
  return true;
}

/// Runs one task with the mutex released. A slow task does not make its thread active.
template <class Sync>
void BasicLane<Sync>::run(Turn& turn, Task task, bool slow, Lock& lock) {
  if (slow) {
    stand_down(turn);
    if (!quick_.empty() && active_ < options_.active) wake_helper();
    if (!slow_.empty()) wake_workers();
  } else if (!turn.active) {
    turn.active = true;
    ++active_;
  }
  turn.task = task.id;
  turn.slow = slow;
  turn.next = running_;
  running_ = &turn;
  runs_.fetch_add(1, std::memory_order_relaxed);
  lock.unlock();

  watch();
  if (!turn.inside) {
    gate_.enter();
    turn.inside = true;
  }
  turn.since.store(Sync::now(), std::memory_order_relaxed);
  host_.run(task.id);
  turn.since.store(Time{}, std::memory_order_relaxed);

  lock.lock();
  for (Turn** link = &running_;; link = &(*link)->next) {
    if (*link != &turn) continue;
    *link = turn.next;
    break;
  }
  turn.relieved = false;
}

/// Runs quick tasks until there are none or this thread is relieved of it. An I/O thread stops after a
/// slice, since its sockets wait; the result is whether it left tasks for that reason.
template <class Sync>
bool BasicLane<Sync>::drain_quick(Turn& turn, Lock& lock) {
  Time slice_start = Sync::now();
  Task task;
  bool more = false;
  while (take_front(quick_, task)) {
    run(turn, task, false, lock);
    if (!turn.active && active_ >= options_.active) break;  // relieved, and another is at it
    if (Sync::now() - slice_start < options_.slice) continue;
    if (turn.role == Role::kIo) {
      more = !quick_.empty();
      break;
    }
    step_aside(turn, lock);  // stays the active one
    slice_start = Sync::now();
  }
  stand_down(turn);
  return more;
}

template <class Sync>
void BasicLane<Sync>::stand_down(Turn& turn) {
  if (!turn.active) return;
  turn.active = false;
  --active_;
}

template <class Sync>
void BasicLane<Sync>::relieve(Turn& turn) {
  turn.relieved = true;
  stand_down(turn);
  if (!quick_.empty() && active_ < options_.active) wake_helper();
}

template <class Sync>
void BasicLane<Sync>::relieve_stalled() {
  const Time now = Sync::now();
  for (Turn* turn = running_; turn != nullptr; turn = turn->next) {
    const Time since = turn->since.load(std::memory_order_relaxed);
    if (since == Time{} || turn->relieved || now - since < options_.stall) continue;
    if (!turn->slow) host_.stalled(turn->task);
    relieve(*turn);
    if (turn->serves) {
      assists_.push_back(turn->loop);
      wake_workers();
    }
  }
}

/// Wakes the caller who waits for this owner's tasks, if it is parked.
template <class Sync>
typename BasicLane<Sync>::Turn* BasicLane<Sync>::unpark_owner(const void* owner) {
  if (owner == nullptr) return nullptr;
  return unpark(waiting_callers_, [&](const Turn& turn) { return turn.owner == owner; });
}

/// Wakes the latest parked turn that fits; null if none does.
template <class Sync>
template <class Fits>
typename BasicLane<Sync>::Turn* BasicLane<Sync>::unpark(std::vector<Turn*>& parked, Fits fits) {
  for (std::size_t i = parked.size(); i-- > 0;) {
    Turn* turn = parked[i];
    if (!fits(*turn)) continue;
    parked.erase(parked.begin() + static_cast<std::ptrdiff_t>(i));
    turn->parker.unpark();
    return turn;
  }
  return nullptr;
}

/// Wakes a thread for quick tasks and counts it as active at once, so that one is woken only once.
template <class Sync>
void BasicLane<Sync>::wake_helper() {
  Turn* helper = unpark_owner(quick_.empty() ? nullptr : quick_.front().owner);
  if (helper == nullptr) helper = unpark(idle_workers_, [](const Turn&) { return true; });
  if (helper == nullptr) helper = unpark(waiting_callers_, [this](const Turn& turn) { return helps(turn); });
  if (helper == nullptr) return host_.nudge();
  helper->active = true;
  ++active_;
}

/// Wakes as many idle workers as there are slow tasks that nobody comes for; without workers, callers.
template <class Sync>
void BasicLane<Sync>::wake_workers() {
  while (waking_ < slow_.size() + assists_.size()) {
    Turn* worker = unpark(idle_workers_, [](const Turn&) { return true; });
    if (worker == nullptr && workers_ == 0 && waking_ < slow_.size())
      worker = unpark(waiting_callers_, [this](const Turn& turn) { return helps(turn); });
    if (worker == nullptr) return;
    worker->called = true;
    ++waking_;
  }
}

/// Leaves the gate and lets answers out. Releases the lock for good.
template <class Sync>
void BasicLane<Sync>::step_out(Turn& turn, Lock& lock) {
  lock.unlock();
  if (turn.inside) {
    gate_.leave();
    turn.inside = false;
  }
  host_.flush();
}

/// Lets another thread at the gate, and answers out.
template <class Sync>
void BasicLane<Sync>::step_aside(Turn& turn, Lock& lock) {
  step_out(turn, lock);
  lock.lock();
}

/// Sleeps until another thread takes the turn off the list.
template <class Sync>
void BasicLane<Sync>::park(Turn& turn, std::vector<Turn*>& where, Lock& lock) {
  where.push_back(&turn);
  step_out(turn, lock);
  turn.parker.park();
  if (turn.role == Role::kCaller) {
    gate_.enter();
    turn.inside = true;
  }
  lock.lock();
  if (turn.called) {
    turn.called = false;
    --waking_;
  }
}

template <class Sync>
void BasicLane<Sync>::watch() {
  if (watching_.load(std::memory_order_relaxed) || watching_.exchange(true)) return;
  if (ticker != nullptr) ticker->unpark();
}

}  // namespace penstock
