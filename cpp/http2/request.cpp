#include <http2/request.hpp>

#include <string>
#include <utility>

namespace penstock::http2 {
namespace {

constexpr std::size_t kBodyPadding = 64;  ///< what simdjson reads behind a text

/// An HTTP request that is no call.
class RequestCall final : public Call {
 public:
  RequestCall(http::Application& application, const http::Limits& limits, http::Request&& request, http::Reply&& reply)
      : application_(application), limits_(limits), request_(std::move(request)), reply_(std::move(reply)),
        begun_(Clock::now()), leave_by_(Clock::time_point::max()) {}

  std::size_t take(std::string_view bytes) override {
    if (!reply_) return bytes.size();
    std::string& body = request_.body;
    const std::size_t size = body.size() + bytes.size();
    if (size > limits_.body_bytes) {
      refuse(413, "the body is too large");
    } else {
      if (body.capacity() < size + kBodyPadding) body.reserve(size + size / 2 + kBodyPadding);
      body.append(bytes);
    }
    return bytes.size();
  }

  void end() override {
    if (!reply_) return;
    try {
      application_.handle(std::move(request_), std::move(reply_));
    } catch (...) {  // NOLINT(bugprone-empty-catch): the Reply was dropped, and so has answered 500
    }
  }

  void abandon() override { reply_ = http::Reply(); }

  void drain() override { leave_by_ = Clock::now() + limits_.drain_grace; }

  void tick(Clock::time_point now) override {
    const auto waited = now - begun_;
    if (!reply_) return;
    if (now > leave_by_) return refuse(503, "the server is closing");
    if (waited <= limits_.body_timeout) return;
    const double due = static_cast<double>(limits_.body_rate) * std::chrono::duration<double>(waited).count();
    if (static_cast<double>(request_.body.size()) < due) refuse(408, "the request took too long to arrive");
  }

 private:
  void refuse(int status, std::string_view text) {
    request_.body = std::string();
    http::Response response = http::error_response(status, text);
    if (status == 503) response.headers.emplace_back("Retry-After", "1");
    reply_.send(std::move(response));
  }

  http::Application& application_;
  const http::Limits& limits_;
  http::Request request_;
  http::Reply reply_;
  const Clock::time_point begun_;
  Clock::time_point leave_by_;  ///< in a drain, what is not there then is not waited for
};

}  // namespace

http::Refusal parse_head(const Head& head, const http::Limits& limits, http::Request& request) {
  std::string text;
  text.reserve(head.method.size() + head.path.size() + head.authority.size() + head.fields.size() + 32);
  text.append(head.method).append(" ").append(head.path).append(" HTTP/1.1\r\nhost: ").append(head.authority);
  text.append("\r\n").append(head.fields).append("\r\n");
  return http::HeadParser(limits).parse_head(text, request);
}

bool is_grpc(std::string_view type) noexcept {
  constexpr std::string_view kType = "application/grpc";
  if (!http::equals_ignoring_case(type.substr(0, kType.size()), kType)) return false;
  const std::string_view rest = type.substr(kType.size());
  return rest.empty() || rest.front() == ';' || rest.front() == '+';
}

Ref<Call> make_request_call(http::Application& application, const http::Limits& limits, http::Request&& request,
                            http::Reply&& reply) {
  return make_ref<RequestCall>(application, limits, std::move(request), std::move(reply));
}

}  // namespace penstock::http2
