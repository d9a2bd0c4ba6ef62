#include "oip_classes.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include <penstock/halves.hpp>
#include <penstock/oip_json.hpp>

namespace penstock {
namespace {

template <class T>
double held_at(const std::byte* at) {
  T value;
  std::memcpy(&value, at, sizeof value);
  return static_cast<double>(value);
}

double value_at(const Tensor& tensor, std::size_t index) {
  const std::byte* at = tensor.data + index * size_of(tensor.type);
  switch (tensor.type) {
    case DataType::kBool:
    case DataType::kUint8:
      return held_at<std::uint8_t>(at);
    case DataType::kUint16:
      return held_at<std::uint16_t>(at);
    case DataType::kUint32:
      return held_at<std::uint32_t>(at);
    case DataType::kUint64:
      return held_at<std::uint64_t>(at);
    case DataType::kInt8:
      return held_at<std::int8_t>(at);
    case DataType::kInt16:
      return held_at<std::int16_t>(at);
    case DataType::kInt32:
      return held_at<std::int32_t>(at);
    case DataType::kInt64:
      return held_at<std::int64_t>(at);
    case DataType::kFp32:
      return held_at<float>(at);
    case DataType::kFp64:
      return held_at<double>(at);
    case DataType::kFp16:
    case DataType::kBf16: {
      std::uint16_t bits = 0;
      std::memcpy(&bits, at, sizeof bits);
      return tensor.type == DataType::kFp16 ? half_to_float(bits) : bfloat_to_float(bits);
    }
    case DataType::kBytes:
      break;
  }
  return 0;
}

void append_classes(const Tensor& tensor, std::size_t first, std::size_t row, std::size_t most, Tensor& classes) {
  std::vector<double> values(row);
  for (std::size_t i = 0; i < row; ++i) values[i] = value_at(tensor, first + i);
  std::vector<std::size_t> order(row);
  std::iota(order.begin(), order.end(), std::size_t{0});
  // What is not a number comes last: it must not upset the order of the others.
  const auto higher = [&values](std::size_t a, std::size_t b) {
    const double left = std::isnan(values[a]) ? -INFINITY : values[a];
    const double right = std::isnan(values[b]) ? -INFINITY : values[b];
    return left != right ? left > right : a < b;
  };
  std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(most), order.end(), higher);
  for (std::size_t i = 0; i < most; ++i)
    classes.strings.push_back(std::to_string(values[order[i]]) + ":" + std::to_string(order[i]));
}

}  // namespace

Tensor classes_of(const Tensor& tensor, std::size_t most) {
  if (tensor.type == DataType::kBytes)
    throw BadRequest("output '" + tensor.name + "' holds no numbers, so it has no classification");
  Tensor classes;
  classes.name = tensor.name;
  classes.type = DataType::kBytes;
  classes.shape = tensor.shape.empty() ? std::vector<std::int64_t>{1} : tensor.shape;
  const auto row = static_cast<std::size_t>(classes.shape.back());
  most = std::min(most, row);
  classes.shape.back() = static_cast<std::int64_t>(most);
  const std::size_t count = tensor.size / size_of(tensor.type);
  for (std::size_t first = 0; first < count; first += row) append_classes(tensor, first, row, most, classes);
  return classes;
}

}  // namespace penstock
