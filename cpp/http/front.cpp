#include <http/front.hpp>

#include <algorithm>
#include <charconv>
#include <optional>
#include <utility>

#include <penstock/ids.hpp>
#include <penstock/oip_json.hpp>

#include <http/asked.hpp>
#include <http/compression.hpp>
#include <http/streaming.hpp>

namespace penstock::http {
namespace {

constexpr std::string_view kJson = "application/json";
constexpr std::string_view kBytes = "application/octet-stream";
constexpr const char* kJsonLength = "Inference-Header-Content-Length";
constexpr std::string_view kModels = "/v2/models/";
constexpr std::string_view kRepository = "/v2/repository/";
constexpr int kMaxDeadlineMs = 24 * 60 * 60 * 1000;

Response failure_response(const Failure& failure) {
  const bool ours = failure.status >= 500 && !failure.step.empty();
  Response response =
      error_response(failure.status, ours ? "step '" + failure.step + "': " + failure.text() : failure.text());
  if (failure.status == 503 || failure.status == 429)
    response.headers.emplace_back("Retry-After", std::to_string(failure.retry_after));
  return response;
}

Response tensors_response(const InferResponse& tensors, const AnswerTerms& terms) {
  EncodedResponse encoded = encode_infer_response(tensors, terms);
  Response response;
  response.content_type = kJson;
  if (encoded.json_size) {
    response.content_type = kBytes;
    response.headers.emplace_back(kJsonLength, std::to_string(*encoded.json_size));
  }
  response.body = std::move(encoded.body);
  return response;
}

Response response_of(Answer&& answer, const AnswerTerms& terms) {
  if (answer.failure) return failure_response(*answer.failure);
  Response response;
  if (!answer.body) {
    response.status = 204;
    return response;
  }
  if (const auto tensors = answer.body->response()) {
    try {
      return tensors_response(*tensors, terms);
    } catch (const BadRequest& wrong) {
      return error_response(400, wrong.what());
    } catch (const EncodeError& wrong) {
      return error_response(500, wrong.what());
    }
  }
  response.content_type = kJson;
  if (const Bytes* bytes = answer.body->bytes()) {
    if (!bytes->declared_json) response.content_type = kBytes;
    response.body = Body(bytes->data, *bytes->data);
  } else {
    response.body = std::string("null");
  }
  return response;
}

/// Answers one request.
class Exchange final : public Asked {
 public:
  Exchange(Host& host, std::shared_ptr<Executor> executor, Reply&& reply, ChunkForm form, AnswerTerms&& terms,
           Coding coding)
      : Asked(host, std::move(executor)), host_(host), reply_(std::move(reply)), form_(form), terms_(std::move(terms)),
        coding_(coding) {}
  Reply& reply() { return reply_; }

 private:
  void deliver(Answer&& answer, std::optional<Response>&& rendered) override {
    if (answer.chunks) return send_chunks(executor(), host_, std::move(reply_), std::move(answer.chunks), form_);
    Response response = rendered ? std::move(*rendered) : response_of(std::move(answer), terms_);
    compress(response, coding_);
    reply_.send(std::move(response));
  }
  [[nodiscard]] bool wants_tensors() const override { return terms_.binary || !terms_.outputs.empty(); }

  Host& host_;
  Reply reply_;
  const ChunkForm form_;
  const AnswerTerms terms_;
  const Coding coding_;
};

class Unattended final : public Root {
 private:
  void on_reply(Answer&& /*answer*/) override {}
};

/// A type that a request's body may be JSON under: none, or what plain forms and `curl -d` send.
bool may_be_json(std::string_view type) {
  return type.empty() || type.substr(0, type.find(';')) == "application/x-www-form-urlencoded";
}

bool is_json(std::string_view type) {
  std::string_view media = type.substr(0, type.find(';'));
  while (!media.empty() && media.back() == ' ') media.remove_suffix(1);
  return equals_ignoring_case(media, kJson) || equals_ignoring_case(media, "json") ||
         (media.size() > 5 && equals_ignoring_case(media.substr(media.size() - 5), "+json"));
}

std::optional<std::chrono::milliseconds> asked_deadline(const Request& request) {
  const auto header = request.header("X-Penstock-Timeout-Ms");
  if (!header) return std::nullopt;
  int value = 0;
  const auto [end, error] = std::from_chars(header->data(), header->data() + header->size(), value);
  if (error != std::errc() || end != header->data() + header->size() || value < 1 || value > kMaxDeadlineMs)
    throw BadRequest("X-Penstock-Timeout-Ms is a whole number of milliseconds, 1 to 86400000");
  return std::chrono::milliseconds(value);
}

bool starts_with(std::string_view text, std::string_view beginning) {
  return text.substr(0, beginning.size()) == beginning;
}

/// Where the request goes: its path, decoded. One of the protocol that has a name which holds, encoded, what ends names
/// is left as it was sent: those who cut it decode the parts.
std::string_view place_of(const Request& request) {
  const std::string_view path = request.path();
  const std::string_view sent = request.raw_path();
  if (path.size() == sent.size() || !starts_with(path, "/v2/")) return path;
  const bool hides = path.find_first_of("?#%") != std::string_view::npos ||
                     std::count(path.begin(), path.end(), '/') != std::count(sent.begin(), sent.end(), '/');
  return hides ? sent : path;
}

/// A client that asks for server-sent events, or calls what has no other form, gets them.
ChunkForm form_of(const Request& request) {
  constexpr std::string_view kStream = "/generate_stream";
  const std::string_view path = place_of(request);
  const bool asked = request.header("Accept").value_or("").find("text/event-stream") != std::string_view::npos;
  const bool named = path.size() > kStream.size() && path.substr(path.size() - kStream.size()) == kStream;
  return asked || named ? ChunkForm::kEvents : ChunkForm::kPlain;
}

/// The length of the JSON that bytes of tensors follow; nothing if the request has none.
std::optional<std::size_t> json_length(const Request& request) {
  const auto header = request.header(kJsonLength);
  if (!header) return std::nullopt;
  std::size_t value = 0;
  const auto [end, error] = std::from_chars(header->data(), header->data() + header->size(), value);
  if (error != std::errc() || end != header->data() + header->size())
    throw BadRequest(std::string(kJsonLength) + " is a whole number of bytes");
  return value;
}

bool ends_with(std::string_view text, std::string_view end) {
  return text.size() >= end.size() && text.substr(text.size() - end.size()) == end;
}

/// A path of the protocol's that is never posted to, unless a model has an operation of that name: the frontend says
/// so.
bool is_get_only(std::string_view path) {
  if (path == "/v2" || path == "/metrics" || path == "/openapi.json") return true;
  if (!starts_with(path, "/v2/")) return false;
  return path.size() == 4 || ends_with(path, "/ready") || ends_with(path, "/config") || ends_with(path, "/stats");
}

Ref<Envelope> envelope_of(const Request& request) {
  auto envelope = make_ref<Envelope>();
  envelope->method = request.method();
  envelope->path = place_of(request);
  if (!request.query().empty()) envelope->path.append("?").append(request.query());
  envelope->content_type = request.content_type();
  envelope->arrival = std::chrono::system_clock::now();
  envelope->headers.reserve(request.header_count());
  for (std::size_t i = 0; i < request.header_count(); ++i) envelope->headers.emplace_back(request.header_at(i));
  return envelope;
}

bool is_for_frontend(const Request& request, const Served& graph) {
  if (graph.frontend == kNoStep) return false;
  const std::string_view path = place_of(request);
  if (starts_with(path, kRepository)) return true;
  if (request.method() == "POST") return is_get_only(path);
  const bool reads = request.method() == "GET" || request.method() == "HEAD";
  if (path == "/") return reads && request.header("Accept").value_or("").find("text/html") != std::string_view::npos;
  return path == "/v2" || starts_with(path, "/v2/") || path == "/metrics" || path == "/openapi.json";
}

/// Below the models' prefix a protocol-shaped request is decoded here; anything else stays bytes.
Payload payload_of(Request& request, const std::string& model_prefix, AnswerTerms& terms) {
  if (request.body.empty()) return Payload();
  const bool json = is_json(request.content_type());
  const bool maybe = may_be_json(request.content_type());
  const bool prefixed = !model_prefix.empty();
  if (starts_with(place_of(request), prefixed ? std::string_view(model_prefix) : kModels)) {
    if (const auto length = json_length(request)) {
      if (*length > 0)
        return Payload(
            std::make_shared<const InferRequest>(decode_binary_request(std::move(request.body), *length, terms)));
      terms.binary = true;  // all of it is the one input of a model that knows what that is
    } else if ((json || maybe) && prefixed) {
      if (auto decoded = decode_infer_request(request.body, &terms))
        return Payload(std::make_shared<const InferRequest>(std::move(*decoded)));
    }
  }
  return Payload(Bytes{std::make_shared<const std::string>(std::move(request.body)), json, maybe});
}

/// The shorter of what the header and the request's parameters say, else the server's own.
Duration deadline_of(std::optional<std::chrono::milliseconds> header, const AnswerTerms& terms, Duration usual) {
  if (!header && !terms.timeout) return usual;
  Duration deadline = Duration::max();
  if (header) deadline = *header;
  if (terms.timeout) deadline = std::min<Duration>(deadline, *terms.timeout);
  return deadline;
}

Response refusal_response(Admission admission, Executor& executor) {
  const bool full = admission == Admission::kFull;
  Response response = error_response(503, full ? "the server is full" : "the server is closing");
  response.headers.emplace_back("Retry-After", std::to_string(full ? executor.retry_after() : 1));
  return response;
}

/// An I/O thread's place at the graph that its requests enter.
struct Place {
  Place(std::shared_ptr<const Served> entered, std::size_t loop)
      : graph(std::move(entered)), seat(*graph->executor, loop) {}
  const std::shared_ptr<const Served> graph;
  Executor::Seat seat;
};

thread_local std::shared_ptr<void> attached;
thread_local std::unique_ptr<Place> place;

}  // namespace

Front::Front(const Entrance& entrance, Host& host, Options options)
    : entrance_(entrance), host_(host), options_(options) {}

void Front::thread_started(std::size_t loop) {
  attached = host_.attach();
  take_seat(loop);
}

void Front::thread_ending(std::size_t /*loop*/) {
  flush();
  place.reset();
  attached.reset();
}

/// The former seat goes first: a thread's places at executors are a stack.
void Front::take_seat(std::size_t loop) const {
  place.reset();
  place = std::make_unique<Place>(entrance_.held(), loop);
}

/// The thread may be one that assists: then it has its place where it came from, and keeps it.
void Front::after_poll(std::size_t loop) {
  if (Executor::drain()) {
    if (wake) wake(loop);
  } else if (place != nullptr && !entrance_.is(place->graph.get())) {
    take_seat(loop);  // of the former graph nothing waits for this thread any more
  }
}

void Front::flush() { Asked::flush(); }

void Front::handle(Request&& request, Reply reply) {
  if (answer_health(request, reply)) return;
  try {
    if (auto refused = unpack_body(request, options_.body_bytes)) return reply.send(std::move(*refused));
    admit(std::move(request), std::move(reply), entrance_.now());
  } catch (const BadRequest& error) {
    reply.send(error_response(400, error.what()));
  }
}

bool Front::answer_health(const Request& request, Reply& reply) const {
  const std::string_view path = request.path();
  if (path != "/v2/health/live" && path != "/v2/health/ready") return false;
  if (request.method() != "GET" && request.method() != "HEAD") {
    Response refused = error_response(405, "method not allowed, use GET");
    refused.headers.emplace_back("Allow", "GET");
    reply.send(std::move(refused));
    return true;
  }
  const bool ready = ready_.load();
  Response response;
  response.content_type = kJson;
  if (path == "/v2/health/live") {
    response.body = std::string(R"({"live":true})");
  } else {
    response.status = ready ? 200 : 503;
    response.body = std::string(ready ? R"({"live":true,"ready":true})" : R"({"live":true,"ready":false})");
  }
  reply.send(std::move(response));
  return true;
}

void Front::admit(Request&& request, Reply reply, const Served& graph) {
  const StepId entry = is_for_frontend(request, graph) ? graph.frontend : kNoStep;
  const bool waits = graph.responds || entry != kNoStep;
  const std::size_t bytes = request.body.size();
  Admission admission = graph.executor->foretell(bytes);
  // To refuse has to cost little: nothing of the body is looked at.
  if (admission != Admission::kAccepted) return reply.send(refusal_response(admission, *graph.executor));
  try {
    const auto asked_for = asked_deadline(request);
    Ref<Envelope> envelope = envelope_of(request);
    AnswerTerms terms;
    Payload body = payload_of(request, graph.model_prefix, terms);
    const bool loads = entry != kNoStep && starts_with(place_of(request), kRepository);
    const Duration deadline = deadline_of(asked_for, terms, loads ? Duration(kLoadDeadline) : options_.deadline);
    if (waits) {
      auto asked = make_ref<Exchange>(host_, graph.executor, std::move(reply), form_of(request), std::move(terms),
                                      chosen_coding(request.header("Accept-Encoding").value_or("")));
      asked->bytes = bytes;
      asked->deadline = Clock::now() + deadline;
      asked->reply().on_abandoned([held = Ref<Completion>(asked)] { held->cancel(); });
      admission = graph.executor->admit(asked, std::move(body), std::move(envelope), entry);
      if (admission == Admission::kAccepted) return;
      reply = std::move(asked->reply());
    } else {
      envelope->id = make_id();
      auto root = make_ref<Unattended>();
      root->bytes = bytes;
      const std::string id = envelope->id;
      admission = graph.executor->admit(root, std::move(body), std::move(envelope));
      if (admission == Admission::kAccepted) {
        Response taken;
        taken.content_type = kJson;
        taken.body = "{\"id\":\"" + id + "\"}";
        return reply.send(std::move(taken));
      }
    }
  } catch (const BadRequest& error) {
    return reply.send(error_response(400, error.what()));
  }
  reply.send(refusal_response(admission, *graph.executor));
}

}  // namespace penstock::http
