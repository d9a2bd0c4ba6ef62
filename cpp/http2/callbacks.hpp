#pragma once

#include <http2/session.hpp>

#include <nghttp2/nghttp2.h>

namespace penstock::http2 {

constexpr std::size_t kOutBytes = 256 * 1024;    ///< to have ready for the socket
constexpr std::size_t kQueuedAhead = 64 * 1024;  ///< of one stream, before who sends is to wait

/// What nghttp2 calls back; always under the session's mutex.
struct Session::Callbacks {
  static nghttp2_session* make_session(Session& session);
  static void submit_response(nghttp2_session* session, StreamState& stream, const Fields& headers);

  static int on_begin_headers(nghttp2_session*, const nghttp2_frame*, void*);
  static int on_header(nghttp2_session*, const nghttp2_frame*, const std::uint8_t* name, std::size_t name_size,
                       const std::uint8_t* value, std::size_t value_size, std::uint8_t flags, void*);
  static int on_frame(nghttp2_session*, const nghttp2_frame*, void*);
  static int on_data(nghttp2_session*, std::uint8_t flags, std::int32_t id, const std::uint8_t*, std::size_t, void*);
  static int on_sent(nghttp2_session*, const nghttp2_frame*, void*);
  static int on_close(nghttp2_session*, std::int32_t id, std::uint32_t error, void*);
  static ssize_t read(nghttp2_session*, std::int32_t id, std::uint8_t*, std::size_t size, std::uint32_t* flags,
                      nghttp2_data_source*, void*);
  static int send_data(nghttp2_session*, nghttp2_frame*, const std::uint8_t* head, std::size_t size,
                       nghttp2_data_source*, void*);
};

}  // namespace penstock::http2
