#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include <grpc/pending.hpp>
#include <http/entrance.hpp>
#include <http/host.hpp>
#include <http2/call.hpp>
#include <penstock/executor.hpp>

namespace penstock::grpc {

class Watch;

/// What all messages of a call have in common.
struct Context {
  http::Request head;
  std::optional<TimePoint> deadline;       ///< if the client has set one
  Encoding answers = Encoding::kIdentity;  ///< how they are compressed
};

/// Between gRPC and the graph at the entrance: the Open Inference Protocol's service, with Triton's extensions, and
/// that of health.
///
/// An inference enters the graph as the same request over HTTP does; what is no inference goes to
/// its `frontend` step. Calls are made, and their messages handled, by whoever polls the connection.
class Front final : public http2::Calls {
 public:
  struct Options {
    std::chrono::milliseconds deadline{30000};          ///< of a message, if the client sets none
    std::size_t message_bytes = std::size_t{64} << 20;  ///< more: RESOURCE_EXHAUSTED
    std::size_t streamed = 32;                          ///< unanswered messages of a stream before no more is read
    std::chrono::milliseconds message_timeout{30000};   ///< a message that is not there then, and comes slowly
    std::size_t message_rate = 1024;                    ///< bytes per second that are not slow
    std::chrono::milliseconds drain_grace{2000};        ///< for a message to arrive whole, in a drain
  };

  Front(const http::Entrance& entrance, http::Host& host, Options options);
  ~Front() override;

  /// Whether ServerReady and health say so.
  void set_ready(bool ready);
  [[nodiscard]] bool ready() const noexcept { return ready_.load(); }

  Ref<http2::Call> open(http::Request&& head, http2::Stream stream) override;
  void refuse(const http::Response& why, const http2::Stream& stream) override;

  // For the calls.
  [[nodiscard]] const Options& options() const noexcept { return options_; }
  /// Answers one message of a call that has one answer.
  Ref<Completion> ask(const Context& context, const Message& message, const Ref<Answered>& to);
  /// Gives an inference to the graph. Null, if it has been answered.
  Ref<Completion> infer(const Context& context, InferCall&& call, std::size_t bytes, const Ref<Answered>& to,
                        std::uint64_t number, bool streamed);
  void add(const Ref<Watch>& watch);
  void remove(const Watch& watch);

 private:
  Ref<Completion> query(const Context& context, std::string path, PendingQuery::Translate translate, bool accepts_503,
                        const Ref<Answered>& to);
  Ref<Completion> change(const Context& context, std::string_view message, std::string_view operation,
                         const Ref<Answered>& to);
  Ref<Completion> ask_frontend(const Context& context, Ref<Envelope> envelope, Payload&& body,
                               PendingQuery::Translate translate, bool accepts_503, const Ref<Answered>& to);
  Ref<Completion> admit(const Context& context, Executor& executor, Ref<Pending> pending, Payload&& body,
                        Ref<Envelope> envelope, StepId entry);

  const http::Entrance& entrance_;
  http::Host& host_;
  const Options options_;
  std::atomic<bool> ready_{true};
  std::mutex mutex_;  ///< guards the next
  std::vector<Ref<Watch>> watches_;
};

}  // namespace penstock::grpc
