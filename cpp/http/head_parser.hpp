#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include <boost/beast/http/basic_parser.hpp>

#include <http/limits.hpp>
#include <http/message.hpp>

namespace penstock::http {

/// Why a request is not taken; `status` 0 means that nothing is wrong.
struct Refusal {
  int status = 0;
  const char* text = "";
  explicit operator bool() const noexcept { return status != 0; }
};

/// Judges a head that has only partly arrived, so that what cannot become right is refused at once.
/// Its first `checked` bytes were there before.
Refusal check_partial_head(std::string_view head, std::size_t checked, const Limits& limits) noexcept;

/// Reads one request: first its whole head, then, if it is chunked, its body. A body with a length
/// is left to the caller, who can read it straight into place.
///
/// Beast does the grammar; what it lets through (folded lines, lengths beside encodings, encodings
/// it does not know, chunks in HTTP/1.0) is refused here, before any of the body is looked at.
class HeadParser final : private boost::beast::http::basic_parser<true> {
 public:
  explicit HeadParser(const Limits& limits);

  /// Parses `head`, which ends with the empty line, and fills `request` up to its body.
  Refusal parse_head(std::string_view head, Request& request);

  bool chunked_body() const noexcept { return chunked_; }
  std::size_t body_length() const noexcept { return length_; }  ///< 0 if chunked
  bool keeps_alive() const noexcept { return keep_alive(); }
  bool http10() const noexcept { return version_ == 10; }
  bool head_only() const noexcept { return head_only_; }
  bool expects_continue() const noexcept { return expects_continue_; }

  /// Feeds the bytes of a chunked body and appends what they hold to the request's body. `used`
  /// becomes how many were taken; the rest is to come again with more behind it.
  Refusal parse_chunks(std::string_view bytes, std::size_t& used);
  bool chunks_done() const noexcept { return is_done(); }

 private:
  using Error = boost::beast::error_code;
  using Text = boost::beast::string_view;
  using Field = boost::beast::http::field;

  void on_request_impl(boost::beast::http::verb, Text method, Text target, int version, Error& error) override;
  void on_field_impl(Field field, Text name, Text value, Error& error) override;
  void on_header_impl(Error& error) override;
  void on_chunk_header_impl(std::uint64_t size, Text extension, Error& error) override;
  std::size_t on_chunk_body_impl(std::uint64_t remain, Text body, Error& error) override;
  void on_response_impl(int, Text, int, Error&) override {}
  void on_body_init_impl(const boost::optional<std::uint64_t>&, Error&) override {}
  std::size_t on_body_impl(Text body, Error&) override { return body.size(); }
  void on_finish_impl(Error&) override {}

  Request::Span span(Text part) const noexcept;
  void set_target(Text target, Error& error);
  void refuse(int status, const char* text, Error& error) noexcept;
  Refusal outcome(const Error& error, std::string_view bytes) const noexcept;

  const Limits& limits_;
  Request* request_ = nullptr;
  Refusal refusal_;
  std::size_t length_ = 0;
  std::size_t chunks_ = 0;
  int version_ = 11;
  int hosts_ = 0;
  int lengths_ = 0;
  int encodings_ = 0;
  bool head_done_ = false;
  bool chunked_ = false;
  bool head_only_ = false;
  bool expects_continue_ = false;
};

}  // namespace penstock::http
