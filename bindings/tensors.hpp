#pragma once

// Tensors of the wire as NumPy arrays and back. All functions need the GIL.

#include <memory>
#include <optional>

#include <penstock/tensor.hpp>

#include "gil.hpp"

namespace penstock::python {

/// An array over the tensor's memory, which it keeps alive. Writable if nobody else holds the tensor.
py::object to_array(const Tensor& tensor);
/// What `predict` gets as "inputs": the array of a single input, or a dict of name to array.
py::object to_inputs(const InferRequest& request);
/// The request as a body: the protocol's dict, with arrays as data.
py::dict to_dict(const InferRequest& request);
/// What else `predict` gets, if the client has said it.
py::object parameters_of(const InferRequest& request);
py::list outputs_of(const InferRequest& request);
/// The response as a body: the protocol's dict, with plain lists as data.
py::dict to_dict(const InferResponse& response);

/// A tensor over the array's memory, which it keeps alive, or of its texts and bytes; nothing if
/// the array has no datatype of the protocol.
std::optional<Tensor> to_tensor(std::string name, const py::object& array);
/// The tensor as BF16; nothing if it is neither that nor FP32.
std::optional<Tensor> to_bfloat(const Tensor& tensor);
/// The response that a body is which a step has written; null if it is none.
std::shared_ptr<const InferResponse> to_response(const py::object& body);

}  // namespace penstock::python
