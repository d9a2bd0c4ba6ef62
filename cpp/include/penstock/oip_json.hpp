#pragma once

#include <chrono>
#include <cstddef>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

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

/// An output that a client asks for.
struct OutputTerms {
  std::string name;
  std::optional<bool> binary;  ///< as bytes behind the JSON; if not said, as the request says for all
  std::size_t classes = 0;     ///< not 0: the so many highest values, as classes
};

/// What a request says about its answer.
struct AnswerTerms {
  std::vector<OutputTerms> outputs;  ///< in the order asked for; empty means all
  bool binary = false;
  std::optional<std::chrono::microseconds> timeout;
};

/// Reads an inference request of the Open Inference Protocol from JSON text. The values go straight
/// into the tensors' own memory; `body` keeps its content, its capacity may grow.
///
/// Returns nothing if `body` is not shaped like one, that is, if it has no inputs or an input
/// without name, shape or datatype: then it is a free body, which need not even be valid JSON
/// throughout. Throws BadRequest if it is shaped like one and wrong, or is no JSON. Thread-safe.
std::optional<InferRequest> decode_infer_request(std::string& body, AnswerTerms* terms = nullptr);

/// Reads a request whose first `json_size` bytes are JSON, and whose inputs with a
/// `binary_data_size` follow as bytes. They stay where they are, unless that is not where elements
/// of their size may be. Throws BadRequest. Thread-safe.
InferRequest decode_binary_request(std::string&& body, std::size_t json_size, AnswerTerms& terms);

/// Fills the tensor from its bytes, little-endian and row-major, BYTES with four bytes of length
/// ahead of each element. They stay in `storage` if elements may be there. Throws BadRequest.
void read_raw(std::string_view raw, const std::shared_ptr<const void>& storage, Tensor& tensor);

/// Appends the bytes that `read_raw` reads.
void append_raw(std::string& out, const Tensor& tensor);
std::size_t raw_size(const Tensor& tensor) noexcept;

/// Writes a response as JSON text: flat data, numbers in the shortest form that reads back the
/// same, null for what is not finite, FP16 and BF16 as FP32, for JSON has neither. Throws
/// EncodeError for BYTES that are not UTF-8. Thread-safe.
std::string encode_infer_response(const InferResponse& response);

/// The output of that name. Throws BadRequest, with those that there are, if there is none.
const Tensor& output_named(const InferResponse& response, const std::string& name);

/// A response as it goes out.
struct EncodedResponse {
  std::string body;
  std::optional<std::size_t> json_size;  ///< set if bytes follow the JSON
};

/// Writes a response as its client wants it. Throws BadRequest if an output is asked for that is not
/// there, and EncodeError. Thread-safe.
EncodedResponse encode_infer_response(const InferResponse& response, const AnswerTerms& terms);

}  // namespace penstock
