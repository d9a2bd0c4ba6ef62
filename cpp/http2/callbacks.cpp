#include <http2/callbacks.hpp>

#include <algorithm>
#include <new>
#include <string_view>
#include <utility>

#include <http2/request.hpp>

namespace penstock::http2 {
namespace {

constexpr std::size_t kHeadBytes = 32 * 1024;   ///< of a request's head; more of it is left out, and told
constexpr std::size_t kFrameBytes = 64 * 1024;  ///< of one frame that goes out, at most
constexpr std::size_t kFrameHead = 9;

std::string_view view(const std::uint8_t* bytes, std::size_t size) {
  return {reinterpret_cast<const char*>(bytes), size};
}

/// The library takes what it only reads as pointers to non-const; it copies.
std::vector<nghttp2_nv> pairs_of(const Fields& fields) {
  std::vector<nghttp2_nv> pairs;
  pairs.reserve(fields.size());
  for (const auto& [name, value] : fields) {
    pairs.push_back({reinterpret_cast<std::uint8_t*>(const_cast<char*>(name.data())),
                     reinterpret_cast<std::uint8_t*>(const_cast<char*>(value.data())), name.size(), value.size(),
                     NGHTTP2_NV_FLAG_NONE});
  }
  return pairs;
}

ssize_t frame_length(nghttp2_session*, std::uint8_t, std::int32_t, std::int32_t session_window,
                     std::int32_t stream_window, std::uint32_t largest, void*) {
  return static_cast<ssize_t>(
      std::min({static_cast<std::size_t>(std::max(session_window, 1)),
                static_cast<std::size_t>(std::max(stream_window, 1)), static_cast<std::size_t>(largest), kFrameBytes}));
}

}  // namespace

nghttp2_session* Session::Callbacks::make_session(Session& owner) {
  nghttp2_session_callbacks* callbacks = nullptr;
  nghttp2_option* options = nullptr;
  nghttp2_session* session = nullptr;
  if (nghttp2_session_callbacks_new(&callbacks) != 0) throw std::bad_alloc();
  nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, &on_begin_headers);
  nghttp2_session_callbacks_set_on_header_callback(callbacks, &on_header);
  nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, &on_frame);
  nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, &on_data);
  nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, &on_sent);
  nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, &on_close);
  nghttp2_session_callbacks_set_send_data_callback(callbacks, &send_data);
  nghttp2_session_callbacks_set_data_source_read_length_callback(callbacks, &frame_length);
  if (nghttp2_option_new(&options) == 0) {
    nghttp2_option_set_no_auto_window_update(options, 1);  // the client may go on when its bytes are used up
    nghttp2_option_set_no_closed_streams(options, 1);
    nghttp2_session_server_new2(&session, callbacks, &owner, options);
    nghttp2_option_del(options);
  }
  nghttp2_session_callbacks_del(callbacks);
  if (session == nullptr) throw std::bad_alloc();
  return session;
}

void Session::Callbacks::submit_response(nghttp2_session* session, StreamState& stream, const Fields& headers) {
  const std::vector<nghttp2_nv> pairs = pairs_of(headers);
  nghttp2_data_provider provider{};
  provider.source.ptr = &stream;
  provider.read_callback = &read;
  const bool bodiless = stream.last && stream.queued == 0 && stream.trailers.empty();
  nghttp2_submit_response(session, stream.id, pairs.data(), pairs.size(), bodiless ? nullptr : &provider);
}

int Session::Callbacks::on_begin_headers(nghttp2_session* session, const nghttp2_frame* frame, void* user) {
  if (frame->hd.type != NGHTTP2_HEADERS || frame->headers.cat != NGHTTP2_HCAT_REQUEST) return 0;
  Session& self = *static_cast<Session*>(user);
  const std::int32_t id = frame->hd.stream_id;
  auto stream = make_ref<StreamState>(id);
  nghttp2_session_set_stream_user_data(session, id, stream.get());
  self.streams_.emplace(id, std::move(stream));
  return 0;
}

int Session::Callbacks::on_header(nghttp2_session*, const nghttp2_frame* frame, const std::uint8_t* name,
                                  std::size_t name_size, const std::uint8_t* value, std::size_t value_size,
                                  std::uint8_t, void* user) {
  Session& self = *static_cast<Session*>(user);
  StreamState* stream = self.find(frame->hd.stream_id);
  if (stream == nullptr || stream->head_complete) return 0;  // a trailer; none has a meaning here
  const std::string_view key = view(name, name_size);
  const std::string_view content = view(value, value_size);
  if (key == "content-type") stream->is_call = is_grpc(content);
  if (stream->path.size() + stream->fields.size() + key.size() + content.size() > kHeadBytes) {
    stream->oversized = true;
  } else if (key == ":method") {
    stream->method = content;
  } else if (key == ":path") {
    stream->path = content;
  } else if (key == ":authority") {
    stream->authority = content;
  } else if (key == "host") {
    if (stream->authority.empty()) stream->authority = content;
  } else if (key.front() != ':') {
    stream->fields.append(key).append(": ").append(content).append("\r\n");
  }
  return 0;
}

int Session::Callbacks::on_frame(nghttp2_session* session, const nghttp2_frame* frame, void* user) {
  Session& self = *static_cast<Session*>(user);
  const bool ends = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
  switch (frame->hd.type) {
    case NGHTTP2_SETTINGS:
      self.greeted_ = true;
      self.charge(frame->hd.flags);
      return 0;
    case NGHTTP2_RST_STREAM:
    case NGHTTP2_PRIORITY:
      self.charge(NGHTTP2_FLAG_NONE);
      return 0;
    case NGHTTP2_PING:
      self.charge(frame->hd.flags);
      if ((frame->hd.flags & NGHTTP2_FLAG_ACK) != 0 && self.notified_ && !std::exchange(self.leaving_, true)) {
        nghttp2_submit_goaway(session, NGHTTP2_FLAG_NONE, nghttp2_session_get_last_proc_stream_id(session),
                              NGHTTP2_NO_ERROR, nullptr, 0);
      }
      return 0;
    case NGHTTP2_HEADERS:
    case NGHTTP2_DATA:
      break;
    default:
      return 0;
  }
  StreamState* stream = self.find(frame->hd.stream_id);
  if (stream == nullptr || self.incoming_ == nullptr) return 0;
  if (!std::exchange(stream->head_complete, true)) {
    stream->head_only = stream->method == "HEAD";
    self.incoming_->push_back({Incoming::Kind::kOpen, Ref<StreamState>(stream)});
  }
  if (ends && !std::exchange(stream->client_ended, true))
    self.incoming_->push_back({Incoming::Kind::kEnd, Ref<StreamState>(stream)});
  return 0;
}

int Session::Callbacks::on_data(nghttp2_session* session, std::uint8_t, std::int32_t id, const std::uint8_t* bytes,
                                std::size_t size, void* user) {
  Session& self = *static_cast<Session*>(user);
  // One stream whose bytes are not used up must not hold up the others.
  nghttp2_session_consume_connection(session, size);
  if (StreamState* stream = self.find(id); stream != nullptr && self.incoming_ != nullptr)
    self.incoming_->push_back({Incoming::Kind::kData, Ref<StreamState>(stream), view(bytes, size)});
  return 0;
}

int Session::Callbacks::on_sent(nghttp2_session*, const nghttp2_frame* frame, void* user) {
  Session& self = *static_cast<Session*>(user);
  if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA) return 0;
  self.control_.earn();
  if ((frame->hd.flags & NGHTTP2_FLAG_END_STREAM) == 0) return 0;
  StreamState* stream = self.find(frame->hd.stream_id);
  if (stream != nullptr && !stream->client_ended) stream->answered = Clock::now();  // see end_answered
  return 0;
}

int Session::Callbacks::on_close(nghttp2_session*, std::int32_t id, std::uint32_t, void* user) {
  Session& self = *static_cast<Session*>(user);
  const auto found = self.streams_.find(id);
  if (found == self.streams_.end()) return 0;
  const Ref<StreamState> stream = found->second;
  const bool answered = stream->last && stream->queued == 0;
  self.drop(*stream);
  if (answered) return 0;
  if (self.incoming_ != nullptr) {
    self.incoming_->push_back({Incoming::Kind::kLost, stream});
  } else {
    self.lost_.push_back(stream);
    self.wake();
  }
  return 0;
}

ssize_t Session::Callbacks::read(nghttp2_session* session, std::int32_t id, std::uint8_t*, std::size_t size,
                                 std::uint32_t* flags, nghttp2_data_source* source, void* user) {
  StreamState& stream = *static_cast<StreamState*>(source->ptr);
  const std::size_t taken = std::min(size, stream.queued);
  if (taken == 0 && !stream.last) {
    stream.deferred = true;
    return NGHTTP2_ERR_DEFERRED;
  }
  stream.queued -= taken;
  if (stream.queued < kQueuedAhead && stream.on_room)
    static_cast<Session*>(user)->calls_.push_back(std::exchange(stream.on_room, {}));
  if (taken > 0) *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
  if (stream.queued == 0 && stream.last) {
    *flags |= NGHTTP2_DATA_FLAG_EOF;
    if (!stream.trailers.empty()) {
      *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
      const std::vector<nghttp2_nv> pairs = pairs_of(stream.trailers);
      nghttp2_submit_trailer(session, id, pairs.data(), pairs.size());
    }
  }
  return static_cast<ssize_t>(taken);
}

int Session::Callbacks::send_data(nghttp2_session*, nghttp2_frame*, const std::uint8_t* head, std::size_t size,
                                  nghttp2_data_source* source, void* user) {
  Session& self = *static_cast<Session*>(user);
  if (self.out_.size() - self.written_ >= kOutBytes) return NGHTTP2_ERR_WOULDBLOCK;
  StreamState& stream = *static_cast<StreamState*>(source->ptr);
  self.out_.append(view(head, kFrameHead));
  while (size > 0) {
    http::Body& body = stream.bodies.front();
    const std::string_view rest = body.bytes().substr(stream.offset, size);
    self.out_.append(rest);
    size -= rest.size();
    stream.offset += rest.size();
    if (stream.offset < body.bytes().size()) break;
    self.released_.push_back(std::move(body));
    stream.bodies.pop_front();
    stream.offset = 0;
  }
  return 0;
}

}  // namespace penstock::http2
