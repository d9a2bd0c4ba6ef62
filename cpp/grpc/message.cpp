#include <grpc/message.hpp>

#include <algorithm>
#include <cstring>
#include <utility>

#include <zlib.h>

#include <grpc/status.hpp>

namespace penstock::grpc {
namespace {

constexpr std::size_t kWorthIt = 1024;           ///< bytes of a message from which on it is compressed
constexpr std::size_t kFirstStep = 1024 * 1024;  ///< bytes to make room for before more than that has come

std::size_t length_in(const unsigned char* bytes) noexcept {
  return (std::size_t{bytes[0]} << 24) | (std::size_t{bytes[1]} << 16) | (std::size_t{bytes[2]} << 8) | bytes[3];
}

std::shared_ptr<std::uint64_t[]> allocate(std::size_t bytes) {
  return std::make_shared_for_overwrite<std::uint64_t[]>(bytes / sizeof(std::uint64_t) + 1);
}

[[noreturn]] void refuse_size(std::size_t limit) {
  throw StatusError(Code::kResourceExhausted,
                    "the message is larger than the limit of " + std::to_string(limit) + " bytes");
}

/// Undoes gzip or deflate; zlib tells them apart by their first bytes.
Message inflated(std::string_view packed, std::size_t limit) {
  z_stream stream{};
  if (inflateInit2(&stream, 15 + 32) != Z_OK) throw std::bad_alloc();
  const std::unique_ptr<z_stream, int (*)(z_stream*)> end(&stream, &inflateEnd);
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(packed.data()));
  stream.avail_in = static_cast<uInt>(packed.size());
  std::size_t capacity = std::min(limit, std::max<std::size_t>(packed.size() * 4, 4096));
  std::size_t size = 0;
  auto memory = allocate(capacity);
  for (;;) {
    stream.next_out = reinterpret_cast<Bytef*>(memory.get()) + size;
    stream.avail_out = static_cast<uInt>(capacity - size);
    const int outcome = inflate(&stream, Z_NO_FLUSH);
    size = capacity - stream.avail_out;
    if (outcome == Z_STREAM_END) break;
    const bool full = stream.avail_out == 0;
    if ((outcome != Z_OK && outcome != Z_BUF_ERROR) || !full)
      throw StatusError(Code::kInternal, "the message cannot be decompressed");
    if (capacity >= limit) refuse_size(limit);
    capacity = std::min(limit, capacity * 2);
    auto larger = allocate(capacity);
    std::memcpy(larger.get(), memory.get(), size);
    memory = std::move(larger);
  }
  const auto* bytes = reinterpret_cast<const char*>(memory.get());
  return {std::move(memory), {bytes, size}};
}

}  // namespace

std::optional<Encoding> encoding_from(std::string_view name) noexcept {
  if (name.empty() || name == "identity") return Encoding::kIdentity;
  if (name == "gzip") return Encoding::kGzip;
  if (name == "deflate") return Encoding::kDeflate;
  return std::nullopt;
}

Encoding encoding_back(Encoding encoding, std::string_view accepted) noexcept {
  const std::string_view name = http::name_of(encoding);
  while (!accepted.empty()) {
    const std::size_t end = std::min(accepted.find(','), accepted.size());
    std::string_view one = accepted.substr(0, end);
    while (!one.empty() && one.front() == ' ') one.remove_prefix(1);
    while (!one.empty() && one.back() == ' ') one.remove_suffix(1);
    if (one == name) return encoding;
    accepted.remove_prefix(std::min(end + 1, accepted.size()));
  }
  return Encoding::kIdentity;
}

std::optional<Message> Deframer::take(std::string_view& bytes) {
  if (head_size_ < head_.size()) {
    const std::size_t taken = std::min(bytes.size(), head_.size() - head_size_);
    std::memcpy(head_.data() + head_size_, bytes.data(), taken);
    head_size_ += taken;
    bytes.remove_prefix(taken);
    if (head_size_ < head_.size()) return std::nullopt;
    begin();
  }
  const std::size_t taken = std::min(bytes.size(), length_ - size_);
  if (size_ + taken > capacity_) grow(length_);
  if (taken > 0) std::memcpy(reinterpret_cast<char*>(memory_.get()) + size_, bytes.data(), taken);
  size_ += taken;
  bytes.remove_prefix(taken);
  if (size_ < length_) return std::nullopt;
  return finish();
}

void Deframer::begin() {
  if (head_[0] > 1) throw StatusError(Code::kInternal, "malformed prefix of a message");
  if (head_[0] == 1 && encoding_ == Encoding::kIdentity)
    throw StatusError(Code::kInternal, "a message is compressed, but there is no grpc-encoding");
  length_ = length_in(head_.data() + 1);
  if (length_ > limit_) refuse_size(limit_);
  size_ = 0;
  grow(std::min(length_, kFirstStep));
}

void Deframer::grow(std::size_t capacity) {
  auto larger = allocate(capacity);
  if (size_ > 0) std::memcpy(larger.get(), memory_.get(), size_);
  memory_ = std::move(larger);
  capacity_ = capacity;
}

Message Deframer::finish() {
  const auto* text = reinterpret_cast<const char*>(memory_.get());
  Message message{std::move(memory_), {text, length_}};
  memory_.reset();
  head_size_ = capacity_ = size_ = 0;
  if (head_[0] == 1) return inflated(message.bytes, limit_);
  return message;
}

void Pieces::add(std::string&& text) { add(http::Body(std::move(text))); }

void Pieces::add(http::Body&& body) {
  size += body.bytes().size();
  bodies.push_back(std::move(body));
}

void Pieces::pack(Encoding encoding) {
  if (encoding == Encoding::kIdentity || size < kWorthIt) return;
  std::string whole;
  whole.reserve(size);
  for (const http::Body& body : bodies) whole.append(body.bytes());
  std::string smaller = http::pack(whole, encoding);
  if (smaller.empty() || smaller.size() >= size) return;
  bodies.clear();
  size = 0;
  add(std::move(smaller));
  packed = true;
}

void Pieces::frame() {
  std::string prefix(5, packed ? '\1' : '\0');
  for (std::size_t i = 0; i < 4; ++i) prefix[1 + i] = static_cast<char>((size >> (24 - 8 * i)) & 0xFF);
  size += prefix.size();
  bodies.insert(bodies.begin(), http::Body(std::move(prefix)));
}

}  // namespace penstock::grpc
