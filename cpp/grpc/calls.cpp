#include <grpc/calls.hpp>

#include <utility>

#include <grpc/metadata.hpp>
#include <penstock/oip_json.hpp>
#include <protozero/pbf_writer.hpp>

namespace penstock::grpc {
namespace {

constexpr int kServing = 1;
constexpr int kNotServing = 2;
constexpr int kServiceUnknown = 3;

std::string health(int status) {
  std::string out;
  protozero::pbf_writer(out).add_enum(1, status);
  return out;
}

bool is_known(std::string_view service) {
  return service.empty() || service == "inference.GRPCInferenceService" || service == "grpc.health.v1.Health";
}

std::vector<http::Body> framed(std::string&& message) {
  Pieces pieces;
  pieces.add(std::move(message));
  pieces.frame();
  return std::move(pieces.bodies);
}

}  // namespace

Status refusal_of(Admission admission) {
  if (admission == Admission::kFull) return {Code::kResourceExhausted, "the server is full"};
  return {Code::kUnavailable, "the server is closing"};
}

std::string health_message(std::string_view service, bool ready) {
  if (!is_known(service)) throw StatusError(Code::kNotFound, "unknown service " + std::string(service));
  return health(ready ? kServing : kNotServing);
}

Unary::Unary(Front& front, Context&& context, Deframer&& deframer, http2::Stream&& stream)
    : front_(front), context_(std::move(context)), deframer_(std::move(deframer)), stream_(std::move(stream)),
      begun_(Clock::now()) {}

std::size_t Unary::take(std::string_view bytes) {
  const std::size_t size = bytes.size();
  try {
    while (!over_ && !bytes.empty()) {
      auto message = deframer_.take(bytes);
      if (!message) continue;
      if (message_) throw StatusError(Code::kInternal, "the call has more than one message");
      message_ = std::move(message);
    }
  } catch (const StatusError& error) {
    fail(error.status());
  }
  return size;
}

void Unary::end() {
  if (std::exchange(over_, true)) return;
  try {
    if (!message_ || deframer_.within()) throw StatusError(Code::kInternal, "the call ended before its message");
    const Message message = std::move(*message_);
    message_.reset();
    completion_ = front_.ask(context_, message, Ref<Answered>(this));
  } catch (const StatusError& error) {
    fail(error.status());
  } catch (const BadRequest& error) {
    fail({Code::kInvalidArgument, error.what()});
  } catch (const std::exception& error) {
    fail({Code::kInternal, error.what()});
  }
}

void Unary::abandon() {
  over_ = true;
  if (const Ref<Completion> completion = std::move(completion_)) completion->cancel();
}

void Unary::drain() { leave_by_ = Clock::now() + front_.options().drain_grace; }

void Unary::tick(Clock::time_point now) {
  const Front::Options& options = front_.options();
  const auto waited = now - begun_;
  if (!over_ && now > leave_by_) return fail({Code::kUnavailable, "the server is closing"});
  if (over_ || waited <= options.message_timeout) return;
  const double due = static_cast<double>(options.message_rate) * std::chrono::duration<double>(waited).count();
  if (static_cast<double>(deframer_.received()) < due)
    fail({Code::kDeadlineExceeded, "the message took too long to arrive"});
}

void Unary::answer(std::uint64_t /*number*/, Status&& status, Pieces&& message) {
  if (!status.ok()) return stream_.send({trailers_only(status), {}, {}, true});
  message.pack(context_.answers);
  message.frame();
  stream_.send({headers(context_.answers), std::move(message.bodies), trailers(status), true});
}

void Unary::fail(Status&& status) {
  over_ = true;
  message_.reset();
  answer(0, std::move(status), {});
}

Watch::Watch(Front& front, Deframer&& deframer, http2::Stream&& stream)
    : front_(front), deframer_(std::move(deframer)), stream_(std::move(stream)) {}

std::size_t Watch::take(std::string_view bytes) {
  const std::size_t size = bytes.size();
  Status wrong;
  try {
    while (!asked_ && !bytes.empty()) {
      if (const auto message = deframer_.take(bytes)) {
        asked_ = true;
        const std::lock_guard lock(mutex_);
        service_ = read_model_key(message->bytes).name;
      }
    }
    if (!asked_) return size;
    front_.add(Ref<Watch>(this));
    tell();
    return size;
  } catch (const StatusError& error) {
    wrong = error.status();
  } catch (const BadRequest& error) {
    wrong = {Code::kInvalidArgument, error.what()};
  }
  asked_ = true;
  const std::lock_guard lock(mutex_);
  if (!std::exchange(over_, true)) stream_.send({trailers_only(wrong), {}, {}, true});
  return size;
}

void Watch::tell() {
  const std::lock_guard lock(mutex_);
  if (over_) return;
  std::string now = health(!is_known(service_) ? kServiceUnknown : front_.ready() ? kServing : kNotServing);
  if (now == told_) return;
  http2::Output output;
  if (told_.empty()) output.headers = headers();
  told_ = now;
  output.bodies = framed(std::move(now));
  stream_.send(std::move(output));
}

void Watch::drain() {
  front_.remove(*this);
  const std::lock_guard lock(mutex_);
  if (std::exchange(over_, true)) return;
  const Status closing{Code::kUnavailable, "the server is closing"};
  if (told_.empty())
    stream_.send({trailers_only(closing), {}, {}, true});
  else
    stream_.send({{}, {}, trailers(closing), true});
}

void Watch::abandon() {
  front_.remove(*this);
  const std::lock_guard lock(mutex_);
  over_ = true;
}

}  // namespace penstock::grpc
