#include <penstock/oip_json.hpp>

#include <algorithm>
#include <cstring>
#include <utility>

namespace penstock {
namespace {

[[noreturn]] void refuse(const std::string& text) { throw BadRequest(text); }

std::size_t count_in(const Tensor& tensor) {
  const std::optional<std::size_t> count = element_count(tensor.shape);
  if (!count) refuse("shape " + shape_text(tensor.shape) + " is too large");
  return *count;
}

void read_raw_strings(std::string_view raw, Tensor& tensor) {
  const std::size_t count = count_in(tensor);
  std::uint32_t length = 0;
  if (count > raw.size() / sizeof length)
    refuse(std::to_string(raw.size()) + " bytes are too few for shape " + shape_text(tensor.shape));
  tensor.strings.reserve(count);
  while (!raw.empty()) {
    if (tensor.strings.size() == count)
      refuse("there are more than the " + std::to_string(count) + " values of shape " + shape_text(tensor.shape));
    if (raw.size() >= sizeof length) std::memcpy(&length, raw.data(), sizeof length);
    if (raw.size() < sizeof length || raw.size() - sizeof length < length)
      refuse("element " + std::to_string(tensor.strings.size()) + " is longer than its bytes");
    tensor.strings.emplace_back(raw.substr(sizeof length, length));
    raw.remove_prefix(sizeof length + length);
  }
  if (tensor.strings.size() != count)
    refuse(std::to_string(tensor.strings.size()) + " values for shape " + shape_text(tensor.shape));
}

}  // namespace

void read_raw(std::string_view raw, const std::shared_ptr<const void>& storage, Tensor& tensor) {
  if (tensor.type == DataType::kBytes) return read_raw_strings(raw, tensor);
  const std::size_t size = size_of(tensor.type);
  const std::size_t expected = count_in(tensor) * size;
  if (raw.size() != expected)
    refuse(std::to_string(raw.size()) + " bytes, but shape " + shape_text(tensor.shape) + " needs " +
           std::to_string(expected));
  if (tensor.type == DataType::kBool &&
      std::any_of(raw.begin(), raw.end(), [](char c) { return static_cast<unsigned char>(c) > 1; }))
    refuse("the bytes of a BOOL are 0 or 1");
  tensor.size = raw.size();
  if (reinterpret_cast<std::uintptr_t>(raw.data()) % size == 0) {
    tensor.data = reinterpret_cast<const std::byte*>(raw.data());
    tensor.storage = storage;
    return;
  }
  const auto copy = std::make_shared_for_overwrite<std::uint64_t[]>(raw.size() / sizeof(std::uint64_t) + 1);
  std::memcpy(copy.get(), raw.data(), raw.size());
  tensor.data = reinterpret_cast<const std::byte*>(copy.get());
  tensor.storage = copy;
}

std::size_t raw_size(const Tensor& tensor) noexcept {
  if (tensor.type != DataType::kBytes) return tensor.size;
  std::size_t size = tensor.strings.size() * sizeof(std::uint32_t);
  for (const std::string& element : tensor.strings) size += element.size();
  return size;
}

void append_raw(std::string& out, const Tensor& tensor) {
  if (tensor.type != DataType::kBytes) {
    out.append(reinterpret_cast<const char*>(tensor.data), tensor.size);
    return;
  }
  for (const std::string& element : tensor.strings) {
    const auto length = static_cast<std::uint32_t>(element.size());
    out.append(reinterpret_cast<const char*>(&length), sizeof length);
    out += element;
  }
}

}  // namespace penstock
