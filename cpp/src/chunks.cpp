#include <penstock/chunks.hpp>

namespace penstock {
namespace {

void call(const Chunks::Action& action) {
  if (action) action();
}

}  // namespace

Chunks::Action Chunks::resumable() {
  if (!resume_) return {};
  const bool over = ended_ || cancelled_ || failure_;
  if (!over && (under_way_ > 0 || waiting_.size() >= kAhead)) return {};
  return std::exchange(resume_, {});
}

Chunks::Action Chunks::readable() {
  return waiting_.empty() && !ended_ && !failure_ ? Action() : std::exchange(ready_, {});
}

void Chunks::next(Action resume) {
  Action now;
  {
    const std::lock_guard lock(mutex_);
    resume_ = std::move(resume);
    now = resumable();
  }
  call(now);
}

bool Chunks::over() const {
  const std::lock_guard lock(mutex_);
  return ended_ || cancelled_ || failure_;
}

void Chunks::begin_chunk() {
  const std::lock_guard lock(mutex_);
  ++under_way_;
}

void Chunks::chunk_over() {
  Action ready, resume;
  {
    const std::lock_guard lock(mutex_);
    --under_way_;
    ended_ = ended_ || (made_ && under_way_ == 0);
    ready = readable();
    resume = resumable();
  }
  call(ready);
  call(resume);
}

void Chunks::no_more() {
  Action ready;
  {
    const std::lock_guard lock(mutex_);
    made_ = true;
    ended_ = ended_ || under_way_ == 0;
    ready = readable();
  }
  call(ready);
}

void Chunks::push(Payload&& chunk) {
  Action now;
  {
    const std::lock_guard lock(mutex_);
    if (cancelled_) return;
    waiting_.push_back(std::move(chunk));
    now = readable();
  }
  call(now);
}

void Chunks::fail(Failure&& failure) {
  Action ready, resume;
  {
    const std::lock_guard lock(mutex_);
    if (!ended_ && !failure_) failure_ = std::move(failure);
    ready = readable();
    resume = resumable();
  }
  call(ready);
  call(resume);
}

void Chunks::end() {
  Action ready, resume;
  {
    const std::lock_guard lock(mutex_);
    ended_ = true;
    ready = readable();
    resume = resumable();
  }
  call(ready);
  call(resume);
}

std::optional<Chunks::Item> Chunks::take() {
  std::optional<Item> taken;
  Action resume;
  {
    const std::lock_guard lock(mutex_);
    if (!waiting_.empty()) {
      taken.emplace().chunk = std::move(waiting_.front());
      waiting_.pop_front();
    } else if (failure_) {
      taken.emplace().failure = failure_;
    } else if (ended_) {
      taken.emplace();
    }
    resume = resumable();
  }
  call(resume);
  return taken;
}

void Chunks::on_ready(Action ready) {
  Action now;
  {
    const std::lock_guard lock(mutex_);
    if (cancelled_) return;  // nothing will come, and what would be kept may keep this
    ready_ = std::move(ready);
    now = readable();
  }
  call(now);
}

void Chunks::cancel() {
  Action resume;
  std::deque<Payload> unread;  // released with nothing locked
  {
    const std::lock_guard lock(mutex_);
    cancelled_ = true;
    unread.swap(waiting_);
    ready_ = {};
    resume = resumable();
  }
  call(resume);
}

}  // namespace penstock
