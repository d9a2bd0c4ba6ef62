#include "tensors.hpp"

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <array>
#include <cstring>

#include <penstock/halves.hpp>
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

py::object parse(const std::string& json) { return py::module_::import("orjson").attr("loads")(py::bytes(json)); }

std::string write(const py::object& object) {
  return py::module_::import("orjson").attr("dumps")(object).cast<std::string>();
}

py::dict describe(const Tensor& tensor, const py::object& data) {
  py::dict described;
  described["name"] = tensor.name;
  described["shape"] = shape_of(tensor);
  described["datatype"] = std::string(name_of(tensor.type));
  if (!tensor.parameters.empty()) described["parameters"] = parse(tensor.parameters);
  described["data"] = data;
  return described;
}

/// An array of str if all is text, else of bytes: what a step gets depends on no client's way of sending.
py::object strings_to_array(const Tensor& tensor) {
  const bool text = std::all_of(tensor.strings.begin(), tensor.strings.end(), is_utf8);
  py::list strings(tensor.strings.size());
  for (std::size_t i = 0; i < tensor.strings.size(); ++i) {
    if (text)
      strings[i] = py::str(tensor.strings[i]);
    else
      strings[i] = py::bytes(tensor.strings[i]);
  }
  const py::module_ numpy = py::module_::import("numpy");
  const py::object array = numpy.attr("empty")(tensor.strings.size(), py::arg("dtype") = "object");
  if (!tensor.strings.empty()) array[py::ellipsis()] = strings;
  return array.attr("reshape")(shape_of(tensor));
}

/// NumPy has no BF16; an FP32 holds each of its values.
py::object bfloats_to_array(const Tensor& tensor) {
  py::array_t<float> array(std::vector<py::ssize_t>(tensor.shape.begin(), tensor.shape.end()));
  float* values = array.mutable_data();
  for (std::size_t i = 0; i < tensor.size / sizeof(std::uint16_t); ++i) {
    std::uint16_t bits = 0;
    std::memcpy(&bits, tensor.data + i * sizeof bits, sizeof bits);
    values[i] = bfloat_to_float(bits);
  }
  return array;
}

std::vector<std::int64_t> shape_of(const py::array& array) { return {array.shape(), array.shape() + array.ndim()}; }

/// The elements as texts and bytes, whatever the objects are; nothing if one is None, which BYTES cannot hold.
std::optional<Tensor> strings_of(std::string name, const py::array& array) {
  Tensor tensor;
  tensor.name = std::move(name);
  tensor.type = DataType::kBytes;
  tensor.shape = shape_of(array);
  for (const py::handle item : array.attr("reshape")(-1).attr("tolist")()) {
    if (item.is_none()) return std::nullopt;
    tensor.strings.push_back(py::isinstance<py::bytes>(item) ? item.cast<std::string>()
                                                             : py::str(item).cast<std::string>());
  }
  return tensor;
}

/// A tensor over memory that the object keeps alive.
Tensor over(std::string name, DataType type, const py::array& array) {
  Tensor tensor;
  tensor.name = std::move(name);
  tensor.type = type;
  tensor.shape = shape_of(array);
  tensor.data = static_cast<const std::byte*>(array.data());
  tensor.size = static_cast<std::size_t>(array.nbytes());
  tensor.storage = std::shared_ptr<const void>(py::object(array).release().ptr(), [](const void* kept) {
    GilGate::instance().drop(static_cast<PyObject*>(const_cast<void*>(kept)));
  });
  return tensor;
}

py::array dense(const py::array& array) {
  if ((array.flags() & py::array::c_style) != 0) return array;
  py::array copied = py::array::ensure(array, py::array::c_style);
  if (!copied) throw py::error_already_set();
  return copied;
}

bool is_bfloat(const py::dtype& dtype) {
  return dtype.itemsize() == 2 && py::str(dtype.attr("name")).cast<std::string>() == "bfloat16";
}

/// The array of a tensor that a step has written; nothing if it does not fit what it says it is.
std::optional<Tensor> written_tensor(const py::dict& described) {
  for (const char* key : {"name", "shape", "datatype", "data"})
    if (!described.contains(key)) return std::nullopt;
  const auto type = data_type_from(py::str(described["datatype"]).cast<std::string>());
  if (!type) return std::nullopt;
  const bool bfloat = *type == DataType::kBf16;
  const py::object dtype = *type == DataType::kBytes ? py::object(py::str("object"))
                                                     : py::object(dtype_of(bfloat ? DataType::kFp32 : *type));
  const py::module_ numpy = py::module_::import("numpy");
  const py::object array = numpy.attr("asarray")(described["data"], dtype).attr("reshape")(described["shape"]);
  auto tensor = to_tensor(py::str(described["name"]).cast<std::string>(), array);
  if (tensor && described.contains("parameters")) tensor->parameters = write(described["parameters"]);
  return tensor && bfloat ? to_bfloat(*tensor) : tensor;
}

}  // namespace

py::object to_array(const Tensor& tensor) {
  if (tensor.type == DataType::kBytes) return strings_to_array(tensor);
  if (tensor.type == DataType::kBf16) return bfloats_to_array(tensor);
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
  if (!request.parameters.empty()) body["parameters"] = parameters_of(request);
  py::list inputs;
  for (const Tensor& tensor : request.inputs) inputs.append(describe(tensor, to_array(tensor)));
  body["inputs"] = inputs;
  if (!request.outputs.empty()) body["outputs"] = outputs_of(request);
  return body;
}

py::object parameters_of(const InferRequest& request) { return parse(request.parameters); }

py::list outputs_of(const InferRequest& request) {
  py::list outputs;
  for (const std::string& name : request.outputs) outputs.append(py::dict(py::arg("name") = name));
  return outputs;
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
  if (array.dtype().byteorder() == '>')
    array = array.attr("astype")(array.dtype().attr("newbyteorder")("=")).cast<py::array>();
  const py::dtype dtype = array.dtype();
  if (const auto type = type_of(dtype)) return over(std::move(name), *type, dense(array));
  if (dtype.kind() == 'O' || dtype.kind() == 'S' || dtype.kind() == 'U') return strings_of(std::move(name), array);
  if (is_bfloat(dtype)) return over(std::move(name), DataType::kBf16, dense(array));
  return std::nullopt;
}

std::optional<Tensor> to_bfloat(const Tensor& tensor) {
  if (tensor.type == DataType::kBf16) return tensor;
  if (tensor.type != DataType::kFp32) return std::nullopt;
  const std::size_t count = tensor.size / sizeof(float);
  const auto memory = std::make_shared_for_overwrite<std::uint16_t[]>(std::max<std::size_t>(count, 1));
  for (std::size_t i = 0; i < count; ++i) {
    float value = 0;
    std::memcpy(&value, tensor.data + i * sizeof value, sizeof value);
    memory[i] = float_to_bfloat(value);
  }
  Tensor halved = tensor;
  halved.type = DataType::kBf16;
  halved.data = reinterpret_cast<const std::byte*>(memory.get());
  halved.size = count * sizeof(std::uint16_t);
  halved.storage = memory;
  return halved;
}

std::shared_ptr<const InferResponse> to_response(const py::object& body) {
  if (!py::isinstance<py::dict>(body)) return nullptr;
  const auto fields = py::reinterpret_borrow<py::dict>(body);
  if (!fields.contains("outputs") || !py::isinstance<py::list>(fields["outputs"])) return nullptr;
  const auto text = [&fields](const char* key) {
    if (!fields.contains(key) || fields[key].is_none()) return std::string();
    return py::str(fields[key]).cast<std::string>();
  };
  auto response = std::make_shared<InferResponse>();
  response->model_name = text("model_name");
  response->model_version = text("model_version");
  response->id = text("id");
  try {
    if (fields.contains("parameters") && !fields["parameters"].is_none())
      response->parameters = write(fields["parameters"]);
    for (const py::handle item : fields["outputs"]) {
      if (!py::isinstance<py::dict>(item)) return nullptr;
      auto tensor = written_tensor(py::reinterpret_borrow<py::dict>(item));
      if (!tensor) return nullptr;
      response->outputs.push_back(std::move(*tensor));
    }
  } catch (const py::error_already_set&) {  // it is not what it says: it goes out as what it is
    return nullptr;
  }
  return response;
}

}  // namespace penstock::python
