#include <http/compression.hpp>

#include <algorithm>
#include <memory>
#include <new>
#include <utility>

#include <zlib.h>

namespace penstock::http {
namespace {

constexpr std::size_t kWorthIt = 1024;  ///< bytes of an answer from which on it is packed
constexpr std::size_t kFirstStep = 16 * 1024;
constexpr std::size_t kParserRoom = 64;  ///< behind the body, so that simdjson need not copy it
constexpr int kFastest = 1;
constexpr int kWindow = 15;
constexpr int kGzipWindow = kWindow + 16;
constexpr int kDetect = kWindow + 32;  ///< gzip or zlib, by their first bytes
constexpr int kMemory = 8;

using Ending = std::unique_ptr<z_stream, int (*)(z_stream*)>;

std::string_view trimmed(std::string_view text) noexcept {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

/// Cuts what is ahead of the first `mark` off `text`.
std::string_view cut(std::string_view& text, char mark) noexcept {
  const std::size_t at = text.find(mark);
  const std::string_view part = text.substr(0, at);
  text.remove_prefix(at == std::string_view::npos ? text.size() : at + 1);
  return trimmed(part);
}

/// A weight such as "0.5", in thousandths; 0 if it is none.
int weight_of(std::string_view parameters) noexcept {
  while (!parameters.empty()) {
    std::string_view parameter = cut(parameters, ';');
    if (parameter.size() < 3 || (parameter[0] != 'q' && parameter[0] != 'Q') || parameter[1] != '=') continue;
    parameter.remove_prefix(2);
    if (parameter[0] == '1') return 1000;
    int weight = 0;
    int unit = 100;
    for (const char digit : parameter.substr(std::min<std::size_t>(parameter.size(), 2))) {
      if (digit < '0' || digit > '9') return 0;
      weight += (digit - '0') * unit;
      unit /= 10;
    }
    return weight;
  }
  return 1000;
}

/// Some clients send deflate without the wrapping that it should have.
bool is_wrapped(std::string_view body) noexcept {
  if (body.size() < 2) return true;
  const auto first = static_cast<unsigned char>(body[0]);
  const auto second = static_cast<unsigned char>(body[1]);
  return (first & 0x0FU) == 8 && (first * 256U + second) % 31 == 0;
}

}  // namespace

std::optional<Coding> coding_from(std::string_view content_encoding) noexcept {
  const std::string_view name = trimmed(content_encoding);
  if (name.empty() || equals_ignoring_case(name, "identity")) return Coding::kIdentity;
  if (equals_ignoring_case(name, "gzip") || equals_ignoring_case(name, "x-gzip")) return Coding::kGzip;
  if (equals_ignoring_case(name, "deflate")) return Coding::kDeflate;
  return std::nullopt;
}

std::string_view name_of(Coding coding) noexcept {
  return coding == Coding::kGzip ? "gzip" : coding == Coding::kDeflate ? "deflate" : "identity";
}

Coding chosen_coding(std::string_view accept_encoding) noexcept {
  int gzip = -1;
  int deflate = -1;
  int others = 0;
  while (!accept_encoding.empty()) {
    std::string_view rest = cut(accept_encoding, ',');
    const std::string_view name = cut(rest, ';');
    const int weight = weight_of(rest);
    if (name == "*") others = weight;
    const auto coding = name.empty() ? std::optional<Coding>() : coding_from(name);
    if (coding == Coding::kGzip) gzip = weight;
    if (coding == Coding::kDeflate) deflate = weight;
  }
  gzip = gzip < 0 ? others : gzip;
  deflate = deflate < 0 ? others : deflate;
  if (gzip <= 0 && deflate <= 0) return Coding::kIdentity;
  return gzip >= deflate ? Coding::kGzip : Coding::kDeflate;
}

Unpacked unpack(std::string& body, Coding coding, std::size_t limit) {
  if (coding == Coding::kIdentity) return body.size() > limit ? Unpacked::kTooLarge : Unpacked::kDone;
  z_stream stream{};
  const bool bare = coding == Coding::kDeflate && !is_wrapped(body);
  if (inflateInit2(&stream, bare ? -kWindow : kDetect) != Z_OK) throw std::bad_alloc();
  const Ending end(&stream, &inflateEnd);
  stream.next_in = reinterpret_cast<Bytef*>(body.data());
  stream.avail_in = static_cast<uInt>(body.size());
  std::string out;
  std::size_t size = 0;
  // One byte more than the limit, so that what is exactly as large is told from what is larger.
  std::size_t room = std::min(limit + 1, std::max(kFirstStep, body.size() * 4));
  for (;;) {
    out.reserve(room + kParserRoom);
    out.resize(room);
    stream.next_out = reinterpret_cast<Bytef*>(out.data()) + size;
    stream.avail_out = static_cast<uInt>(room - size);
    const int outcome = inflate(&stream, Z_NO_FLUSH);
    size = room - stream.avail_out;
    if (size > limit) return Unpacked::kTooLarge;
    if (outcome == Z_STREAM_END) {
      if (stream.avail_in == 0) break;
      if (coding != Coding::kGzip || inflateReset(&stream) != Z_OK) return Unpacked::kMalformed;
      continue;  // gzip may have several members, one after another
    }
    if ((outcome != Z_OK && outcome != Z_BUF_ERROR) || stream.avail_out != 0) return Unpacked::kMalformed;
    room = std::min(limit + 1, room * 2);
  }
  out.resize(size);
  body = std::move(out);
  return Unpacked::kDone;
}

std::string pack(std::string_view bytes, Coding coding) {
  z_stream stream{};
  const int window = coding == Coding::kGzip ? kGzipWindow : kWindow;
  if (deflateInit2(&stream, kFastest, Z_DEFLATED, window, kMemory, Z_DEFAULT_STRATEGY) != Z_OK) return {};
  const Ending end(&stream, &deflateEnd);
  std::string out(deflateBound(&stream, static_cast<uLong>(bytes.size())), '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
  stream.avail_in = static_cast<uInt>(bytes.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  if (deflate(&stream, Z_FINISH) != Z_STREAM_END) return {};
  out.resize(stream.total_out);
  return out;
}

std::optional<Response> unpack_body(Request& request, std::size_t limit) {
  const auto encoding = request.header("Content-Encoding");
  if (!encoding) return std::nullopt;
  const auto coding = coding_from(*encoding);
  if (!coding) {
    Response refused = error_response(415, "this Content-Encoding is not served, use gzip or deflate");
    refused.headers.emplace_back("Accept-Encoding", "gzip, deflate");
    return refused;
  }
  if (request.body.empty()) return std::nullopt;
  switch (unpack(request.body, *coding, limit)) {
    case Unpacked::kDone:
      return std::nullopt;
    case Unpacked::kMalformed:
      return error_response(400, "the body is not what its Content-Encoding says");
    case Unpacked::kTooLarge:
      break;
  }
  return error_response(413, "the body holds more than the limit of " + std::to_string(limit) + " bytes");
}

void compress(Response& response, Coding coding) {
  const std::string_view bytes = response.body.bytes();
  const auto& headers = response.headers;
  if (bytes.size() < kWorthIt || std::any_of(headers.begin(), headers.end(), [](const auto& header) {
        return equals_ignoring_case(header.first, "Content-Encoding");
      }))
    return;
  response.headers.emplace_back("Vary", "Accept-Encoding");
  if (coding == Coding::kIdentity) return;
  std::string packed = pack(bytes, coding);
  if (packed.empty() || packed.size() >= bytes.size()) return;
  response.headers.emplace_back("Content-Encoding", name_of(coding));
  response.body = std::move(packed);
}

}  // namespace penstock::http
