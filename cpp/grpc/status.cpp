#include <grpc/status.hpp>

#include <algorithm>
#include <charconv>
#include <iterator>

namespace penstock::grpc {
namespace {

constexpr std::size_t kLongestText = 4096;  ///< clients take no more than 8 KiB of headers

/// A header holds printable ASCII; the rest, and the sign itself, is written as %XX.
std::string percent_encoded(std::string_view text) {
  constexpr std::string_view kHex = "0123456789ABCDEF";
  std::string encoded;
  encoded.reserve(text.size());
  for (const char c : text.substr(0, kLongestText)) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte <= 0x7E && c != '%') {
      encoded += c;
    } else {
      encoded += '%';
      encoded += kHex[byte >> 4];
      encoded += kHex[byte & 15];
    }
  }
  return encoded;
}

}  // namespace

Code code_of(int http_status) noexcept {
  switch (http_status) {
    case 401:
      return Code::kUnauthenticated;
    case 403:
      return Code::kPermissionDenied;
    case 404:
      return Code::kNotFound;
    case 408:
    case 504:
      return Code::kDeadlineExceeded;
    case 409:
      return Code::kAlreadyExists;
    case 412:
      return Code::kFailedPrecondition;
    case 413:
    case 429:
    case 431:
      return Code::kResourceExhausted;
    case 499:
      return Code::kCancelled;
    case 501:
      return Code::kUnimplemented;
    case 502:
    case 503:
      return Code::kUnavailable;
    default:
      return http_status >= 400 && http_status < 500 ? Code::kInvalidArgument : Code::kInternal;
  }
}

Status status_of(const Failure& failure) {
  const bool ours = failure.status >= 500 && !failure.step.empty();
  const bool busy = failure.status == 503 && (failure.kind == "Overloaded" || failure.kind == "QueueFull");
  return {busy ? Code::kResourceExhausted : code_of(failure.status),
          ours ? "step '" + failure.step + "': " + failure.text() : failure.text()};
}

http2::Fields headers(http::Coding encoding) {
  http2::Fields fields{
      {":status", "200"}, {"content-type", "application/grpc"}, {"grpc-accept-encoding", "identity,deflate,gzip"}};
  if (encoding != http::Coding::kIdentity) fields.emplace_back("grpc-encoding", http::name_of(encoding));
  return fields;
}

http2::Fields trailers(const Status& status) {
  http2::Fields fields{{"grpc-status", std::to_string(static_cast<int>(status.code))}};
  if (!status.text.empty()) fields.emplace_back("grpc-message", percent_encoded(status.text));
  return fields;
}

http2::Fields trailers_only(const Status& status) {
  http2::Fields fields = headers();
  http2::Fields rest = trailers(status);
  std::move(rest.begin(), rest.end(), std::back_inserter(fields));
  return fields;
}

std::optional<std::chrono::nanoseconds> parse_timeout(std::string_view text) noexcept {
  if (text.size() < 2 || text.size() > 9) return std::nullopt;
  std::int64_t number = 0;
  const char* const end = text.data() + text.size() - 1;
  const auto [at, error] = std::from_chars(text.data(), end, number);
  if (error != std::errc() || at != end || number < 0) return std::nullopt;
  using namespace std::chrono;
  constexpr hours kMost{24 * 365};  // beyond, nanoseconds would not hold what may be asked for
  switch (text.back()) {
    case 'H':
      return std::min<nanoseconds>(kMost, hours(std::min<std::int64_t>(number, kMost.count())));
    case 'M':
      return std::min<nanoseconds>(kMost, minutes(std::min<std::int64_t>(number, kMost.count() * 60)));
    case 'S':
      return std::min<nanoseconds>(kMost, seconds(number));
    case 'm':
      return milliseconds(number);
    case 'u':
      return microseconds(number);
    case 'n':
      return nanoseconds(number);
    default:
      return std::nullopt;
  }
}

}  // namespace penstock::grpc
