#include <penstock/ids.hpp>

#include <cstdint>
#include <random>

namespace penstock {

std::string make_id() {
  static thread_local std::mt19937_64 random{(std::uint64_t{std::random_device{}()} << 32U) ^ std::random_device{}()};
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string id(32, '0');
  std::uint64_t bits = 0;
  for (std::size_t i = 0; i < id.size(); ++i) {
    if (i % 16 == 0) bits = random();
    id[i] = kDigits[(bits >> (4 * (i % 16))) & 15U];
  }
  id[12] = '4';
  return id;
}

}  // namespace penstock
