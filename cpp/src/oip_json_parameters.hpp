#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "json_reader.hpp"

namespace penstock::json {

/// Whose parameters they are: other names are reserved for each.
enum class Whose : std::uint8_t { kRequest, kInput, kOutput };

/// A `parameters` object: what is about the wire, and the text of all else.
struct Parameters {
  std::string text;  ///< empty if there are no others
  std::optional<std::uint64_t> timeout;
  std::optional<std::uint64_t> binary_data_size;
  std::optional<std::uint64_t> classification;
  std::optional<bool> binary;
  bool empty_final = false;  ///< a stream's end is to be told by an answer without outputs
};

/// A time limit as a parameter says it; beyond a day is a day.
std::chrono::microseconds timeout_of(std::uint64_t microseconds) noexcept;

/// Reads one whose members are `depth` deep. Throws BadRequest.
Parameters read_parameters(od::value value, std::size_t depth, Whose whose);
/// Reads one from a text of its own. Throws BadRequest.
Parameters read_parameters(const std::string& text, Whose whose);

}  // namespace penstock::json
