#include <penstock/batch_queue.hpp>

#include <algorithm>
#include <utility>

namespace penstock {
namespace {

// More forms than this wait for each other; looking at all would let a client make the look long.
constexpr std::size_t kForms = 32;

std::uint32_t rank(const Fit& fit) { return fit.priority == 0 ? kUsualPriority : fit.priority; }

}  // namespace

BatchQueue::BatchQueue(const BatchPolicy& policy, std::size_t concurrency) : policy_(policy) {
  if (policy_.paced()) pacer_.emplace(policy_.size, policy_.goal, concurrency);
}

std::optional<Duration> BatchQueue::push(Event&& event, const Fit& fit, TimePoint now) {
  auto place = entries_.end();
  while (place != entries_.begin() && rank(std::prev(place)->fit) > rank(fit)) --place;
  if (has_goal()) {
    std::size_t ahead = 0;
    for (auto entry = entries_.begin(); entry != place; ++entry) ahead += entry->fit.rows;
    if (const auto missed = pacer_->misses(fit.rows, ahead, now); missed && !hurried_) return missed;
  }
  if (pacer_) pacer_->arrived(now);
  event.queued = now;
  entries_.insert(place, Entry{std::move(event), fit});
  return std::nullopt;
}

void BatchQueue::add(Group& group, const Entry& entry, std::size_t limit) const {
  if (group.full) return;
  if (group.events > 0 && group.rows + entry.fit.rows > limit) {
    group.full = true;  // the next does not fit, and is not overtaken
    return;
  }
  ++group.events;
  group.rows += entry.fit.rows;
  group.oldest = std::min(group.oldest, entry.event.queued);
  group.full = group.rows >= limit;
  if (std::binary_search(policy_.preferred.begin(), policy_.preferred.end(), group.rows)) group.preferred = group.rows;
}

/// The groups in the order of their first entries; where nothing waits, the first is enough.
std::vector<BatchQueue::Group> BatchQueue::groups() const {
  std::vector<Group> found;
  const std::size_t most = limit();
  for (const Entry& entry : entries_) {
    if (entry.event.cancelled()) continue;
    auto group = std::find_if(found.begin(), found.end(), [&](const Group& g) { return g.form == entry.fit.form; });
    if (group == found.end()) {
      if (found.size() == (waits() ? kForms : 1)) continue;
      found.push_back(Group{entry.fit.form});
      group = std::prev(found.end());
    }
    add(*group, entry, most);
    if (group->full && group == found.begin()) break;
  }
  return found;
}

/// Until when the group waits for more; the past, if it need not.
TimePoint BatchQueue::until(const Group& group, TimePoint now) const {
  if (!waits() || group.full || group.preferred > 0) return now;
  if (!pacer_) return group.oldest + policy_.delay;
  const TimePoint held = pacer_->hold(group.events, group.rows, group.oldest, now);
  return policy_.delay > Duration::zero() ? std::min(held, group.oldest + policy_.delay) : held;
}

bool BatchQueue::is_ready(const Group& group, TimePoint now) const { return until(group, now) <= now; }

bool BatchQueue::ready(TimePoint now) const {
  if (entries_.empty()) return false;
  if (!waits()) return true;
  const auto found = groups();
  // Where all have been cancelled, a call clears them out.
  return found.empty() || std::any_of(found.begin(), found.end(), [&](const Group& g) { return is_ready(g, now); });
}

std::optional<TimePoint> BatchQueue::due(TimePoint now) const {
  if (entries_.empty() || !waits()) return std::nullopt;
  TimePoint first = TimePoint::max();
  for (const Group& group : groups()) first = std::min(first, until(group, now));
  return first == TimePoint::max() ? std::nullopt : std::optional(first);
}

void BatchQueue::drop_late(Batch& late, TimePoint now) {
  if (!has_goal() || hurried_) return;
  std::size_t left = entries_.size();
  for (Entry& entry : entries_) {
    // The last one always runs: else nothing would be learned any more.
    if (left == 1 || !pacer_->late(entry.fit.rows, entry.event.queued, now)) continue;
    entry.going = true;
    late.push_back(std::move(entry.event));
    --left;
  }
  if (!late.empty()) std::erase_if(entries_, [](const Entry& entry) { return entry.going; });
}

BatchQueue::Taken BatchQueue::take(Batch& into, Batch& late, TimePoint now) {
  drop_late(late, now);
  Taken taken{0, 0, now};
  const auto found = groups();
  const auto ready = std::find_if(found.begin(), found.end(), [&](const Group& g) { return is_ready(g, now); });
  // What was ready when the call was claimed may have been cancelled since: then whoever is first goes.
  const Group* group = ready != found.end() ? &*ready : found.empty() ? nullptr : &found.front();
  const std::size_t rows = group == nullptr ? 0 : group->preferred > 0 && !group->full ? group->preferred : group->rows;
  if (group != nullptr) into.reserve(group->events);
  std::size_t looked_at = 0;
  for (Entry& entry : entries_) {
    if (taken.rows >= rows && group != nullptr) break;
    ++looked_at;
    const bool cancelled = entry.event.cancelled();
    if (!cancelled && (group == nullptr || entry.fit.form != group->form)) continue;
    // One that was counted may have been cancelled since: the next must fit in its place.
    if (!cancelled && taken.events > 0 && taken.rows + entry.fit.rows > rows) break;
    entry.going = true;
    into.push_back(std::move(entry.event));
    if (cancelled) continue;
    ++taken.events;
    taken.rows += entry.fit.rows;
  }
  const auto end = entries_.begin() + static_cast<std::ptrdiff_t>(looked_at);
  entries_.erase(std::remove_if(entries_.begin(), end, [](const Entry& entry) { return entry.going; }), end);
  if (pacer_ && taken.events > 0) pacer_->started(taken.rows, now);
  return taken;
}

void BatchQueue::ended(const Taken& taken, TimePoint now) {
  if (pacer_ && taken.events > 0) pacer_->ended(taken.events, taken.rows, taken.at, now);
}

std::deque<Event> BatchQueue::clear() {
  std::deque<Event> left;
  for (Entry& entry : entries_) left.push_back(std::move(entry.event));
  entries_.clear();
  return left;
}

}  // namespace penstock
