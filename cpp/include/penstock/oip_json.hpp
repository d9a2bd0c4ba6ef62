#pragma once

#include <optional>
#include <stdexcept>
#include <string>

#include <penstock/tensor.hpp>

namespace penstock {

/// The client's request is wrong; what() says where and why, fit for the client to read.
class BadRequest : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// A response cannot be written as JSON; what() names the output. Not the client's fault.
class EncodeError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Reads an inference request of the Open Inference Protocol from JSON text. The values go straight
/// into the tensors' own memory; `body` keeps its content, its capacity may grow.
///
/// Returns nothing if `body` is not shaped like one, that is, if it has no inputs or an input
/// without name, shape or datatype: then it is a free body, which need not even be valid JSON
/// throughout. Throws BadRequest if it is shaped like one and wrong, or is no JSON. Thread-safe.
std::optional<InferRequest> decode_infer_request(std::string& body);

/// Writes a response as JSON text: flat data, numbers in the shortest form that reads back the
/// same, null for what is not finite. Throws EncodeError for what JSON cannot hold: FP16, BF16 and
/// BYTES that are not UTF-8. Thread-safe.
std::string encode_infer_response(const InferResponse& response);

}  // namespace penstock
