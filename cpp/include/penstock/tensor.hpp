#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace penstock {

/// The element types of the Open Inference Protocol.
enum class DataType : std::uint8_t {
  kBool,
  kUint8,
  kUint16,
  kUint32,
  kUint64,
  kInt8,
  kInt16,
  kInt32,
  kInt64,
  kFp16,
  kFp32,
  kFp64,
  kBf16,
  kBytes,
};

/// The protocol's name of a type, such as "FP32".
std::string_view name_of(DataType type) noexcept;
std::optional<DataType> data_type_from(std::string_view name) noexcept;
/// Bytes an element takes in a buffer; 0 for kBytes, whose elements vary in length.
std::size_t size_of(DataType type) noexcept;

/// Number of elements of a shape; nothing if it, or its bytes, cannot be counted.
std::optional<std::size_t> element_count(const std::vector<std::int64_t>& shape) noexcept;
/// A shape as people read it, such as "[2,3]".
std::string shape_text(const std::vector<std::int64_t>& shape);

/// A named, dense, row-major array over memory that `storage` keeps alive. Immutable once built, so
/// it may be read from any thread. Numbers are in native (little-endian) byte order.
struct Tensor {
  std::string name;
  DataType type = DataType::kFp32;
  std::vector<std::int64_t> shape;
  const std::byte* data = nullptr;   ///< unused for kBytes
  std::size_t size = 0;              ///< of `data`, in bytes
  std::vector<std::string> strings;  ///< the elements if type is kBytes
  std::shared_ptr<const void> storage;
  std::string parameters;  ///< the tensor's own, as JSON text; empty if none
};

/// One inference request of the Open Inference Protocol, decoded.
struct InferRequest {
  std::string id;          ///< empty if the client sent none
  std::string parameters;  ///< the request's `parameters` object as JSON text; empty if none
  std::vector<Tensor> inputs;
  std::vector<std::string> outputs;  ///< names asked for; empty means all
};

/// One inference response; the counterpart of InferRequest.
struct InferResponse {
  std::string model_name;
  std::string model_version;  ///< empty if the model has none
  std::string id;
  std::string parameters;  ///< as JSON text; empty if none
  std::vector<Tensor> outputs;
};

}  // namespace penstock
