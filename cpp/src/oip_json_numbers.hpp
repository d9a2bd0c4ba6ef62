#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <utility>

#include <penstock/tensor.hpp>

#include "json_reader.hpp"

namespace penstock::json {

inline bool is_digit(char c) { return c >= '0' && c <= '9'; }

/// Reads a number that begins as one in JSON does; false if it does not go on so. Any number, but not quickly.
bool read_double(std::string_view text, double& number);

[[noreturn]] void refuse_element(std::size_t index, const Tensor& tensor);
[[noreturn]] void refuse_nesting(const Tensor& tensor);

/// Reads the text of a tensor's `data`, flat or nested as its shape says, into `to`, which has room for so many. An
/// image has 150,000 numbers: going through simdjson's iterators takes twice as long as reading them one after another.
///
/// simdjson has found the end of the array, so brackets match and all that is read lies within the text.
template <class T>
class NumberReader {
 public:
  NumberReader(const Tensor& tensor, std::string_view text, T* to, std::size_t room)
      : tensor_(tensor), to_(to), room_(room), at_(text.data()), end_(text.data() + text.size()) {}

  /// Returns the number of elements, which may be more than there was room for.
  std::size_t read() {
    const char* const begin = at_++;
    const bool nested = skip_space() == '[';
    at_ = begin;
    if (const std::int64_t rows = read_array(0, !nested); nested && rows != tensor_.shape[0]) refuse_nesting(tensor_);
    return count_;
  }

 private:
  static bool is_space(char c) { return c == ' ' || c == '\n' || c == '\r' || c == '\t'; }

  char skip_space() {
    while (is_space(*at_)) ++at_;
    return *at_;
  }

  /// Reads an array of numbers, or of arrays that are one deeper; returns how many.
  std::int64_t read_array(std::size_t depth, bool of_numbers) {
    ++at_;
    if (skip_space() == ']') {
      ++at_;
      return 0;
    }
    for (std::int64_t rows = 1;; ++rows) {
      if (of_numbers)
        read_one();
      else
        read_row(depth + 1);
      const char next = skip_space();
      ++at_;
      if (next == ']') return rows;
      if (next != ',') throw simdjson::simdjson_error(simdjson::TAPE_ERROR);
      skip_space();
    }
  }

  void read_row(std::size_t depth) {
    if (depth >= tensor_.shape.size() || *at_ != '[') refuse_nesting(tensor_);
    if (read_array(depth, depth + 1 == tensor_.shape.size()) != tensor_.shape[depth]) refuse_nesting(tensor_);
  }

  void read_one() {
    T element{};
    const bool read = parse(element);
    if (!read || !(is_space(*at_) || *at_ == ',' || *at_ == ']')) refuse_element(count_, tensor_);
    if (count_ < room_) to_[count_] = element;
    ++count_;
  }

  bool take(std::string_view word) {
    if (std::string_view(at_, std::min<std::size_t>(word.size(), end_ - at_)) != word) return false;
    at_ += word.size();
    return true;
  }

  bool parse(bool& element) {
    element = *at_ == 't';
    return take(element ? "true" : "false");
  }

  /// JSON wants a digit behind the sign and behind the point, and no zeros in front.
  bool starts_number() const {
    const char* at = at_ + (*at_ == '-' ? 1 : 0);
    return is_digit(*at) && !(*at == '0' && is_digit(at[1]));
  }

  template <class N>
    requires std::is_integral_v<N>
  bool parse(N& element) {
    if (!starts_number()) return false;
    const auto [end, error] = std::from_chars(at_, end_, element);
    at_ = end;
    return error == std::errc();
  }

  template <class N>
    requires std::is_floating_point_v<N>
  bool parse(N& element) {
    if (*at_ == 'n') {
      element = std::numeric_limits<N>::quiet_NaN();
      return take("null");
    }
    if (!starts_number()) return false;
    if (parse_quickly(element)) return true;
    const char* const begin = at_;
    while (!is_space(*at_) && *at_ != ',' && *at_ != ']') ++at_;
    double number = 0;
    if (!read_double({begin, static_cast<std::size_t>(at_ - begin)}, number)) return false;
    element = static_cast<N>(number);
    return !(element > std::numeric_limits<N>::max() || element < std::numeric_limits<N>::lowest());
  }

  /// Appends the digits at `at`, which moves past them, to `number`.
  static std::uint64_t digits(const char*& at, std::uint64_t number) {
    for (; is_digit(*at); ++at) number = 10 * number + static_cast<std::uint64_t>(*at - '0');
    return number;
  }

  /// The same for a fraction, which is long: eight at once, as long as there are so many. A text that simdjson reads
  /// has room behind it, so they can be looked at.
  static std::uint64_t many_digits(const char*& at, std::uint64_t number) {
    constexpr std::uint64_t kEach = 0x0101010101010101;
    constexpr std::uint64_t kPairs = 0x000000FF000000FF;
    while (std::endian::native == std::endian::little) {
      std::uint64_t eight = 0;
      std::memcpy(&eight, at, sizeof eight);
      const std::uint64_t others = ((eight + kEach * 0x46) | (eight - kEach * '0')) & (kEach * 0x80);
      if (others != 0) break;
      eight -= kEach * '0';
      eight = eight * 10 + (eight >> 8);
      eight = ((eight & kPairs) * 0x000F424000000064 + ((eight >> 16) & kPairs) * 0x0000271000000001) >> 32;
      number = number * 100'000'000 + eight;
      at += sizeof eight;
    }
    return digits(at, number);
  }

  /// Reads a number without an exponent and with few enough digits that one division gives it, rounded as it should be;
  /// false, with nothing taken, if it is another.
  template <class N>
  bool parse_quickly(N& element) {
    const bool negative = *at_ == '-';
    const char* at = at_ + (negative ? 1 : 0);
    const char* const first = at;
    std::uint64_t all = digits(at, 0);
    std::size_t behind = 0;
    if (*at == '.') {
      const char* const point = at++;
      all = many_digits(at, all);
      behind = static_cast<std::size_t>(at - point - 1);
      if (behind == 0) return false;
    }
    if (at - first > 19 || behind >= kPowers.size() || (*at | 0x20) == 'e') return false;
    const double number = static_cast<double>(all) / kPowers[behind];
    if (!is_right(element, all, number)) return false;
    element = static_cast<N>(negative ? -number : number);
    at_ = at;
    return true;
  }

  /// Both numbers are exact as doubles, so their quotient is the double that is next to the text.
  static bool is_right(double /*to*/, std::uint64_t all, double /*number*/) { return all <= (std::uint64_t{1} << 53); }

  /// Up to 19 digits make an error of some units of a double. That matters only next to the middle between two floats.
  static bool is_right(float /*to*/, std::uint64_t all, double number) {
    constexpr std::uint64_t kBehind = (std::uint64_t{1} << 29) - 1;  // the bits that a float has not
    constexpr std::uint64_t kMiddle = std::uint64_t{1} << 28;
    const std::uint64_t rest = std::bit_cast<std::uint64_t>(number) & kBehind;
    const bool near = rest + 8 >= kMiddle && rest <= kMiddle + 8;
    return all == 0 || (!near && number >= std::numeric_limits<float>::min() && number < 1e38);
  }

  static constexpr std::array<double, 23> kPowers = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                                     1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                                     1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};  // doubles hold these

  const Tensor& tensor_;
  T* const to_;
  const std::size_t room_;
  const char* at_;
  const char* const end_;
  std::size_t count_ = 0;
};

}  // namespace penstock::json
