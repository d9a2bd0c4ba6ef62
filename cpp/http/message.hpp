#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace penstock::http {

/// One HTTP request, read and validated. Its strings are views into memory that it owns; a view is
/// good until the request is moved from or destroyed.
class Request {
 public:
  /// A part of the head, as offsets, so that a request can be moved.
  struct Span {
    std::uint32_t begin = 0;
    std::uint32_t size = 0;
  };

  std::string_view method() const noexcept { return view(method_); }
  /// The path and query as sent, without a scheme and authority if the client sent those.
  std::string_view target() const noexcept { return view(target_); }
  /// Percent-decoded once, without the query.
  std::string_view path() const noexcept { return decoded_ ? std::string_view(*decoded_) : view(path_); }
  /// The same as sent.
  std::string_view raw_path() const noexcept { return view(path_); }
  /// What follows the first '?', not decoded; empty if there is none.
  std::string_view query() const noexcept { return view(query_); }
  /// The value of Content-Type; empty if the client sent none.
  std::string_view content_type() const noexcept { return view(content_type_); }

  std::size_t header_count() const noexcept { return headers_.size(); }
  /// Name and value of a header, in the order sent, the name as the client spelt it.
  std::pair<std::string_view, std::string_view> header_at(std::size_t index) const noexcept {
    return {view(headers_[index].first), view(headers_[index].second)};
  }
  /// The first header of that name, whatever its case; nothing if there is none.
  std::optional<std::string_view> header(std::string_view name) const noexcept;

  /// The body, de-chunked. Its capacity leaves room for simdjson's padding.
  std::string body;

 private:
  friend class HeadParser;

  std::string_view view(Span span) const noexcept { return {head_.data() + span.begin, span.size}; }

  std::string head_;
  std::vector<std::pair<Span, Span>> headers_;
  std::optional<std::string> decoded_;  ///< the path if it held percent signs
  Span method_, target_, path_, query_, content_type_;
};

/// The bytes of an answer: text of its own, or memory that an owner keeps alive and that is
/// written without a copy. The owner may be released on any thread, never under a lock.
class Body {
 public:
  Body() = default;
  Body(std::string text) : text_(std::move(text)) {}  // NOLINT(google-explicit-constructor): a string is a body
  Body(std::shared_ptr<const void> owner, std::string_view bytes) : owner_(std::move(owner)), shared_(bytes) {}

  std::string_view bytes() const noexcept { return owner_ ? shared_ : std::string_view(text_); }
  bool is_shared() const noexcept { return owner_ != nullptr; }

 private:
  std::string text_;
  std::shared_ptr<const void> owner_;
  std::string_view shared_;
};

/// One HTTP answer. Length, connection and date headers are added by the server; such headers set
/// here are ignored, and control characters in the others become spaces.
struct Response {
  int status = 200;
  std::string content_type;  ///< empty: no such header
  std::vector<std::pair<std::string, std::string>> headers;
  Body body;
};

/// An answer with body `{"error": text}` and the exact type that protocol clients compare with.
Response error_response(int status, std::string_view text);

/// True if both are equal when ASCII case is ignored.
bool equals_ignoring_case(std::string_view a, std::string_view b) noexcept;

/// The status and headers of an HTTP/2 answer, the date among them, and the length if the body is there as a whole.
std::vector<std::pair<std::string, std::string>> fields_of(const Response& response, bool whole = true);

/// How an answer is framed; follows from the request it answers.
struct Framing {
  bool http10 = false;
  bool close = false;    ///< the connection ends after this answer
  bool chunked = false;  ///< the body comes in parts, its length is not known
};

/// Appends a part of a body that comes in parts, and behind the last one its end.
void append_part(std::string& out, std::string_view part, bool last);

/// Appends the status line and headers of `response`, up to and including the empty line.
void append_head(std::string& out, const Response& response, Framing framing);

}  // namespace penstock::http
