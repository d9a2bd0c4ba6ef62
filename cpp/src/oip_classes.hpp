#pragma once

#include <cstddef>

#include <penstock/tensor.hpp>

namespace penstock {

/// The `most` highest values along the last dimension, as texts "value:index", the highest first.
/// Throws BadRequest if the tensor holds no numbers.
Tensor classes_of(const Tensor& tensor, std::size_t most);

}  // namespace penstock
