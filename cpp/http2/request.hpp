#pragma once

#include <string_view>

#include <http/application.hpp>
#include <http/head_parser.hpp>
#include <http/limits.hpp>
#include <http2/call.hpp>

namespace penstock::http2 {

/// A request's head as HTTP/2 brings it; `fields` as lines of HTTP/1.1.
struct Head {
  std::string_view method, path, authority, fields;
};

/// Fills `request` up to its body; the same checks as for HTTP/1.1.
http::Refusal parse_head(const Head& head, const http::Limits& limits, http::Request& request);

/// Whether a content type is that of gRPC with messages as protobuf.
bool is_grpc(std::string_view content_type) noexcept;

/// A call that gathers the body and gives the request to the application.
Ref<Call> make_request_call(http::Application& application, const http::Limits& limits, http::Request&& request,
                            http::Reply&& reply);

}  // namespace penstock::http2
