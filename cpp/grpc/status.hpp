#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>

#include <http/compression.hpp>
#include <http2/call.hpp>
#include <penstock/failure.hpp>

namespace penstock::grpc {

/// gRPC's codes, by their numbers.
enum class Code : std::uint8_t {
  kOk = 0,
  kCancelled = 1,
  kUnknown = 2,
  kInvalidArgument = 3,
  kDeadlineExceeded = 4,
  kNotFound = 5,
  kAlreadyExists = 6,
  kPermissionDenied = 7,
  kResourceExhausted = 8,
  kFailedPrecondition = 9,
  kAborted = 10,
  kUnimplemented = 12,
  kInternal = 13,
  kUnavailable = 14,
  kUnauthenticated = 16,
};

/// How a call ended.
struct Status {
  Code code = Code::kOk;
  std::string text{};

  [[nodiscard]] bool ok() const noexcept { return code == Code::kOk; }
};

/// A call ends with this status; what() is for the client to read.
class StatusError : public std::runtime_error {
 public:
  StatusError(Code code, const std::string& text) : std::runtime_error(text), code_(code) {}
  explicit StatusError(const Status& status) : StatusError(status.code, status.text) {}
  [[nodiscard]] Status status() const { return {code_, what()}; }

 private:
  Code code_;
};

/// The code that says what an HTTP status says.
Code code_of(int http_status) noexcept;
/// How a call ends that failed in the graph. What is too busy to answer in time is out of a resource; unlike what is
/// not ready, it is not to be asked again at once, as clients do.
Status status_of(const Failure& failure);

/// The headers of every answer, and what ends it; `trailers_only` has both. `encoding`: of messages that are
/// compressed.
http2::Fields headers(http::Coding encoding = http::Coding::kIdentity);
http2::Fields trailers(const Status& status);
http2::Fields trailers_only(const Status& status);

/// What a "grpc-timeout" says; nothing if it is malformed.
std::optional<std::chrono::nanoseconds> parse_timeout(std::string_view text) noexcept;

}  // namespace penstock::grpc
