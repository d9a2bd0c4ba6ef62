#include <grpc/pending.hpp>

#include <utility>

#include <grpc/metadata.hpp>
#include <grpc/streaming.hpp>
#include <penstock/oip_json.hpp>

namespace penstock::grpc {

void Pending::refuse(Status&& status) {
  if (const Ref<Answered> to = std::move(to_)) to->answer(number_, std::move(status), {});
}

void Pending::deliver(Answer&& answer, std::optional<http::Response>&& rendered) {
  Ref<Answered> to = std::move(to_);
  if (!to) return;
  if (answer.chunks && !answer.failure) return deliver_chunks(std::move(answer.chunks), std::move(to));
  Status status;
  Pieces message;
  try {
    message = message_of(std::move(answer), rendered);
  } catch (const StatusError& error) {
    status = error.status();
  } catch (const BadRequest& error) {
    status = {Code::kInvalidArgument, error.what()};
  } catch (const std::exception& error) {
    status = {Code::kInternal, error.what()};
  }
  to->answer(number_, std::move(status), std::move(message));
}

void Pending::deliver_chunks(Ref<Chunks> chunks, Ref<Answered> to) {
  chunks->cancel();
  to->answer(number_, {Code::kUnimplemented, "the answer comes in parts, call ModelStreamInfer"}, {});
}

Pieces Pending::message_of(Answer&& answer, const std::optional<http::Response>& rendered) {
  if (answer.failure) throw StatusError(status_of(*answer.failure));
  if (rendered) {
    if (!accepts(rendered->status)) throw StatusError(code_of(rendered->status), error_text(rendered->body.bytes()));
    return encode(nullptr, rendered->body.bytes());
  }
  if (!answer.body) return encode(nullptr, {});
  if (auto tensors = answer.body->response()) return encode(std::move(tensors), {});
  const Bytes* raw = answer.body->bytes();
  return encode(nullptr, raw == nullptr ? std::string_view() : std::string_view(*raw->data));
}

Pieces PendingInfer::encode(std::shared_ptr<const InferResponse> tensors, std::string_view text) {
  if (tensors == nullptr)
    tensors = std::make_shared<const InferResponse>(text.empty() ? InferResponse() : infer_from_json(text));
  return encode_infer(tensors, wanted_);
}

void PendingInfer::deliver_chunks(Ref<Chunks> chunks, Ref<Answered> to) {
  if (!to->takes_parts()) return Pending::deliver_chunks(std::move(chunks), std::move(to));
  on_cancel([chunks] { chunks->cancel(); });
  send_chunks(executor(), host(), std::move(to), number(), std::move(chunks), wanted_);
}

Pieces PendingQuery::encode(std::shared_ptr<const InferResponse>, std::string_view text) {
  Pieces pieces;
  pieces.add(translate_(text));
  return pieces;
}

}  // namespace penstock::grpc
