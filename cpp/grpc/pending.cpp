#include <grpc/pending.hpp>

#include <utility>

#include <grpc/metadata.hpp>
#include <penstock/oip_json.hpp>

namespace penstock::grpc {

void Pending::refuse(Status&& status) {
  if (const Ref<Answered> to = std::move(to_)) to->answer(number_, std::move(status), {});
}

void Pending::deliver(Answer&& answer, std::optional<http::Response>&& rendered) {
  const Ref<Answered> to = std::move(to_);
  if (!to) return;
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

Pieces Pending::message_of(Answer&& answer, const std::optional<http::Response>& rendered) {
  if (answer.failure) {
    const Failure& failure = *answer.failure;
    const bool ours = failure.status >= 500 && !failure.step.empty();
    throw StatusError(code_of(failure.status),
                      ours ? "step '" + failure.step + "': " + failure.text() : failure.text());
  }
  if (answer.chunks) {
    answer.chunks->cancel();
    throw StatusError(Code::kUnimplemented, "the graph answers in chunks, which are only sent over HTTP");
  }
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
  // An event that was filtered out before its responder has no outputs, not even those asked for.
  if (!tensors->outputs.empty()) return encode_infer(tensors, wanted_);
  Wanted none = wanted_;
  none.outputs.clear();
  return encode_infer(tensors, none);
}

Pieces PendingQuery::encode(std::shared_ptr<const InferResponse>, std::string_view text) {
  Pieces pieces;
  pieces.add(translate_(text));
  return pieces;
}

}  // namespace penstock::grpc
