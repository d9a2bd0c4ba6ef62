#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <grpc/message.hpp>
#include <penstock/oip_json.hpp>

namespace penstock::grpc {

/// A ModelInferRequest.
struct InferCall {
  std::string model_name;
  std::string model_version;  ///< empty: the server chooses
  InferRequest request;
  std::vector<OutputTerms> outputs;                  ///< asked for; empty means all
  std::optional<std::chrono::microseconds> timeout;  ///< the parameter of that name
  bool empty_final = false;                          ///< see Wanted
};

/// Reads a ModelInferRequest. Tensors sent raw lie in the message's memory if they are aligned
/// there. Throws BadRequest. Thread-safe, as are the others.
InferCall decode_infer(const Message& message);

/// The id of a ModelInferRequest that may be malformed otherwise; empty if it has none.
std::string request_id(std::string_view message) noexcept;

/// Fills the tensor from an InferTensorContents. Throws BadRequest.
void read_contents(std::string_view contents, Tensor& tensor);

/// What an answer to an InferCall has to hold, whatever the graph's answer says.
struct Wanted {
  std::string model_name;
  std::string model_version;
  std::string id;
  std::vector<OutputTerms> outputs;  ///< empty means all
  bool streamed = false;             ///< as part of a ModelStreamInfer
  bool empty_final = false;          ///< that an answer of several parts has no more is told by one without outputs
};

/// Which of the answers to one message it is, for a stream's client.
enum class Position : std::uint8_t { kOnly, kPart, kEmptyFinal };

/// Writes a ModelInferResponse; all outputs go raw. Throws BadRequest if an output is asked for
/// that is not there.
Pieces encode_infer(const std::shared_ptr<const InferResponse>& response, const Wanted& wanted,
                    Position position = Position::kOnly);

/// Wraps a ModelInferResponse into a ModelStreamInferResponse.
void wrap_streamed(Pieces& response);
/// A ModelStreamInferResponse that says what went wrong.
Pieces streamed_error(std::string_view text, std::string_view id);

/// Reads a graph's answer that is JSON: a response of the protocol. Throws EncodeError if it is none.
InferResponse infer_from_json(std::string_view json);

}  // namespace penstock::grpc
