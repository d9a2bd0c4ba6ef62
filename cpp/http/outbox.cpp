#include <http/outbox.hpp>

#include <algorithm>
#include <array>
#include <cassert>
#include <cerrno>
#include <utility>

#include <sys/uio.h>

#include <http/access.hpp>
#include <http/gate.hpp>

namespace penstock::http {
namespace {

constexpr std::size_t kParts = 64;              ///< of one write; two an answer
constexpr std::size_t kPartsAhead = 64 * 1024;  ///< bytes of an answer in parts that wait for the client

}  // namespace

Outbox::Outbox(Gate& gate, const std::atomic<bool>& draining, Transport&& transport, std::size_t pipelined)
    : gate_(gate), draining_(draining), pipelined_(pipelined), encrypted_(transport.encrypted()),
      transport_(std::move(transport)), ring_(2), since_(Clock::now()) {
  gate_.enter();
}

ssize_t Outbox::receive(char* to, std::size_t size) {
  const std::lock_guard lock(mutex_);
  return transport_.read(to, size);
}

bool Outbox::holds_bytes() {
  const std::lock_guard lock(mutex_);
  return transport_.holds_bytes();
}

Ssl Outbox::take_ssl() {
  const std::lock_guard lock(mutex_);
  return transport_.release();
}

std::uint64_t Outbox::add_slot() {
  if (back_ - front_ == ring_.size()) {
    std::vector<Slot> larger(ring_.size() * 2);
    for (std::uint64_t n = front_; n != back_; ++n) larger[n & (larger.size() - 1)] = std::move(slot(n));
    ring_.swap(larger);
  }
  return back_++;
}

std::optional<std::uint64_t> Outbox::expect_answer(Terms terms) {
  const std::lock_guard lock(mutex_);
  if (gone_ || finished_ || (front_ != back_ && slot(back_ - 1).last)) return std::nullopt;
  const std::uint64_t number = add_slot();
  Slot& added = slot(number);
  added.terms = terms;
  added.ready = added.last = added.interim = added.open = false;
  return number;
}

void Outbox::send_continue() {
  Aftermath after;
  const std::lock_guard lock(mutex_);
  if (gone_) return;
  Slot& added = slot(add_slot());
  added.head = "HTTP/1.1 100 Continue\r\n\r\n";
  added.ready = added.interim = true;
  added.last = false;
  flush(after);
}

/// In a drain, what has come before is still answered.
bool Outbox::is_last(std::uint64_t number) {
  return !slot(number).terms.keep_alive || (draining_.load(std::memory_order_relaxed) && number + 1 == back_);
}

void Outbox::send(std::uint64_t number, Response&& response) {
  Aftermath after;  // destroyed, as is the callback, after the lock is let go
  std::function<void()> callback;
  const std::lock_guard lock(mutex_);
  if (gone_) return;
  gate_.answered(response.status);
  Slot& answer = slot(number);
  assert(number >= front_ && number < back_ && !answer.ready);
  callback = std::move(answer.abandoned);
  answer.abandoned = nullptr;
  answer.last = is_last(number);
  if (answer.terms.origin != nullptr) allow(response, *answer.terms.origin);
  answer.head.clear();
  append_head(answer.head, response, {answer.terms.http10, answer.last});
  const bool bodiless = answer.terms.head_only || response.status == 204 || response.status == 304;
  if (!bodiless) answer.body = std::move(response.body);
  answer.ready = true;
  if (number == front_ && !writing_) flush(after);
}

bool Outbox::takes_parts(std::uint64_t number) {
  const std::lock_guard lock(mutex_);
  return !gone_ && !slot(number).terms.http10 && !slot(number).terms.head_only;
}

void Outbox::open(std::uint64_t number, Response&& head) {
  Aftermath after;
  const std::lock_guard lock(mutex_);
  if (gone_) return;
  gate_.answered(head.status);
  Slot& answer = slot(number);
  answer.last = is_last(number);
  if (answer.terms.origin != nullptr) allow(head, *answer.terms.origin);
  answer.head.clear();
  append_head(answer.head, head, {.close = answer.last, .chunked = true});
  answer.ready = answer.open = true;
  if (number == front_ && !writing_) flush(after);
}

void Outbox::write(std::uint64_t number, std::string_view part, bool last) {
  Aftermath after;
  std::function<void()> callback;  // destroyed after the lock is let go
  const std::lock_guard lock(mutex_);
  if (gone_) return;
  Slot& answer = slot(number);
  append_part(answer.head, part, last);
  if (last) {
    answer.open = false;
    callback = std::move(answer.abandoned);
    answer.abandoned = nullptr;
  }
  if (number == front_ && !writing_) flush(after);
}

void Outbox::cut(std::uint64_t number) {
  std::function<void()> callback;
  const std::lock_guard lock(mutex_);
  if (gone_) return;
  callback = std::move(slot(number).abandoned);
  slot(number).abandoned = nullptr;
  transport_.cut();  // the loop's read ends, and with it the connection
}

bool Outbox::has_room(std::uint64_t number, std::function<void()>&& then) {
  const std::lock_guard lock(mutex_);
  if (gone_ || slot(number).head.size() < kPartsAhead) return true;
  slot(number).room = std::move(then);
  return false;
}

void Outbox::on_abandoned(std::uint64_t number, std::function<void()>&& callback) {
  {
    const std::lock_guard lock(mutex_);
    if (!gone_) {
      Slot& answer = slot(number);
      assert(number >= front_ && number < back_ && !answer.ready);
      answer.abandoned.swap(callback);
      return;
    }
  }
  callback();
}

std::size_t Outbox::gather(iovec* parts, std::size_t capacity) {
  std::size_t count = 0;
  std::size_t skip = written_;
  const auto add = [&](std::string_view bytes) {
    const std::size_t skipped = std::min(skip, bytes.size());
    skip -= skipped;
    if (bytes.size() == skipped) return;
    parts[count++] = {const_cast<char*>(bytes.data()) + skipped, bytes.size() - skipped};
  };
  for (std::uint64_t n = front_; n != back_ && count + 2 <= capacity; ++n) {
    const Slot& answer = slot(n);
    if (!answer.ready) break;
    add(answer.head);
    add(answer.body.bytes());
    if (answer.last || answer.open) break;
  }
  return count;
}

void Outbox::take(std::size_t written, Aftermath& after) {
  written_ += written;
  while (front_ != back_ && slot(front_).ready) {
    Slot& answer = slot(front_);
    const std::size_t size = answer.head.size() + answer.body.bytes().size();
    if (written_ < size) return;
    written_ -= size;
    if (answer.open) {
      answer.head.clear();
      if (answer.room) after.calls.push_back(std::exchange(answer.room, nullptr));
      return;
    }
    if (answer.body.is_shared()) after.bodies.push_back(std::move(answer.body));
    answer.body = Body();
    answer.ready = false;
    ++front_;
    if (answer.last) return finish();
  }
}

void Outbox::finish() {
  finished_ = true;
  since_ = Clock::now();
  transport_.end();
  leave_gate();
}

void Outbox::flush(Aftermath& after) {
  while (!finished_) {
    std::array<iovec, kParts> parts;
    const std::size_t count = gather(parts.data(), parts.size());
    if (count == 0) break;
    const ssize_t written = transport_.write(parts.data(), count);
    if (written >= 0) {
      take(static_cast<std::size_t>(written), after);
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      writing_ = true;
      since_ = Clock::now();
      wake();
      return;
    } else if (errno != EINTR) {
      transport_.cut();  // the loop's read ends, and with it the connection
      return;
    }
  }
  if (front_ == back_ && !finished_) since_ = Clock::now();
  if (reading_paused_ && (finished_ || back_ - front_ <= pipelined_ / 2)) {
    reading_paused_ = false;
    wake();
  }
}

void Outbox::expect_no_more() {
  const std::lock_guard lock(mutex_);
  if (gone_ || finished_) return;
  if (front_ == back_) return finish();
  Slot& newest = slot(back_ - 1);
  newest.terms.keep_alive = false;
  newest.last = newest.ready;
  probe();
}

/// From a client that has closed altogether a reset comes back, from one that waits nothing does. Every answer begins
/// with the byte that is sent for it.
void Outbox::probe() {
  if (slot(front_).ready || written_ != 0) return;
  char first = 'H';
  const iovec part{&first, 1};
  if (transport_.write(&part, 1) == 1) written_ = 1;
}

bool Outbox::full() {
  const std::lock_guard lock(mutex_);
  reading_paused_ = !gone_ && !finished_ && back_ - front_ >= pipelined_;
  return reading_paused_;
}

Outbox::State Outbox::state() {
  const std::lock_guard lock(mutex_);
  return {static_cast<std::size_t>(back_ - front_), writing_, finished_, since_};
}

void Outbox::write_more() {
  Aftermath after;
  const std::lock_guard lock(mutex_);
  if (gone_) return;
  writing_ = false;
  flush(after);
}

void Outbox::leave_gate() {
  if (std::exchange(at_gate_, false)) gate_.leave();
}

void Outbox::abandon() {
  std::vector<Slot> slots;
  {
    const std::lock_guard lock(mutex_);
    if (gone_) return;
    gone_.store(true, std::memory_order_release);
    slots.swap(ring_);
    if (transport_.encrypted() && !finished_) transport_.end();
    leave_gate();
  }
  for (Slot& answer : slots)
    if (answer.abandoned) answer.abandoned();
}

}  // namespace penstock::http
