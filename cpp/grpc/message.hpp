#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <http/compression.hpp>
#include <http/message.hpp>

namespace penstock::grpc {

/// One message, whole and decompressed, in memory that `storage` keeps alive. It begins at an
/// address that is a multiple of 8.
struct Message {
  std::shared_ptr<const void> storage;
  std::string_view bytes;
};

/// How the messages of a call are compressed, if their flag says so.
using Encoding = http::Coding;

/// The encoding of a "grpc-encoding"; nothing if it is none that is served.
std::optional<Encoding> encoding_from(std::string_view name) noexcept;
/// How answers to a client that sends `encoding` are compressed: likewise, if its "grpc-accept-encoding" has that.
Encoding encoding_back(Encoding encoding, std::string_view accepted) noexcept;

/// Cuts what comes on a stream into messages. Not thread-safe.
class Deframer {
 public:
  /// Larger messages, also once decompressed, are refused.
  Deframer(std::size_t limit, Encoding encoding) : limit_(limit), encoding_(encoding) {}

  /// Takes from the front of `bytes` as much as belongs to the next message, and returns it once it
  /// is whole. Throws StatusError; the call is over then.
  std::optional<Message> take(std::string_view& bytes);
  /// Whether a message has come in part.
  [[nodiscard]] bool within() const noexcept { return head_size_ > 0; }
  [[nodiscard]] std::size_t received() const noexcept { return size_; }

 private:
  void begin();
  void grow(std::size_t capacity);
  Message finish();

  const std::size_t limit_;
  const Encoding encoding_;
  std::array<unsigned char, 5> head_{};
  std::size_t head_size_ = 0;
  std::shared_ptr<std::uint64_t[]> memory_;
  std::size_t capacity_ = 0;  ///< of memory_, in bytes
  std::size_t length_ = 0;    ///< of the message
  std::size_t size_ = 0;      ///< bytes of it that are there
};

/// A message that goes out, in pieces, so that tensors need not be copied.
struct Pieces {
  std::vector<http::Body> bodies;

  void add(std::string&& text);
  void add(http::Body&& body);
  /// Compresses it, if that makes it smaller. Before `frame`.
  void pack(Encoding encoding);
  /// Puts the prefix of a message in front.
  void frame();

  std::size_t size = 0;
  bool packed = false;
};

}  // namespace penstock::grpc
