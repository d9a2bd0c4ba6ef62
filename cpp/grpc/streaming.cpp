#include <grpc/streaming.hpp>

#include <optional>
#include <utility>

#include <penstock/oip_json.hpp>

#include <grpc/metadata.hpp>

namespace penstock::grpc {
namespace {

/// From the chunks to the client. Runs inside the gate, one run at a time: each asks for the next.
class Pump final : public std::enable_shared_from_this<Pump> {
 public:
  Pump(std::shared_ptr<Executor> executor, http::Host& host, Ref<Answered> to, std::uint64_t number, Ref<Chunks> chunks,
       Wanted wanted)
      : executor_(std::move(executor)), host_(host), to_(std::move(to)), number_(number), chunks_(std::move(chunks)),
        wanted_(std::move(wanted)) {}

  void soon() {
    executor_->soon([self = shared_from_this()] { self->run(); });
  }

 private:
  void run() {
    Status wrong;
    try {
      if (!send_all()) return;
    } catch (const StatusError& error) {
      wrong = error.status();
    } catch (const BadRequest& error) {
      wrong = {Code::kInvalidArgument, error.what()};
    } catch (const std::exception& error) {
      wrong = {Code::kInternal, error.what()};
    }
    chunks_->cancel();
    if (!wrong.ok()) return to_->answer(number_, std::move(wrong), {});
    if (wanted_.empty_final)
      to_->part(number_, encode_infer(std::make_shared<const InferResponse>(), wanted_, Position::kEmptyFinal));
    to_->done(number_);
  }

  /// Whether all is sent; if not, it goes on by itself.
  bool send_all() {
    for (;;) {
      if (!to_->has_room(number_, [self = shared_from_this()] { self->soon(); })) return false;
      const std::optional<Chunks::Item> item = chunks_->take();
      if (!item) {
        chunks_->on_ready([self = shared_from_this()] { self->soon(); });
        return false;
      }
      if (item->failure) throw StatusError(status_of(*item->failure));
      if (!item->chunk) return true;
      to_->part(number_, encode_infer(tensors_of(*item->chunk), wanted_, Position::kPart));
    }
  }

  std::shared_ptr<const InferResponse> tensors_of(const Payload& chunk) {
    if (auto tensors = chunk.response()) return tensors;
    if (const Object* object = chunk.object(); object != nullptr && *object) {
      if (auto tensors = host_.tensors(*object)) return tensors;
      const http::Response rendered = host_.render(*object);
      if (rendered.status >= 400) throw StatusError(code_of(rendered.status), error_text(rendered.body.bytes()));
      return std::make_shared<const InferResponse>(infer_from_json(rendered.body.bytes()));
    }
    const Bytes* bytes = chunk.bytes();
    return std::make_shared<const InferResponse>(bytes == nullptr ? InferResponse() : infer_from_json(*bytes->data));
  }

  const std::shared_ptr<Executor> executor_;
  http::Host& host_;
  const Ref<Answered> to_;
  const std::uint64_t number_;
  const Ref<Chunks> chunks_;
  const Wanted wanted_;
};

}  // namespace

void send_chunks(std::shared_ptr<Executor> executor, http::Host& host, Ref<Answered> to, std::uint64_t number,
                 Ref<Chunks> chunks, Wanted wanted) {
  std::make_shared<Pump>(std::move(executor), host, std::move(to), number, std::move(chunks), std::move(wanted))
      ->soon();
}

}  // namespace penstock::grpc
