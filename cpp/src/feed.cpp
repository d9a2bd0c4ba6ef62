#include <penstock/feed.hpp>

#include <condition_variable>
#include <exception>
#include <memory>
#include <mutex>
#include <utility>

namespace penstock {
namespace {

constexpr auto kPatience = std::chrono::milliseconds(100);

struct Feed {
  std::function<bool()> portion;
  std::mutex mutex;  ///< a leaf; guards the rest
  std::condition_variable changed;
  bool running = false;
  bool more = true;
  std::exception_ptr failure;
};

/// Runs one portion, unless another thread has taken over; whether there are more.
bool go_on(Feed& feed) {
  {
    const std::lock_guard lock(feed.mutex);
    if (!feed.more || feed.running) return false;
    feed.running = true;
  }
  bool more = false;
  std::exception_ptr failure;
  try {
    more = feed.portion();
  } catch (...) {
    failure = std::current_exception();
  }
  const std::lock_guard lock(feed.mutex);
  feed.running = false;
  feed.more = more;
  feed.failure = failure;
  if (!more) feed.changed.notify_one();
  return more;
}

void schedule(Executor& executor, const std::shared_ptr<Feed>& feed) {
  executor.soon([&executor, feed] {
    if (go_on(*feed)) schedule(executor, feed);
  });
}

}  // namespace

void feed(Executor& executor, Gate& gate, std::function<bool()> portion) {
  const auto shared = std::make_shared<Feed>();
  shared->portion = std::move(portion);
  schedule(executor, shared);
  std::unique_lock lock(shared->mutex);
  while (!shared->changed.wait_for(lock, kPatience, [&] { return !shared->more; })) {
    if (shared->running) continue;
    lock.unlock();
    gate.enter();
    while (go_on(*shared)) {
    }
    gate.leave();
    lock.lock();
  }
  if (shared->failure) std::rethrow_exception(shared->failure);
}

}  // namespace penstock
