#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <penstock/completion.hpp>
#include <penstock/payload.hpp>
#include <penstock/ref.hpp>

namespace penstock {

class Gather;

/// What an event carries beside its body. Shared by the events derived from one another until one of
/// them changes it (`Event::own_envelope`).
struct Envelope : RefCounted {
  Envelope() = default;
  Envelope(const Envelope& other)
      : RefCounted(), id(other.id), path(other.path), method(other.method), content_type(other.content_type),
        error(other.error), origin(other.origin), key(other.key), priority(other.priority), fields(other.fields),
        record(other.record), headers(other.headers), arrival(other.arrival), terminated(other.terminated) {}

  /// A copy for an event that is to differ. They stay the same event, so the id is made now at the latest.
  [[nodiscard]] Ref<Envelope> copied();

  std::string id;  ///< made when first asked for
  std::string path = "/";
  std::string method;
  std::string content_type;
  std::string error;           ///< the text of the failure that led to an error handler
  std::string origin;          ///< the step that failed
  std::uint64_t key = 0;       ///< of what users set as the event's key; 0 if they did not
  std::uint32_t priority = 0;  ///< where a batch is put together, 1 goes first; 0 is none
  Object fields;               ///< key, time, trigger and what users set: a table of the host
  Object record;               ///< what `fields` are made of when first asked for, if they are not made yet
  std::vector<std::pair<std::string, std::string>> headers;  ///< as received
  std::chrono::system_clock::time_point arrival{};
  bool terminated = false;  ///< the event ends after this step and answers with its body
};

/// One event on its way through a graph. Move-only: destroying it ends it, so that no event vanishes
/// without its completion being told. Belongs to one thread at a time.
class Event {
 public:
  Event() noexcept;
  Event(Payload&& payload, Ref<Envelope> carried, Ref<Completion> owner, bool can_answer);
  Event(Event&& other) noexcept;
  Event& operator=(Event&& other) noexcept;
  ~Event();

  /// A further event of the same completion. A member of no gather.
  [[nodiscard]] Event derive(Payload&& payload, bool can_answer) const;
  /// The event goes where no responder is.
  void give_up_answering() {
    if (std::exchange(answering_, false) && completion_) completion_->give_up();
  }
  /// Gives whoever waits for this event an answer that was made for several; the event goes on.
  void answer(const Answer& shared);
  /// Answers the caller with `payload`; the event goes on.
  void respond(Payload&& payload);
  /// Ends the event with its body as the answer: the caller's, or the part's that its gather waits for.
  void finish();
  /// Ends the event with a failure: it goes to its gather, or to the caller if it can still answer.
  void fail(Failure&& failure);
  /// Ends the event because a step dropped it.
  void filter();
  /// Ends the event here and now; what a destructor does.
  void end() noexcept;

  [[nodiscard]] bool answering() const noexcept { return answering_; }
  [[nodiscard]] bool cancelled() const noexcept { return completion_ && completion_->cancelled(); }
  [[nodiscard]] Completion* completion() const noexcept { return completion_.get(); }
  /// Events of the same key are kept in order where a step asks for that; 0 is no key.
  [[nodiscard]] std::uint64_t key() const noexcept { return envelope ? envelope->key : 0; }
  /// The envelope, copied first if others share it. Inside the gate.
  Envelope& own_envelope() {
    if (!envelope)
      envelope = make_ref<Envelope>();
    else if (!envelope->unique())
      envelope = envelope->copied();
    return *envelope;
  }
  /// Makes this event part `slot` of `gather`: however it ends, the gather hears of it.
  void enter(Ref<Gather> gather, std::uint32_t slot) noexcept;
  /// Comes back to its gather with what it has become, and ends.
  void come_back();
  /// Its caller's answer depends on it: it can answer, or is a part of an event that is waited for.
  [[nodiscard]] bool awaited() const noexcept { return answering_ || gather_; }
  [[nodiscard]] bool in_gather() const noexcept { return static_cast<bool>(gather_); }

  Payload body;
  Ref<Envelope> envelope;
  Ref<Gather> gathered;     ///< the parts that have come back, for the step that merges them
  Ref<Chunk> chunk;         ///< set on an event that is one chunk of an answer
  bool last_chunk = false;  ///< it only says that no further chunk comes: no step handles it
  /// How often a step has failed with it.
  struct Tries {
    std::uint32_t step = ~std::uint32_t{0};
    std::uint32_t count = 0;
  };
  Tries tries;
  TimePoint queued{};  ///< when it was put in its channel; set only where a step asks for it

 private:
  Ref<Completion> completion_;
  Ref<Gather> gather_;
  std::uint32_t slot_ = 0;
  bool answering_ = false;
};

using Batch = std::vector<Event>;

}  // namespace penstock
