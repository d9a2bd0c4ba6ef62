#include <http/access.hpp>

#include <algorithm>
#include <utility>

namespace penstock::http {
namespace {

constexpr std::string_view kScheme = "Bearer ";
constexpr std::string_view kOpen[] = {"/v2/health/live",
                                      "/v2/health/ready",
                                      "/grpc.health.v1.Health/Check",
                                      "/grpc.health.v1.Health/Watch",
                                      "/inference.GRPCInferenceService/ServerLive",
                                      "/inference.GRPCInferenceService/ServerReady"};

bool is_open(std::string_view path) { return std::find(std::begin(kOpen), std::end(kOpen), path) != std::end(kOpen); }

const std::string kNoOrigin;

bool asks_for_leave(const Request& head) {
  return head.method() == "OPTIONS" && head.header("Access-Control-Request-Method");
}

Response leave(const Request& head) {
  Response response;
  response.status = 204;
  response.headers.emplace_back("Access-Control-Allow-Methods", "GET, HEAD, POST, PUT, PATCH, DELETE");
  if (const auto wanted = head.header("Access-Control-Request-Headers"))
    response.headers.emplace_back("Access-Control-Allow-Headers", *wanted);
  response.headers.emplace_back("Access-Control-Max-Age", "600");
  return response;
}

}  // namespace

bool same_secret(std::string_view secret, std::string_view given) noexcept {
  // Every byte of `given` is looked at, whatever was found before.
  auto differs = static_cast<unsigned>(secret.size() != given.size());
  for (std::size_t i = 0; i < given.size(); ++i) {
    const char expected = secret.empty() ? '\0' : secret[i % secret.size()];
    differs |= static_cast<unsigned char>(expected ^ given[i]);
  }
  // Kept from being folded into an early exit.
  const volatile unsigned result = differs;
  return result == 0;
}

std::optional<Response> Access::judge(const Request& head) const {
  const std::string* origin = origin_of(head);
  if (origin != nullptr && !origin->empty() && asks_for_leave(head)) return leave(head);  // it comes without a token
  if (tokens.empty() || is_open(head.path())) return std::nullopt;
  const std::string_view given = head.header("Authorization").value_or("");
  if (given.size() <= kScheme.size() || !equals_ignoring_case(given.substr(0, kScheme.size()), kScheme)) {
    Response refused = error_response(401, "a token is needed: Authorization: Bearer ...");
    refused.headers.emplace_back("WWW-Authenticate", "Bearer");
    return refused;
  }
  unsigned known = 0;
  for (const std::string& token : tokens)
    known |= static_cast<unsigned>(same_secret(token, given.substr(kScheme.size())));
  if (known == 0) return error_response(403, "the token is not valid here");
  return std::nullopt;
}

const std::string* Access::origin_of(const Request& head) const noexcept {
  if (origins.empty()) return nullptr;
  const auto found = std::find(origins.begin(), origins.end(), head.header("Origin").value_or(""));
  return found == origins.end() ? &kNoOrigin : &*found;
}

void allow(Response& response, const std::string& origin) {
  response.headers.emplace_back("Vary", "Origin");  // caches keep an answer for others apart
  if (origin.empty()) return;
  response.headers.emplace_back("Access-Control-Allow-Origin", origin);
  response.headers.emplace_back("Access-Control-Expose-Headers", "Inference-Header-Content-Length, Retry-After");
}

}  // namespace penstock::http
