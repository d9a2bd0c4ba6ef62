#pragma once

// The part of BasicLane that decides whom to wake, and what a thread does while others may; included by lane.hpp only.

#include <utility>

#include <penstock/lane.hpp>

namespace penstock {

template <class Sync>
void BasicLane<Sync>::attend(Turn& turn) {
  if (!turn.claims) return;
  {
    const Lock lock(mutex_);
    if (active_ < options_.active) activate(turn);
    start(turn, kAttending, false);
  }
  watch();
  turn.since.store(Sync::now(), std::memory_order_relaxed);
}

template <class Sync>
void BasicLane<Sync>::rest(Turn& turn) {
  if (!turn.claims) return;
  const Lock lock(mutex_);
  cease(turn);
  stand_down(turn);
  if (!quick_.empty() && active_ < options_.active) wake_helper();
}

/// Ends what `attend` has begun.
template <class Sync>
void BasicLane<Sync>::cease(Turn& turn) {
  turn.since.store(Time{}, std::memory_order_relaxed);
  finish(turn);
}

/// Waits until the active thread is through with its task, or stalls, to go on in its place.
template <class Sync>
void BasicLane<Sync>::inherit(Turn& turn, Lock& lock) {
  heir_ = &turn;
  while (heir_ == &turn) {
    lock.unlock();
    turn.parker.park();
    lock.lock();
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
  // When all workers are held up, those who wait for a task of their own are the only ones left for it.
  for (auto task = quick_.begin(); helper == nullptr && task != quick_.end(); ++task)
    helper = unpark_owner(task->owner);
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
