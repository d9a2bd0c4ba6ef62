#include <penstock/percent.hpp>

namespace penstock {
namespace {

int hex_value(char c) noexcept {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

}  // namespace

std::optional<std::string> percent_decoded(std::string_view text) {
  std::string decoded;
  decoded.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      decoded += text[i];
      continue;
    }
    if (i + 2 >= text.size()) return std::nullopt;
    const int high = hex_value(text[i + 1]);
    const int low = hex_value(text[i + 2]);
    if (high < 0 || low < 0) return std::nullopt;
    const int byte = high * 16 + low;
    if (byte < 0x20 || byte == 0x7F) return std::nullopt;
    decoded += static_cast<char>(byte);
    i += 2;
  }
  return decoded;
}

std::string as_path_part(std::string_view name) {
  constexpr std::string_view kHex = "0123456789ABCDEF";
  std::string part;
  part.reserve(name.size());
  for (const char c : name) {
    if (std::string_view("/?#%").find(c) == std::string_view::npos) {
      part += c;
      continue;
    }
    const auto byte = static_cast<unsigned char>(c);
    part += '%';
    part += kHex[byte >> 4];
    part += kHex[byte & 15];
  }
  return part;
}

}  // namespace penstock
