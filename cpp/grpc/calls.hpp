#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

#include <grpc/front.hpp>

namespace penstock::grpc {

/// What an event that is not admitted is answered.
Status refusal_of(Admission admission);
/// A HealthCheckResponse. Throws StatusError for a service that is not known.
std::string health_message(std::string_view service, bool ready);

/// A call of one message and one answer.
class Unary final : public Answered {
 public:
  Unary(Front& front, Context&& context, Deframer&& deframer, http2::Stream&& stream);

  std::size_t take(std::string_view bytes) override;
  void end() override;
  void abandon() override;
  void drain() override;
  void tick(Clock::time_point now) override;
  void answer(std::uint64_t number, Status&& status, Pieces&& message) override;

 private:
  void fail(Status&& status);

  Front& front_;
  const Context context_;
  Deframer deframer_;
  const http2::Stream stream_;
  const Clock::time_point begun_;
  Clock::time_point leave_by_ = Clock::time_point::max();  ///< a message that is not there then is not waited for
  std::optional<Message> message_;
  Ref<Completion> completion_;
  bool over_ = false;  ///< what else comes does not count
};

/// A ModelStreamInfer: each message is answered, those of the same request id in their order.
class StreamInfer final : public Answered {
 public:
  StreamInfer(Front& front, Context&& context, Deframer&& deframer, http2::Stream&& stream);

  std::size_t take(std::string_view bytes) override;
  void end() override;
  void abandon() override;
  void drain() override;
  void tick(Clock::time_point now) override;
  void answer(std::uint64_t number, Status&& status, Pieces&& message) override;
  [[nodiscard]] bool takes_parts() const noexcept override { return true; }
  void part(std::uint64_t number, Pieces&& message) override;
  void done(std::uint64_t number) override;
  bool has_room(std::uint64_t number, std::function<void()>&& then) override;

 private:
  /// A message that is not answered, or whose answer has to wait for its turn.
  struct Slot {
    std::uint64_t number = 0;
    std::string id;
    Ref<Completion> completion;
    std::optional<Pieces> answer;
    bool in_parts = false;       ///< it is answered in parts, so its answer may take as long as it likes
    std::function<void()> turn;  ///< it has parts to send, once it is its turn
  };
  /// What is to be done when the mutex is free again.
  struct Aftermath {
    std::vector<Ref<Completion>> dropped;  ///< nobody waits for them any more
    std::vector<Ref<Completion>> settled;  ///< to be let go of
    std::vector<std::function<void()>> turns;
  };

  void parse(std::string_view& bytes);
  void handle(const Message& message);
  void go_on();
  bool takes_more();
  std::deque<Slot>::iterator find(std::uint64_t number);
  bool may_send_parts(std::uint64_t number, std::function<void()>& then, Aftermath& after);
  [[nodiscard]] bool is_turn(std::deque<Slot>::iterator slot);
  void settle(Aftermath& after);
  static void finish_up(Aftermath& after);
  std::uint64_t add_slot(std::string id);
  void finish_if_done();
  void fail(Status&& status);
  std::vector<http::Body> take_ready(Aftermath& after);
  void send(std::vector<http::Body>&& bodies);
  std::vector<Ref<Completion>> finish(const Status& status);

  Front& front_;
  const Context context_;
  Deframer deframer_;
  const http2::Stream stream_;
  const bool errors_end_;  ///< the client wants to be told of an error by the stream's end
  std::string rest_;       ///< bytes that have to wait until others are answered
  bool client_ended_ = false;

  std::mutex mutex_;  ///< guards the next; only a session's mutex is taken under it
  std::deque<Slot> slots_;
  std::uint64_t next_ = 0;
  bool paused_ = false;     ///< for too many are not answered
  bool all_taken_ = false;  ///< no more will come
  bool draining_ = false;
  bool started_ = false;
  bool over_ = false;
};

/// A health Watch.
class Watch final : public http2::Call {
 public:
  Watch(Front& front, Deframer&& deframer, http2::Stream&& stream);

  std::size_t take(std::string_view bytes) override;
  void end() override {}
  void abandon() override;
  void drain() override;
  /// Sends the state of things, if it is another than was sent last. Any thread.
  void tell();

 private:
  Front& front_;
  Deframer deframer_;
  const http2::Stream stream_;
  bool asked_ = false;

  std::mutex mutex_;  ///< guards the next; only a session's mutex is taken under it
  std::string service_;
  std::string told_;
  bool over_ = false;
};

}  // namespace penstock::grpc
