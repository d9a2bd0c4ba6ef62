#include <penstock/event.hpp>

#include <penstock/gather.hpp>
#include <penstock/ids.hpp>

namespace penstock {

Ref<Envelope> Envelope::copied() {
  if (id.empty()) id = make_id();
  return make_ref<Envelope>(*this);
}

Event::Event() noexcept = default;

Event::Event(Payload&& payload, Ref<Envelope> carried, Ref<Completion> owner, bool can_answer)
    : body(std::move(payload)), envelope(std::move(carried)), completion_(std::move(owner)), answering_(can_answer) {
  if (completion_) completion_->join(answering_);
}

Event::~Event() {
  if (completion_ || gather_) end();  // not if it was moved from, as most are
}

Event Event::derive(Payload&& payload, bool can_answer) const {
  Event derived(std::move(payload), envelope, completion_, can_answer && answering_);
  derived.chunk = chunk;
  derived.last_chunk = last_chunk;
  return derived;
}

Event::Event(Event&& other) noexcept
    : body(std::move(other.body)), envelope(std::move(other.envelope)), gathered(std::move(other.gathered)),
      chunk(std::move(other.chunk)), last_chunk(other.last_chunk), tries(other.tries), queued(other.queued),
      completion_(std::move(other.completion_)), gather_(std::move(other.gather_)), slot_(other.slot_),
      answering_(std::exchange(other.answering_, false)) {}

Event& Event::operator=(Event&& other) noexcept {
  if (this == &other) return *this;
  end();
  body = std::move(other.body);
  envelope = std::move(other.envelope);
  gathered = std::move(other.gathered);
  chunk = std::move(other.chunk);
  last_chunk = other.last_chunk;
  tries = other.tries;
  queued = other.queued;
  completion_ = std::move(other.completion_);
  gather_ = std::move(other.gather_);
  slot_ = other.slot_;
  answering_ = std::exchange(other.answering_, false);
  return *this;
}

void Event::respond(Payload&& payload) {
  if (!completion_ || !answering_) return;
  if (chunk) {
    completion_->answer(Answer{std::nullopt, std::nullopt, chunk->chunks});
    return last_chunk ? chunk->chunks->end() : chunk->chunks->push(std::move(payload));
  }
  completion_->answer(Answer{std::nullopt, std::move(payload)});
}

void Event::answer(const Answer& shared) {
  if (gather_) {
    if (shared.failure) {
      std::exchange(gather_, {})->fail(slot_, Failure(*shared.failure));
    } else if (shared.body) {
      std::exchange(gather_, {})->come_back(slot_, Payload(*shared.body), envelope);
    }
  } else if (completion_ && answering_) {
    if (shared.failure || shared.body)
      completion_->answer(Answer(shared));
    else
      give_up_answering();
  }
}

void Event::finish() {
  if (gather_) return come_back();
  respond(std::move(body));
  end();
}

void Event::fail(Failure&& failure) {
  if (gather_) {
    const Ref<Gather> gather = std::move(gather_);
    gather->fail(slot_, std::move(failure));
  } else if (completion_) {
    completion_->failed(failure);
    if (chunk) chunk->chunks->fail(Failure(failure));
    if (answering_) completion_->answer(Answer{std::move(failure), std::nullopt});
  }
  end();
}

void Event::filter() {
  if (completion_ && !gather_) completion_->worsen(Outcome::kFiltered);
  end();
}

void Event::end() noexcept {
  if (gather_) {
    const Ref<Gather> gather = std::move(gather_);
    gather->drop(slot_);
  }
  if (completion_) {
    const Ref<Completion> completion = std::move(completion_);
    completion->leave(std::exchange(answering_, false));
  }
  chunk = {};
}

void Event::enter(Ref<Gather> gather, std::uint32_t slot) noexcept {
  gather_ = std::move(gather);
  slot_ = slot;
}

void Event::come_back() {
  const Ref<Gather> gather = std::move(gather_);
  gather->come_back(slot_, std::move(body), std::move(envelope));
  end();
}

}  // namespace penstock
