#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include <grpc/infer.hpp>
#include <grpc/status.hpp>
#include <http/asked.hpp>

namespace penstock::grpc {

/// Who is told what became of the messages of a call.
class Answered : public http2::Call {
 public:
  /// Once a number. Any thread, outside the gate. `message` counts if `status` is OK.
  virtual void answer(std::uint64_t number, Status&& status, Pieces&& message) = 0;

  /// Whether an answer may come in parts: `part`, as often as `has_room` says so, then `done` or `answer` with what
  /// went wrong.
  [[nodiscard]] virtual bool takes_parts() const noexcept { return false; }
  virtual void part(std::uint64_t /*number*/, Pieces&& /*message*/) {}
  virtual void done(std::uint64_t /*number*/) {}
  /// Whether the client keeps up; if not, `then` is called once when it does. Any thread.
  [[nodiscard]] virtual bool has_room(std::uint64_t /*number*/, std::function<void()>&& /*then*/) { return true; }
};

/// A message of a call that the graph has yet to answer.
class Pending : public http::Asked {
 public:
  Pending(http::Host& host, std::shared_ptr<Executor> executor, Ref<Answered> to, std::uint64_t number)
      : Asked(host, std::move(executor)), host_(host), to_(std::move(to)), number_(number) {}

  /// The graph has not taken it.
  void refuse(Status&& status);

 protected:
  /// The answer as a message; may throw StatusError, BadRequest or EncodeError. `status` is that of
  /// HTTP, below 400 unless `accepts` it; the text is empty if there is no body.
  virtual Pieces encode(std::shared_ptr<const InferResponse> tensors, std::string_view text) = 0;
  [[nodiscard]] virtual bool accepts(int status) const { return status < 400; }
  /// An answer that comes in chunks, to one who takes them.
  virtual void deliver_chunks(Ref<Chunks> chunks, Ref<Answered> to);

  [[nodiscard]] http::Host& host() const noexcept { return host_; }
  [[nodiscard]] std::uint64_t number() const noexcept { return number_; }

 private:
  void deliver(Answer&& answer, std::optional<http::Response>&& rendered) final;
  Pieces message_of(Answer&& answer, const std::optional<http::Response>& rendered);

  http::Host& host_;
  Ref<Answered> to_;  ///< gone once answered: it may refer to this
  const std::uint64_t number_;
};

/// One that is answered with tensors.
class PendingInfer final : public Pending {
 public:
  PendingInfer(http::Host& host, std::shared_ptr<Executor> executor, Ref<Answered> to, std::uint64_t number,
               Wanted wanted)
      : Pending(host, std::move(executor), std::move(to), number), wanted_(std::move(wanted)) {}

 private:
  Pieces encode(std::shared_ptr<const InferResponse> tensors, std::string_view text) override;
  [[nodiscard]] bool wants_tensors() const override { return true; }
  void deliver_chunks(Ref<Chunks> chunks, Ref<Answered> to) override;

  const Wanted wanted_;
};

/// One that is answered by what the frontend says, which is JSON.
class PendingQuery final : public Pending {
 public:
  using Translate = std::function<std::string(std::string_view json)>;

  PendingQuery(http::Host& host, std::shared_ptr<Executor> executor, Ref<Answered> to, Translate translate,
               bool accepts_503)
      : Pending(host, std::move(executor), std::move(to), 0), translate_(std::move(translate)),
        accepts_503_(accepts_503) {}

 private:
  Pieces encode(std::shared_ptr<const InferResponse> tensors, std::string_view text) override;
  [[nodiscard]] bool accepts(int status) const override { return status < 400 || (accepts_503_ && status == 503); }

  const Translate translate_;
  const bool accepts_503_;
};

}  // namespace penstock::grpc
