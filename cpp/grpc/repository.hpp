#pragma once

#include <string>
#include <string_view>

namespace penstock::grpc {

/// What a call to load or unload a model asks for.
struct RepositoryChange {
  std::string model;
  std::string json;     ///< the body of the same request over HTTP
  bool kserve = false;  ///< it came in KServe's form, so the answer goes back in it
};

/// Reads such a call: the model is in field 2, or, as KServe has it, in field 1 and nothing in 2. Throws
/// BadRequest. Of a parameter of bytes only the name is kept.
RepositoryChange read_change(std::string_view message);
/// The answer: an empty message, or KServe's.
std::string change_message(const RepositoryChange& change);

}  // namespace penstock::grpc
