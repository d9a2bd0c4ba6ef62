#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include <http/message.hpp>

namespace penstock::http {

/// How a body is packed.
enum class Coding : std::uint8_t { kIdentity, kGzip, kDeflate };

/// The coding that a Content-Encoding names; nothing if it is not served.
std::optional<Coding> coding_from(std::string_view content_encoding) noexcept;

/// The coding to answer in, by an Accept-Encoding: the one the client likes best, gzip of equals.
Coding chosen_coding(std::string_view accept_encoding) noexcept;

/// The value of a Content-Encoding.
std::string_view name_of(Coding coding) noexcept;

/// What came of unpacking a body.
enum class Unpacked : std::uint8_t { kDone, kMalformed, kTooLarge };

/// Replaces `body` by what it holds, which is at most `limit` bytes: no more is ever made room for.
Unpacked unpack(std::string& body, Coding coding, std::size_t limit);

/// `bytes` packed, fast rather than small; empty if that fails.
std::string pack(std::string_view bytes, Coding coding);

/// Unpacks a request's body as its Content-Encoding says; the refusal if that cannot be done.
std::optional<Response> unpack_body(Request& request, std::size_t limit);

/// Packs an answer's body if that is worth it.
void compress(Response& response, Coding coding);

}  // namespace penstock::http
