#include <http/message.hpp>

#include <algorithm>
#include <array>
#include <cassert>
#include <charconv>
#include <ctime>
#include <iterator>

#include <boost/beast/http/status.hpp>

#include <penstock/json_text.hpp>

namespace penstock::http {
namespace {

constexpr char lower(char c) noexcept { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }

template <class Integer>
void append_number(std::string& out, Integer number) {
  std::array<char, 24> text;
  const auto end = std::to_chars(text.data(), text.data() + text.size(), number).ptr;
  out.append(text.data(), end);
}

/// The value of a Date header. Made once a second and thread; names are spelt here because
/// strftime's follow the locale.
std::string_view date_now() {
  constexpr std::array<const char*, 7> kDays{"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
  constexpr std::array<const char*, 12> kMonths{"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                                "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  thread_local std::time_t made_at = -1;
  thread_local std::array<char, 64> text;
  thread_local std::size_t length = 0;
  const std::time_t now = std::time(nullptr);
  if (now != made_at) {
    std::tm t{};
    gmtime_r(&now, &t);
    length = static_cast<std::size_t>(std::snprintf(
        text.data(), text.size(), "%s, %02d %s %d %02d:%02d:%02d GMT", kDays[static_cast<std::size_t>(t.tm_wday)],
        t.tm_mday, kMonths[static_cast<std::size_t>(t.tm_mon)], t.tm_year + 1900, t.tm_hour, t.tm_min, t.tm_sec));
    made_at = now;
  }
  return {text.data(), length};
}

bool is_ours(std::string_view name) noexcept {
  constexpr std::array<std::string_view, 6> kOurs{"content-length", "transfer-encoding", "connection", "keep-alive",
                                                  "date",           "content-type"};
  return std::any_of(kOurs.begin(), kOurs.end(),
                     [name](std::string_view ours) { return equals_ignoring_case(ours, name); });
}

bool is_token(std::string_view name) noexcept {
  constexpr std::string_view kMarks = "!#$%&'*+-.^_`|~";
  return !name.empty() && std::all_of(name.begin(), name.end(), [&](char c) {
    const char l = lower(c);
    return (l >= 'a' && l <= 'z') || (c >= '0' && c <= '9') || kMarks.find(c) != std::string_view::npos;
  });
}

/// Appends a header's value; a line end in it must not start another header.
void append_value(std::string& out, std::string_view value) {
  for (const char c : value) {
    const auto byte = static_cast<unsigned char>(c);
    out += byte < 0x20 || byte == 0x7F ? ' ' : c;
  }
}

void append_status_line(std::string& out, int status, bool http10) {
  if (status == 200 && !http10) {
    out += "HTTP/1.1 200 OK\r\n";
    return;
  }
  const auto reason =
      boost::beast::http::obsolete_reason(boost::beast::http::int_to_status(static_cast<unsigned>(status)));
  out += http10 ? "HTTP/1.0 " : "HTTP/1.1 ";
  append_number(out, status);
  out += ' ';
  out.append(reason.data(), reason.size());
  out += "\r\n";
}

}  // namespace

bool equals_ignoring_case(std::string_view a, std::string_view b) noexcept {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](char x, char y) { return lower(x) == lower(y); });
}

std::optional<std::string_view> Request::header(std::string_view name) const noexcept {
  for (const auto& [key, value] : headers_)
    if (equals_ignoring_case(view(key), name)) return view(value);
  return std::nullopt;
}

Response error_response(int status, std::string_view text) {
  std::string body = "{\"error\": ";
  append_json_string(body, text);
  body += '}';
  return {status, "application/json", {}, Body(std::move(body))};
}

std::vector<std::pair<std::string, std::string>> fields_of(const Response& response, bool whole) {
  std::vector<std::pair<std::string, std::string>> fields{{":status", std::to_string(response.status)}};
  const auto add = [&fields](std::string_view name, std::string_view value) {
    auto& [key, text] = fields.emplace_back();
    std::transform(name.begin(), name.end(), std::back_inserter(key), lower);
    append_value(text, value);
  };
  if (!response.content_type.empty()) add("content-type", response.content_type);
  if (whole && response.status != 204 && response.status != 304)
    add("content-length", std::to_string(response.body.bytes().size()));
  for (const auto& [name, value] : response.headers)
    if (is_token(name) && !is_ours(name)) add(name, value);
  add("date", date_now());
  return fields;
}

void append_part(std::string& out, std::string_view part, bool last) {
  if (!part.empty()) {
    std::array<char, 16> size{};
    const auto end = std::to_chars(size.data(), size.data() + size.size(), part.size(), 16).ptr;
    out.append(size.data(), end);
    out.append("\r\n").append(part).append("\r\n");
  }
  if (last) out += "0\r\n\r\n";
}

void append_head(std::string& out, const Response& response, Framing framing) {
  assert(response.status >= 200 && response.status <= 999);
  append_status_line(out, response.status, framing.http10);
  if (!response.content_type.empty()) {
    out += "Content-Type: ";
    append_value(out, response.content_type);
    out += "\r\n";
  }
  if (framing.chunked) {
    out += "Transfer-Encoding: chunked\r\n";
  } else if (response.status != 204 && response.status != 304) {
    out += "Content-Length: ";
    append_number(out, response.body.bytes().size());
    out += "\r\n";
  }
  for (const auto& [name, value] : response.headers) {
    if (!is_token(name) || is_ours(name)) continue;
    out += name;
    out += ": ";
    append_value(out, value);
    out += "\r\n";
  }
  if (framing.close)
    out += "Connection: close\r\n";
  else if (framing.http10)
    out += "Connection: keep-alive\r\n";
  out += "Date: ";
  out += date_now();
  out += "\r\n\r\n";
}

}  // namespace penstock::http
