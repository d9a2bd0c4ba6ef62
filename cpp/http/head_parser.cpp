#include <http/head_parser.hpp>

#include <algorithm>
#include <cassert>
#include <charconv>
#include <limits>

#include <boost/beast/http/error.hpp>

#include <penstock/json_text.hpp>
#include <penstock/percent.hpp>

namespace penstock::http {
namespace {

namespace beast = boost::beast;

constexpr std::size_t kBodyPadding = 64;  ///< what simdjson reads behind a text
constexpr std::size_t kChunkExtension = 1024;

/// Whether a line ends without a CR, from `checked` on.
bool has_bare_lf(std::string_view text, std::size_t checked = 0) noexcept {
  for (std::size_t i = text.find('\n', checked); i != std::string_view::npos; i = text.find('\n', i + 1))
    if (i == 0 || text[i - 1] != '\r') return true;
  return false;
}

Refusal check_request_line(std::string_view line, const Limits& limits) noexcept {
  const std::size_t first = line.find(' ');
  const std::size_t second = first == std::string_view::npos ? first : line.find(' ', first + 1);
  const std::size_t end = second == std::string_view::npos ? line.size() : second;
  if (first == std::string_view::npos)
    return line.size() > limits.url_bytes ? Refusal{400, "malformed request line"} : Refusal{};
  if (end - first - 1 > limits.url_bytes) return {414, "the URL is too long"};
  return {};
}

bool has_control_character(std::string_view line) noexcept {
  return std::any_of(line.begin(), line.end(), [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return (byte < 0x20 && byte != '\t') || byte == 0x7F;
  });
}

/// What must hold for every line of a head before its meaning is looked at.
Refusal check_lines(std::string_view head, const Limits& limits) noexcept {
  std::size_t lines = 0;
  while (head.size() > 2) {
    const std::size_t end = head.find("\r\n");
    const std::string_view line = head.substr(0, end);
    if (lines == 0) {
      if (const Refusal refusal = check_request_line(line, limits)) return refusal;
    } else if (line.size() > limits.header_bytes) {
      return {431, "a header is too long"};
    } else if (line.front() == ' ' || line.front() == '\t') {
      return {400, "folded headers are not accepted"};
    }
    if (has_control_character(line)) return {400, "control character in the request head"};
    if (lines++ > limits.headers) return {431, "too many headers"};
    head.remove_prefix(end + 2);
  }
  return {};
}

/// True if the line asks for an HTTP version that exists but is not served here.
bool names_other_version(std::string_view head) noexcept {
  const std::string_view line = head.substr(0, head.find("\r\n"));
  if (line.size() < 9) return false;
  const std::string_view version = line.substr(line.size() - 9);
  return version.substr(0, 6) == " HTTP/" && version[6] >= '0' && version[6] <= '9' && version[7] == '.' &&
         version[8] >= '0' && version[8] <= '9';
}

}  // namespace

Refusal check_partial_head(std::string_view head, std::size_t checked, const Limits& limits) noexcept {
  if (has_bare_lf(head, checked)) return {400, "lines must end with CR LF"};
  const std::size_t end = head.find("\r\n");
  if (const Refusal refusal = check_request_line(head.substr(0, end), limits)) return refusal;
  if (end == std::string_view::npos) return {};
  if (head.size() - end > limits.headers * limits.header_bytes) return {431, "the headers are too large"};
  const std::size_t last = head.rfind("\r\n");
  if (head.size() - last > limits.header_bytes + 2) return {431, "a header is too long"};
  return {};
}

HeadParser::HeadParser(const Limits& limits) : limits_(limits) {
  header_limit(std::numeric_limits<std::uint32_t>::max());
  body_limit(std::numeric_limits<std::uint64_t>::max());  // Beast 1.74 takes "none" for 0; see on_header_impl
}

Refusal HeadParser::parse_head(std::string_view head, Request& request) {
  if (const Refusal refusal = check_lines(head, limits_)) return refusal;
  request_ = &request;
  request.head_.assign(head);
  request.headers_.reserve(16);
  const std::string_view copy = request.head_;
  Error error;
  put({copy.data(), copy.size()}, error);
  const Refusal refusal = outcome(error, copy);
  if (!refusal) {
    head_done_ = true;
    eager(true);
  }
  return refusal;
}

Refusal HeadParser::parse_chunks(std::string_view bytes, std::size_t& used) {
  Error error;
  used = 0;
  if (bytes.empty()) return {};
  used = put({bytes.data(), bytes.size()}, error);
  if (error == beast::http::error::need_more) {
    const std::string_view rest = bytes.substr(used);  // of a chunk's first line, or of the trailer
    if (rest.size() > limits_.header_bytes || has_bare_lf(rest)) return {400, "malformed chunk"};
    return {};
  }
  return outcome(error, bytes);
}

Refusal HeadParser::outcome(const Error& error, std::string_view bytes) const noexcept {
  if (refusal_) return refusal_;
  if (!error) return {};
  if (error == beast::http::error::bad_version && names_other_version(bytes))
    return {505, "HTTP version not supported"};
  if (error == beast::http::error::bad_content_length) return {400, "malformed or conflicting Content-Length"};
  if (error == beast::http::error::bad_transfer_encoding) return {400, "malformed or conflicting Transfer-Encoding"};
  if (error == beast::http::error::bad_target) return {400, "malformed request target"};
  return head_done_ ? Refusal{400, "malformed chunk"} : Refusal{400, "malformed request head"};
}

void HeadParser::refuse(int status, const char* text, Error& error) noexcept {
  refusal_ = {status, text};
  error = beast::http::error::bad_value;
}

Request::Span HeadParser::span(Text part) const noexcept {
  return {static_cast<std::uint32_t>(part.data() - request_->head_.data()), static_cast<std::uint32_t>(part.size())};
}

void HeadParser::on_request_impl(beast::http::verb, Text method, Text target, int version, Error& error) {
  version_ = version;
  request_->method_ = span(method);
  head_only_ = method == "HEAD";
  set_target(target, error);
}

void HeadParser::set_target(Text whole, Error& error) {
  std::string_view target(whole.data(), whole.size());
  if (std::any_of(target.begin(), target.end(), [](char c) { return static_cast<unsigned char>(c) >= 0x7F; }))
    return refuse(400, "malformed request target", error);
  for (const std::string_view scheme : {"http://", "https://"}) {
    if (target.size() < scheme.size() || !equals_ignoring_case(target.substr(0, scheme.size()), scheme)) continue;
    const std::size_t slash = target.find('/', scheme.size());
    if (slash == std::string_view::npos) return refuse(400, "malformed request target", error);
    target.remove_prefix(slash);
  }
  if (target[0] != '/' && !(target == "*" && request_->method() == "OPTIONS"))
    return refuse(400, "malformed request target", error);
  const std::size_t mark = target.find('?');
  const std::string_view path = target.substr(0, mark);
  request_->target_ = span({target.data(), target.size()});
  request_->path_ = span({path.data(), path.size()});
  if (mark != std::string_view::npos) request_->query_ = span({target.data() + mark + 1, target.size() - mark - 1});
  if (path.find('%') == std::string_view::npos) return;
  request_->decoded_ = percent_decoded(path);
  if (!request_->decoded_ || !is_utf8(*request_->decoded_))
    refuse(400, "malformed percent-encoding in the path", error);
}

void HeadParser::on_field_impl(Field field, Text name, Text value, Error& error) {
  if (head_done_) return;  // a trailer; none has a meaning here
  const Request::Span content = value.empty() ? Request::Span{} : span(value);
  request_->headers_.emplace_back(span(name), content);
  switch (field) {
    case Field::host:
      ++hosts_;
      return;
    case Field::content_type:
      request_->content_type_ = content;
      return;
    case Field::content_length: {
      ++lengths_;
      const auto [end, failed] = std::from_chars(value.data(), value.data() + value.size(), length_);
      if (failed != std::errc{} || end != value.data() + value.size())
        refuse(400, "malformed or conflicting Content-Length", error);
      return;
    }
    case Field::transfer_encoding:
      ++encodings_;
      chunked_ = equals_ignoring_case({value.data(), value.size()}, "chunked");
      return;
    case Field::expect:
      if (!equals_ignoring_case({value.data(), value.size()}, "100-continue"))
        refuse(417, "only 100-continue can be expected", error);
      expects_continue_ = true;
      return;
    default:
      return;
  }
}

void HeadParser::on_header_impl(Error& error) {
  if (hosts_ > 1 || (hosts_ == 0 && version_ == 11)) return refuse(400, "exactly one Host header is needed", error);
  if (lengths_ > 1) return refuse(400, "malformed or conflicting Content-Length", error);
  if (encodings_ > 0) {
    if (lengths_ > 0) return refuse(400, "Content-Length and Transfer-Encoding exclude each other", error);
    if (version_ == 10) return refuse(400, "HTTP/1.0 has no Transfer-Encoding", error);
    if (encodings_ > 1 || !chunked_) return refuse(501, "the only Transfer-Encoding served is chunked", error);
  }
  if (length_ > limits_.body_bytes) return refuse(413, "the body is too large", error);
  if (version_ == 10) expects_continue_ = false;
}

void HeadParser::on_chunk_header_impl(std::uint64_t size, Text extension, Error& error) {
  if (++chunks_ > limits_.chunks) return refuse(413, "the body has too many chunks", error);
  if (extension.size() > kChunkExtension) return refuse(400, "malformed chunk", error);
  if (size > limits_.body_bytes - request_->body.size()) return refuse(413, "the body is too large", error);
}

std::size_t HeadParser::on_chunk_body_impl(std::uint64_t, Text body, Error&) {
  std::string& whole = request_->body;
  const std::size_t size = whole.size() + body.size();
  if (whole.capacity() < size + kBodyPadding) whole.reserve(size + size / 2 + kBodyPadding);
  whole.append(body.data(), body.size());
  return body.size();
}

}  // namespace penstock::http
