#include <grpc/front.hpp>

#include <algorithm>
#include <utility>

#include <grpc/calls.hpp>
#include <grpc/metadata.hpp>
#include <grpc/repository.hpp>
#include <http/limits.hpp>
#include <penstock/oip_json.hpp>
#include <penstock/percent.hpp>
#include <protozero/pbf_reader.hpp>

namespace penstock::grpc {
namespace {

constexpr std::string_view kInference = "/inference.GRPCInferenceService/";
constexpr std::string_view kInfer = "ModelInfer";
constexpr std::string_view kHealth = "/grpc.health.v1.Health/";
constexpr std::chrono::hours kMostDeadline{24};

class Unattended final : public Root {
 private:
  void on_reply(Answer&& /*answer*/) override {}
};

/// Where the model is in the tree of the HTTP calls.
std::string path_of(const std::string& model, const std::string& version) {
  if (model.empty()) throw StatusError(Code::kInvalidArgument, "the model has no name");
  std::string path = "/v2/models/" + as_path_part(model);
  if (!version.empty()) path += "/versions/" + as_path_part(version);
  return path;
}

bool asks_for_ready(std::string_view message) {
  protozero::pbf_reader field(message.data(), message.size());
  bool ready = false;
  while (field.next()) {
    if (field.tag_and_type() == protozero::tag_and_type(2, protozero::pbf_wire_type::varint))
      ready = field.get_bool();
    else
      field.skip();
  }
  return ready;
}

Ref<Envelope> envelope_of(const Context& context, std::string method, std::string path) {
  auto envelope = make_ref<Envelope>();
  envelope->method = std::move(method);
  envelope->path = std::move(path);
  envelope->content_type = context.head.content_type();
  envelope->arrival = std::chrono::system_clock::now();
  envelope->headers.reserve(context.head.header_count());
  for (std::size_t i = 0; i < context.head.header_count(); ++i)
    envelope->headers.emplace_back(context.head.header_at(i));
  return envelope;
}

void answer_with(const Ref<Answered>& to, std::string&& message) {
  Pieces pieces;
  pieces.add(std::move(message));
  to->answer(0, {}, std::move(pieces));
}

}  // namespace

Front::Front(const http::Entrance& entrance, http::Host& host, Options options)
    : entrance_(entrance), host_(host), options_(options) {}

Front::~Front() = default;

Ref<http2::Call> Front::open(http::Request&& head, http2::Stream stream) {
  const auto refuse = [&stream](Status&& status) {
    stream.send({trailers_only(status), {}, {}, true});
    return Ref<http2::Call>();
  };
  const std::optional<Encoding> encoding = encoding_from(head.header("grpc-encoding").value_or(""));
  if (!encoding) return refuse({Code::kUnimplemented, "grpc-encoding is not served, use identity, gzip or deflate"});
  Context context;
  if (const auto given = head.header("grpc-timeout")) {
    const auto timeout = parse_timeout(*given);
    if (!timeout) return refuse({Code::kInvalidArgument, "malformed grpc-timeout"});
    context.deadline = Clock::now() + std::min<Duration>(*timeout, kMostDeadline);
  }
  context.answers = encoding_back(*encoding, head.header("grpc-accept-encoding").value_or(""));
  const std::string_view path = head.path();
  const bool inference = path.substr(0, kInference.size()) == kInference;
  if (!inference && path.substr(0, kHealth.size()) != kHealth)
    return refuse({Code::kUnimplemented, "unknown service: " + std::string(path)});
  const std::string_view name = path.substr(inference ? kInference.size() : kHealth.size());
  if (inference && name == kInfer) {
    // Its message need not even come.
    const Admission admission = entrance_.now().executor->foretell(0);
    if (admission != Admission::kAccepted) return refuse(refusal_of(admission));
  }
  const bool streams = inference ? name == "ModelStreamInfer" : name == "Watch";
  context.head = std::move(head);
  Deframer deframer(options_.message_bytes, *encoding);
  if (!streams) return make_ref<Unary>(*this, std::move(context), std::move(deframer), std::move(stream));
  if (inference) return make_ref<StreamInfer>(*this, std::move(context), std::move(deframer), std::move(stream));
  return make_ref<Watch>(*this, std::move(deframer), std::move(stream));
}

void Front::refuse(const http::Response& why, const http2::Stream& stream) {
  stream.send({trailers_only({code_of(why.status), error_text(why.body.bytes())}), {}, {}, true});
}

Ref<Completion> Front::ask(const Context& context, const Message& message, const Ref<Answered>& to) {
  const std::string_view path = context.head.path();
  const std::string_view name = path.substr(path.rfind('/') + 1);
  const std::string_view bytes = message.bytes;
  const auto model_path = [bytes] {
    const ModelKey key = read_model_key(bytes);
    return path_of(key.name, key.version);
  };
  if (path.substr(0, kHealth.size()) == kHealth) {
    if (name != "Check") throw StatusError(Code::kUnimplemented, "unknown method " + std::string(name));
    answer_with(to, health_message(read_model_key(bytes).name, ready()));
    return {};
  }
  if (name == kInfer) return infer(context, decode_infer(message), bytes.size(), to, 0, false);
  if (name == "ServerLive" || name == "ServerReady") {
    answer_with(to, flag_message(name == "ServerLive" || ready()));
    return {};
  }
  if (name == "ServerMetadata") return query(context, "/v2", &server_metadata, false, to);
  if (name == "ModelReady") return query(context, model_path() + "/ready", &model_ready, true, to);
  if (name == "ModelMetadata") return query(context, model_path(), &model_metadata, false, to);
  if (name == "ModelConfig") return query(context, model_path(), &model_config, false, to);
  if (name == "ModelStatistics") {
    const bool all = read_model_key(bytes).name.empty();
    return query(context, (all ? "/v2/models" : model_path()) + "/stats", &model_statistics, false, to);
  }
  if (name == "RepositoryIndex") {
    const bool ready_only = asks_for_ready(bytes);
    const auto translate = [ready_only](std::string_view json) { return repository_index(json, ready_only); };
    return query(context, "/v2/repository/index", translate, false, to);
  }
  if (name == "RepositoryModelLoad") return change(context, bytes, "load", to);
  if (name == "RepositoryModelUnload") return change(context, bytes, "unload", to);
  throw StatusError(Code::kUnimplemented, "method " + std::string(name) + " is not served");
}

Ref<Completion> Front::infer(const Context& context, InferCall&& call, std::size_t bytes, const Ref<Answered>& to,
                             std::uint64_t number, bool streamed) {
  Ref<Envelope> envelope = envelope_of(context, "POST", path_of(call.model_name, call.model_version) + "/infer");
  Wanted wanted{std::move(call.model_name),
                std::move(call.model_version),
                call.request.id,
                std::move(call.outputs),
                streamed,
                call.empty_final};
  const auto timeout = call.timeout;
  Payload body(std::make_shared<const InferRequest>(std::move(call.request)));
  const http::Served& graph = entrance_.now();
  if (!graph.responds) {
    auto root = make_ref<Unattended>();
    root->bytes = bytes;
    auto pending = make_ref<PendingInfer>(host_, graph.executor, to, number, Wanted());
    const Admission admission = graph.executor->admit(root, std::move(body), std::move(envelope));
    if (admission == Admission::kAccepted)
      to->answer(number, {}, encode_infer(std::make_shared<const InferResponse>(), wanted));
    else
      pending->refuse(refusal_of(admission));
    return {};
  }
  auto pending = make_ref<PendingInfer>(host_, graph.executor, to, number, std::move(wanted));
  pending->bytes = bytes;
  if (timeout) pending->deadline = Clock::now() + std::min<Duration>(*timeout, kMostDeadline);
  return admit(context, *graph.executor, std::move(pending), std::move(body), std::move(envelope), kNoStep);
}

Ref<Completion> Front::query(const Context& context, std::string path, PendingQuery::Translate translate,
                             bool accepts_503, const Ref<Answered>& to) {
  return ask_frontend(context, envelope_of(context, "GET", std::move(path)), Payload(), std::move(translate),
                      accepts_503, to);
}

Ref<Completion> Front::change(const Context& context, std::string_view message, std::string_view operation,
                              const Ref<Answered>& to) {
  RepositoryChange change = read_change(message);
  if (change.model.empty()) throw StatusError(Code::kInvalidArgument, "the model has no name");
  const std::string path = "/v2/repository/models/" + as_path_part(change.model) + "/" + std::string(operation);
  Payload body(Bytes{std::make_shared<const std::string>(std::move(change.json)), true, true});
  const auto translate = [asked = std::move(change)](std::string_view) { return change_message(asked); };
  return ask_frontend(context, envelope_of(context, "POST", path), std::move(body), translate, false, to);
}

Ref<Completion> Front::ask_frontend(const Context& context, Ref<Envelope> envelope, Payload&& body,
                                    PendingQuery::Translate translate, bool accepts_503, const Ref<Answered>& to) {
  const http::Served& graph = entrance_.now();
  if (graph.frontend == kNoStep) throw StatusError(Code::kUnimplemented, "this graph has no models to tell of");
  auto pending = make_ref<PendingQuery>(host_, graph.executor, to, std::move(translate), accepts_503);
  if (envelope->method == "POST") pending->deadline = Clock::now() + http::kLoadDeadline;
  return admit(context, *graph.executor, std::move(pending), std::move(body), std::move(envelope), graph.frontend);
}

Ref<Completion> Front::admit(const Context& context, Executor& executor, Ref<Pending> pending, Payload&& body,
                             Ref<Envelope> envelope, StepId entry) {
  const TimePoint latest = context.deadline.value_or(Clock::now() + options_.deadline);
  // A longer time than is usual may be asked for; beyond what the caller waits there is nobody to answer.
  if (!pending->deadline || (context.deadline && *context.deadline < *pending->deadline)) pending->deadline = latest;
  const Admission admission = executor.admit(pending, std::move(body), std::move(envelope), entry);
  if (admission == Admission::kAccepted) return pending;
  pending->refuse(refusal_of(admission));
  return {};
}

void Front::set_ready(bool ready) {
  ready_.store(ready);
  std::vector<Ref<Watch>> watches;
  {
    const std::lock_guard lock(mutex_);
    watches = watches_;
  }
  for (const Ref<Watch>& watch : watches) watch->tell();
}

void Front::add(const Ref<Watch>& watch) {
  const std::lock_guard lock(mutex_);
  watches_.push_back(watch);
}

void Front::remove(const Watch& watch) {
  Ref<Watch> removed;  // destroyed after the lock is let go
  const std::lock_guard lock(mutex_);
  const auto found =
      std::find_if(watches_.begin(), watches_.end(), [&](const Ref<Watch>& other) { return other.get() == &watch; });
  if (found == watches_.end()) return;
  removed = std::move(*found);
  watches_.erase(found);
}

}  // namespace penstock::grpc
