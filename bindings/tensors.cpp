#include "tensors.hpp"

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <array>
#include <cstring>

#include <penstock/json_text.hpp>

namespace penstock::python {
namespace {

struct TypeName {
  DataType type;
  const char* numpy;
};
constexpr std::array<TypeName, 12> kTypes{{{DataType::kBool, "?"},
                                           {DataType::kUint8, "u1"},
                                           {DataType::kUint16, "u2"},
                                           {DataType::kUint32, "u4"},
                                           {DataType::kUint64, "u8"},
                                           {DataType::kInt8, "i1"},
                                           {DataType::kInt16, "i2"},
                                           {DataType::kInt32, "i4"},
                                           {DataType::kInt64, "i8"},
                                           {DataType::kFp16, "f2"},
                                           {DataType::kFp32, "f4"},
                                           {DataType::kFp64, "f8"}}};

/// NumPy's descriptors, looked up once.
const py::dtype& dtype_of(DataType type) {
  static const auto* dtypes = [] {
    auto* made = new std::array<py::dtype, 16>();
    for (const TypeName& entry : kTypes) (*made)[static_cast<std::size_t>(entry.type)] = py::dtype(entry.numpy);
    return made;
  }();
  return (*dtypes)[static_cast<std::size_t>(type)];
}

std::optional<DataType> type_of(const py::dtype& dtype) {
  for (const TypeName& entry : kTypes)
    if (dtype.num() == dtype_of(entry.type).num()) return entry.type;
  // NumPy has two names for some sizes ("l" and "q"): the descriptors are equal, the numbers are not.
  for (const TypeName& entry : kTypes)
    if (dtype.kind() == dtype_of(entry.type).kind() && dtype.itemsize() == dtype_of(entry.type).itemsize() &&
        dtype.byteorder() != '>')
      return entry.type;
  return std::nullopt;
}

py::list shape_of(const Tensor& tensor) {
  py::list shape;
  for (const std::int64_t size : tensor.shape) shape.append(size);
  return shape;
}

py::dict describe(const Tensor& tensor, const py::object& data) {
  py::dict described;
  described["name"] = tensor.name;
  described["shape"] = shape_of(tensor);
  described["datatype"] = std::string(name_of(tensor.type));
  described["data"] = data;
  return described;
}

/// BYTES as text, as in JSON; if some element is no text, all are bytes.
py::object to_strings(const Tensor& tensor) {
  const bool text = std::all_of(tensor.strings.begin(), tensor.strings.end(), is_utf8);
  py::list strings;
  for (const std::string& item : tensor.strings) strings.append(text ? py::object(py::str(item)) : py::bytes(item));
  return py::module_::import("numpy")
      .attr("array")(strings, py::arg("dtype") = "object")
      .attr("reshape")(shape_of(tensor));
}

/// BF16 is the upper half of FP32, which NumPy has.
py::object to_wider(const Tensor& tensor) {
  py::array_t<float> wider(std::vector<py::ssize_t>(tensor.shape.begin(), tensor.shape.end()));
  float* to = wider.mutable_data();
  for (std::size_t i = 0; i < tensor.size / 2; ++i) {
    std::uint16_t half = 0;
    std::memcpy(&half, tensor.data + 2 * i, sizeof half);
    const std::uint32_t bits = std::uint32_t{half} << 16;
    std::memcpy(to + i, &bits, sizeof bits);
  }
  return wider;
}

py::object parse(const std::string& json) { return py::module_::import("orjson").attr("loads")(py::bytes(json)); }

}  // namespace

py::object to_array(const Tensor& tensor) {
  if (tensor.type == DataType::kBytes) return to_strings(tensor);
  if (tensor.type == DataType::kBf16) return to_wider(tensor);
  auto owner = std::make_unique<std::shared_ptr<const void>>(tensor.storage);
  const py::capsule base(owner.release(), [](void* held) { delete static_cast<std::shared_ptr<const void>*>(held); });
  const std::vector<py::ssize_t> shape(tensor.shape.begin(), tensor.shape.end());
  return py::array(dtype_of(tensor.type), shape, {}, tensor.data, base);
}

py::object to_inputs(const InferRequest& request) {
  if (request.inputs.size() == 1) return to_array(request.inputs.front());
  py::dict inputs;
  for (const Tensor& tensor : request.inputs) inputs[py::str(tensor.name)] = to_array(tensor);
  return inputs;
}

py::dict to_dict(const InferRequest& request) {
  py::dict body;
  if (!request.id.empty()) body["id"] = request.id;
  if (!request.parameters.empty()) body["parameters"] = parse(request.parameters);
  py::list inputs;
  for (const Tensor& tensor : request.inputs) inputs.append(describe(tensor, to_array(tensor)));
  body["inputs"] = inputs;
  if (!request.outputs.empty()) {
    py::list outputs;
    for (const std::string& name : request.outputs) outputs.append(py::dict(py::arg("name") = name));
    body["outputs"] = outputs;
  }
  return body;
}

py::dict to_dict(const InferResponse& response) {
  py::dict body;
  body["model_name"] = response.model_name;
  if (!response.model_version.empty()) body["model_version"] = response.model_version;
  if (!response.id.empty()) body["id"] = response.id;
  if (!response.parameters.empty()) body["parameters"] = parse(response.parameters);
  py::list outputs;
  for (const Tensor& tensor : response.outputs)
    outputs.append(describe(tensor, to_array(tensor).attr("reshape")(-1).attr("tolist")()));
  body["outputs"] = outputs;
  return body;
}

std::optional<Tensor> to_tensor(std::string name, const py::object& object) {
  if (!py::isinstance<py::array>(object)) return std::nullopt;
  auto array = py::reinterpret_borrow<py::array>(object);
  const auto type = type_of(array.dtype());
  if (!type) return std::nullopt;
  if ((array.flags() & py::array::c_style) == 0) {
    array = py::array::ensure(array, py::array::c_style);
    if (!array) throw py::error_already_set();
  }
  Tensor tensor;
  tensor.name = std::move(name);
  tensor.type = *type;
  tensor.shape.assign(array.shape(), array.shape() + array.ndim());
  tensor.data = static_cast<const std::byte*>(array.data());
  tensor.size = static_cast<std::size_t>(array.nbytes());
  PyObject* held = array.release().ptr();
  tensor.storage = std::shared_ptr<const void>(
      held, [](const void* kept) { GilGate::instance().drop(static_cast<PyObject*>(const_cast<void*>(kept))); });
  return tensor;
}

}  // namespace penstock::python
