#include <algorithm>
#include <utility>

#include <grpc/calls.hpp>
#include <penstock/oip_json.hpp>

namespace penstock::grpc {

StreamInfer::StreamInfer(Front& front, Context&& context, Deframer&& deframer, http2::Stream&& stream)
    : front_(front), context_(std::move(context)), deframer_(std::move(deframer)), stream_(std::move(stream)),
      errors_end_(context_.head.header("triton_grpc_error").value_or("") == "true") {}

std::size_t StreamInfer::take(std::string_view bytes) {
  const std::size_t size = bytes.size();
  if (rest_.empty()) parse(bytes);
  rest_.append(bytes);
  return size - bytes.size();
}

/// The polling thread again, once there is room.
void StreamInfer::go_on() {
  const std::string bytes = std::exchange(rest_, std::string());
  std::string_view view = bytes;
  parse(view);
  rest_.assign(view);
  stream_.consumed(bytes.size() - view.size());
  finish_if_done();
}

void StreamInfer::parse(std::string_view& bytes) {
  try {
    while (!bytes.empty() && takes_more())
      if (const auto message = deframer_.take(bytes)) handle(*message);
  } catch (const StatusError& error) {
    fail(error.status());
  }
}

bool StreamInfer::takes_more() {
  const std::lock_guard lock(mutex_);
  if (over_ || draining_) return false;
  paused_ = slots_.size() >= front_.options().streamed;
  return !paused_;
}

std::uint64_t StreamInfer::add_slot(std::string id) {
  const std::lock_guard lock(mutex_);
  Slot& slot = slots_.emplace_back();
  slot.number = next_;
  slot.id = std::move(id);
  return next_++;
}

void StreamInfer::handle(const Message& message) {
  InferCall call;
  Status wrong;
  try {
    call = decode_infer(message);
  } catch (const BadRequest& error) {
    wrong = {Code::kInvalidArgument, error.what()};
    call.request.id = request_id(message.bytes);
  }
  const std::uint64_t number = add_slot(call.request.id);
  const Ref<Answered> self(this);
  if (!wrong.ok()) return answer(number, std::move(wrong), {});
  try {
    const Ref<Completion> completion =
        front_.infer(context_, std::move(call), message.bytes.size(), self, number, true);
    const std::lock_guard lock(mutex_);
    for (Slot& slot : slots_)
      if (slot.number == number && !slot.answer) slot.completion = completion;
  } catch (const StatusError& error) {
    answer(number, error.status(), {});
  }
}

void StreamInfer::end() {
  client_ended_ = true;
  finish_if_done();
}

void StreamInfer::finish_if_done() {
  if (!client_ended_ || !rest_.empty()) return;
  if (deframer_.within()) return fail({Code::kInternal, "the stream ended within a message"});
  const std::lock_guard lock(mutex_);
  all_taken_ = true;
  if (slots_.empty()) finish({});
}

void StreamInfer::drain() {
  const std::lock_guard lock(mutex_);
  draining_ = true;
  if (slots_.empty()) finish({Code::kUnavailable, "the server is closing"});
}

void StreamInfer::tick(Clock::time_point now) {
  if (context_.deadline && now > *context_.deadline) fail({Code::kDeadlineExceeded, "the deadline has passed"});
}

void StreamInfer::fail(Status&& status) {
  std::vector<Ref<Completion>> dropped;
  {
    const std::lock_guard lock(mutex_);
    dropped = finish(status);
  }
  for (const Ref<Completion>& completion : dropped) completion->cancel();
}

void StreamInfer::abandon() {
  std::vector<Ref<Completion>> dropped;
  {
    const std::lock_guard lock(mutex_);
    over_ = true;
    for (Slot& slot : slots_)
      if (slot.completion) dropped.push_back(std::move(slot.completion));
    slots_.clear();
  }
  for (const Ref<Completion>& completion : dropped) completion->cancel();
}

void StreamInfer::answer(std::uint64_t number, Status&& status, Pieces&& message) {
  Aftermath after;
  if (status.ok()) {
    wrap_streamed(message);
    message.pack(context_.answers);
  }
  {
    const std::lock_guard lock(mutex_);
    if (over_) return;
    const auto slot = find(number);
    if (!status.ok() && errors_end_) {
      after.dropped = finish(status);
    } else if (slot != slots_.end()) {
      slot->answer = status.ok() ? std::move(message) : streamed_error(status.text, slot->id);
      slot->answer->frame();
      settle(after);
    }
  }
  finish_up(after);
}

void StreamInfer::part(std::uint64_t number, Pieces&& message) {
  wrap_streamed(message);
  message.pack(context_.answers);
  message.frame();
  const std::lock_guard lock(mutex_);
  if (!over_ && find(number) != slots_.end()) send(std::move(message.bodies));
}

void StreamInfer::done(std::uint64_t number) {
  Aftermath after;
  {
    const std::lock_guard lock(mutex_);
    const auto slot = find(number);
    if (over_ || slot == slots_.end()) return;
    slot->answer.emplace();
    settle(after);
  }
  finish_up(after);
}

/// Once nothing can be sent any more there is room for everything: whoever sends must not wait.
bool StreamInfer::has_room(std::uint64_t number, std::function<void()>&& then) {
  Aftermath after;
  const bool may = may_send_parts(number, then, after);
  finish_up(after);
  return may && stream_.has_room(std::move(then));
}

/// Keeps `then` for the turn of the message if that has not come.
bool StreamInfer::may_send_parts(std::uint64_t number, std::function<void()>& then, Aftermath& after) {
  const std::lock_guard lock(mutex_);
  const auto slot = find(number);
  if (over_ || slot == slots_.end()) return true;
  const bool known = std::exchange(slot->in_parts, true);
  const bool may = is_turn(slot);
  if (!may) slot->turn = std::move(then);
  if (!known) settle(after);  // those behind it need not wait any more
  return may;
}

std::deque<StreamInfer::Slot>::iterator StreamInfer::find(std::uint64_t number) {
  return std::find_if(slots_.begin(), slots_.end(), [number](const Slot& slot) { return slot.number == number; });
}

/// Whole answers go in the order of their messages, as Triton's do; those in parts wait, and are waited for, only
/// where the id is the same.
bool StreamInfer::is_turn(std::deque<Slot>::iterator slot) {
  return std::none_of(slots_.begin(), slot, [&](const Slot& earlier) {
    return earlier.id == slot->id || !(earlier.in_parts || slot->in_parts);
  });
}

/// A message has been answered. With the mutex held.
void StreamInfer::settle(Aftermath& after) {
  send(take_ready(after));
  if (slots_.empty() && draining_) finish({Code::kUnavailable, "the server is closing"});
  if (slots_.empty() && all_taken_) finish({});
  if (paused_ && slots_.size() <= front_.options().streamed / 2) {
    paused_ = false;
    stream_.run([self = Ref<StreamInfer>(this)] { self->go_on(); });
  }
}

void StreamInfer::finish_up(Aftermath& after) {
  for (const auto& turn : after.turns) turn();
  for (const Ref<Completion>& completion : after.dropped) completion->cancel();
}

/// The answers whose turn it is.
std::vector<http::Body> StreamInfer::take_ready(Aftermath& after) {
  std::vector<http::Body> ready;
  for (auto slot = slots_.begin(); slot != slots_.end();) {
    if (!is_turn(slot)) {
      ++slot;
    } else if (slot->answer) {
      std::move(slot->answer->bodies.begin(), slot->answer->bodies.end(), std::back_inserter(ready));
      if (slot->completion) after.settled.push_back(std::move(slot->completion));
      slot = slots_.erase(slot);
    } else {
      if (slot->turn) after.turns.push_back(std::exchange(slot->turn, {}));
      ++slot;
    }
  }
  return ready;
}

void StreamInfer::send(std::vector<http::Body>&& bodies) {
  if (bodies.empty()) return;
  http2::Output output;
  if (!std::exchange(started_, true)) output.headers = headers(context_.answers);
  output.bodies = std::move(bodies);
  stream_.send(std::move(output));
}

/// Ends the stream; returns what nobody waits for any more.
std::vector<Ref<Completion>> StreamInfer::finish(const Status& status) {
  std::vector<Ref<Completion>> dropped;
  if (std::exchange(over_, true)) return dropped;
  for (Slot& slot : slots_)
    if (slot.completion) dropped.push_back(std::move(slot.completion));
  slots_.clear();
  if (started_)
    stream_.send({{}, {}, trailers(status), true});
  else
    stream_.send({trailers_only(status), {}, {}, true});
  return dropped;
}

}  // namespace penstock::grpc
