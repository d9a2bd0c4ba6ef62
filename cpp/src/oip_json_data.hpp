#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include <penstock/tensor.hpp>

#include "json_reader.hpp"

namespace penstock::json {

std::vector<std::int64_t> read_shape(od::value value);

/// Reads a tensor's `data`, flat or nested as its shape says, into new memory that it keeps. `most`
/// is how many elements the text can hold, whatever the shape claims. Throws BadRequest.
void read_data(od::value value, Tensor& tensor, std::size_t most);

}  // namespace penstock::json
