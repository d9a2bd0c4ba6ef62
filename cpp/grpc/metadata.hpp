#pragma once

#include <string>
#include <string_view>

namespace penstock::grpc {

/// The name and version that most requests about a model have in fields 1 and 2, or others.
/// Throws BadRequest, as the following do.
struct ModelKey {
  std::string name;
  std::string version;
};
ModelKey read_model_key(std::string_view message, unsigned name_tag = 1, unsigned version_tag = 2);

/// The answers of the protocol's JSON calls as the messages of its gRPC calls. Throw EncodeError for
/// what is no such answer.
std::string server_metadata(std::string_view json);
std::string model_metadata(std::string_view json);
std::string model_ready(std::string_view json);
std::string model_config(std::string_view json);  ///< from the model's metadata
std::string model_statistics(std::string_view json);
std::string repository_index(std::string_view json, bool ready_only);

/// A message with a true or false in field 1.
std::string flag_message(bool value);
/// What an answer of JSON says went wrong: its "error", else all of it.
std::string error_text(std::string_view json);

}  // namespace penstock::grpc
