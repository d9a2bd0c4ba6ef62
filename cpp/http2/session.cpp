#include <http2/session.hpp>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <utility>

#include <nghttp2/nghttp2.h>
#include <sys/uio.h>

#include <http/access.hpp>
#include <http2/callbacks.hpp>

namespace penstock::http2 {
namespace {

constexpr std::int32_t kConnectionWindow = 16 * 1024 * 1024;  ///< bytes a client may send ahead on all streams
constexpr std::uint32_t kStreamWindow = 2 * 1024 * 1024;      ///< bytes a client may send ahead on one: twice an image
constexpr std::uint32_t kFrameSize = 64 * 1024;
constexpr std::uint32_t kHeadSize = 32 * 1024;
constexpr std::chrono::milliseconds kTimeToRead{1000};  ///< an answer, for a client that still sends

thread_local Cork* cork = nullptr;

/// A call's last words: trailers, or headers alone.
int code_of(const Output& last) {
  for (const Fields* fields : {&last.trailers, &last.headers})
    for (const auto& [name, value] : *fields)
      if (name == "grpc-status") return std::atoi(value.c_str());
  return 2;  // UNKNOWN, as a client has it then
}

}  // namespace

/// The lock. What is let go of while it is held is destroyed, and what is to be called is called, once it is not.
class Session::Hold {
 public:
  explicit Hold(Session& session) : session_(session) { session_.mutex_.lock(); }
  ~Hold() {
    std::vector<http::Body> released;
    std::vector<Ref<StreamState>> dropped;
    std::vector<std::function<void()>> calls;
    released.swap(session_.released_);
    dropped.swap(session_.dropped_);
    calls.swap(session_.calls_);
    session_.mutex_.unlock();
    for (const auto& call : calls) call();
  }
  Hold(const Hold&) = delete;
  Hold& operator=(const Hold&) = delete;

 private:
  Session& session_;
};

Session::Session(http::Gate& gate, const http::Limits& limits, http::Transport&& transport)
    : gate_(gate), limits_(limits), transport_(std::move(transport)), since_(Clock::now()) {
  session_ = Callbacks::make_session(*this);
  const nghttp2_settings_entry settings[] = {
      {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, static_cast<std::uint32_t>(limits.streams)},
      {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, kStreamWindow},
      {NGHTTP2_SETTINGS_MAX_FRAME_SIZE, kFrameSize},
      {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, kHeadSize},
  };
  nghttp2_submit_settings(session_, NGHTTP2_FLAG_NONE, settings, std::size(settings));
  nghttp2_session_set_local_window_size(session_, NGHTTP2_FLAG_NONE, 0, kConnectionWindow);
  gate_.enter();
}

Session::~Session() { nghttp2_session_del(session_); }

Session::StreamState* Session::find(std::int32_t id) noexcept {
  return gone_ ? nullptr : static_cast<StreamState*>(nghttp2_session_get_stream_user_data(session_, id));
}

void Session::send(std::int32_t id, Output&& output) {
  const Hold hold(*this);
  StreamState* stream = find(id);
  if (stream == nullptr || stream->last) return;
  if (output.last) gate_.called(code_of(output));
  queue(*stream, std::move(output));
}

void Session::queue(StreamState& stream, Output&& output) {
  for (http::Body& body : output.bodies) {
    if (body.bytes().empty()) continue;
    stream.queued += body.bytes().size();
    stream.bodies.push_back(std::move(body));
  }
  stream.last = output.last;
  stream.trailers = std::move(output.trailers);
  if (!stream.started) {
    stream.started = true;
    Callbacks::submit_response(session_, stream, output.headers);
  } else if (std::exchange(stream.deferred, false)) {
    nghttp2_session_resume_data(session_, stream.id);
  }
  push();
}

void Session::consume(std::int32_t id, std::size_t bytes) {
  const Hold hold(*this);
  if (find(id) == nullptr) return;
  nghttp2_session_consume_stream(session_, id, bytes);
  if (nghttp2_session_want_write(session_) != 0) push();
}

void Session::send(std::uint64_t number, http::Response&& response) {
  std::function<void()> callback;  // destroyed after the lock is let go
  const Hold hold(*this);
  StreamState* stream = find(static_cast<std::int32_t>(number));
  if (stream == nullptr || stream->last) return;
  gate_.answered(response.status);
  callback = std::move(stream->on_abandoned);
  stream->on_abandoned = nullptr;
  Output output;
  if (stream->origin != nullptr) http::allow(response, *stream->origin);
  output.headers = http::fields_of(response);
  const bool bodiless = stream->head_only || response.status == 204 || response.status == 304;
  if (!bodiless) output.bodies.push_back(std::move(response.body));
  output.last = true;
  queue(*stream, std::move(output));
}

bool Session::abandoned(std::uint64_t number) noexcept {
  const Hold hold(*this);
  return find(static_cast<std::int32_t>(number)) == nullptr;
}

void Session::on_abandoned(std::uint64_t number, std::function<void()>&& callback) {
  {
    const Hold hold(*this);
    if (StreamState* stream = find(static_cast<std::int32_t>(number))) {
      stream->on_abandoned.swap(callback);
      return;
    }
  }
  callback();
}

bool Session::takes_parts(std::uint64_t number) {
  const Hold hold(*this);
  const StreamState* stream = find(static_cast<std::int32_t>(number));
  return stream != nullptr && !stream->head_only;
}

void Session::open(std::uint64_t number, http::Response&& head) {
  const Hold hold(*this);
  StreamState* stream = find(static_cast<std::int32_t>(number));
  if (stream == nullptr) return;
  gate_.answered(head.status);
  if (stream->origin != nullptr) http::allow(head, *stream->origin);
  queue(*stream, {http::fields_of(head, false), {}, {}, false});
}

void Session::write(std::uint64_t number, std::string_view part, bool last) {
  std::function<void()> callback;  // destroyed after the lock is let go
  const Hold hold(*this);
  StreamState* stream = find(static_cast<std::int32_t>(number));
  if (stream == nullptr || stream->last) return;
  if (last) callback = std::exchange(stream->on_abandoned, nullptr);
  Output output;
  output.bodies.emplace_back(std::string(part));
  output.last = last;
  queue(*stream, std::move(output));
}

void Session::cut(std::uint64_t number) {
  std::function<void()> callback;
  const Hold hold(*this);
  StreamState* stream = find(static_cast<std::int32_t>(number));
  if (stream == nullptr) return;
  callback = std::exchange(stream->on_abandoned, nullptr);
  if (!writing_) write();  // what the client can still take: a reset goes out before what waits
  nghttp2_submit_rst_stream(session_, NGHTTP2_FLAG_NONE, stream->id, NGHTTP2_INTERNAL_ERROR);
  push();
}

bool Session::has_room(std::uint64_t number, std::function<void()>&& then) {
  const Hold hold(*this);
  StreamState* stream = find(static_cast<std::int32_t>(number));
  if (stream == nullptr || stream->queued < kQueuedAhead) return true;
  stream->on_room = std::move(then);
  return false;
}

/// A client that sends too much of what asks for nothing is let go.
void Session::charge(std::uint8_t flags) {
  if ((flags & NGHTTP2_FLAG_ACK) != 0 || control_.spend(Clock::now())) return;
  calmed_ = true;
  nghttp2_session_terminate_session(session_, NGHTTP2_ENHANCE_YOUR_CALM);
}

void Session::push() {
  if (!Cork::holds(*this) && !writing_) write();
}

void Session::flush() {
  const Hold hold(*this);
  if (!gone_ && !writing_) write();
}

void Session::write_more() {
  const Hold hold(*this);
  writing_ = false;
  if (!gone_) write();
}

/// Has the protocol make frames until there is enough to write; false if it fails.
bool Session::fill() {
  if (written_ == out_.size()) {
    out_.clear();
    written_ = 0;
  }
  while (out_.size() < kOutBytes) {
    const std::uint8_t* bytes = nullptr;
    const auto before = out_.size();
    const ssize_t size = nghttp2_session_mem_send(session_, &bytes);
    if (size < 0) return false;
    out_.append(reinterpret_cast<const char*>(bytes), static_cast<std::size_t>(size));
    if (out_.size() == before) break;
  }
  return true;
}

void Session::write() {
  while (!finished_) {
    if (!fill()) {
      transport_.cut();  // the loop's read ends, and with it the connection
      return;
    }
    if (written_ == out_.size()) break;
    const iovec rest{out_.data() + written_, out_.size() - written_};
    const ssize_t sent = transport_.write(&rest, 1);
    if (sent >= 0) {
      written_ += static_cast<std::size_t>(sent);
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      writing_ = true;
      since_ = Clock::now();
      wake();
      return;
    } else if (errno != EINTR) {
      transport_.cut();
      return;
    }
  }
  if (out_.capacity() > kOutBytes && out_.empty()) out_.shrink_to_fit();
  finish_if_done();
}

void Session::finish_if_done() {
  if (finished_) return;
  const bool over = nghttp2_session_want_read(session_) == 0 && nghttp2_session_want_write(session_) == 0;
  if (!over && !(leaving_ && streams_.empty())) return;
  finished_ = true;
  since_ = Clock::now();
  transport_.end();
  leave_gate();
  wake();
}

ssize_t Session::read(char* to, std::size_t size) {
  if (!transport_.encrypted()) return transport_.read(to, size);
  const Hold hold(*this);
  return transport_.read(to, size);
}

bool Session::holds_bytes() {
  if (!transport_.encrypted()) return false;
  const Hold hold(*this);
  return transport_.holds_bytes();
}

bool Session::receive(std::string_view bytes, std::vector<Incoming>& incoming) {
  const Hold hold(*this);
  if (gone_ || finished_ || calmed_) return true;
  incoming_ = &incoming;
  const ssize_t taken =
      nghttp2_session_mem_recv(session_, reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
  incoming_ = nullptr;
  return taken >= 0 || calmed_;
}

void Session::take_lost(std::vector<Incoming>& incoming) {
  const Hold hold(*this);
  for (Ref<StreamState>& stream : lost_) incoming.push_back({Incoming::Kind::kLost, std::move(stream)});
  lost_.clear();
}

std::vector<Ref<Session::StreamState>> Session::streams() {
  const Hold hold(*this);
  std::vector<Ref<StreamState>> list;
  list.reserve(streams_.size());
  for (const auto& [id, stream] : streams_) list.push_back(stream);
  return list;
}

Session::State Session::state(Clock::time_point now, bool hurried) {
  const Hold hold(*this);
  const bool late = std::any_of(streams_.begin(), streams_.end(), [&](const auto& entry) {
    return !entry.second->head_complete && (hurried || now - entry.second->begun > limits_.header_timeout);
  });
  return {greeted_, late, writing_, finished_, since_};
}

void Session::end_answered(Clock::time_point now) {
  const Hold hold(*this);
  if (gone_) return;
  for (const auto& [id, stream] : streams_) {
    if (now - stream->answered < kTimeToRead) continue;
    stream->answered = Clock::time_point::max();
    nghttp2_submit_rst_stream(session_, NGHTTP2_FLAG_NONE, id, NGHTTP2_NO_ERROR);
  }
  if (nghttp2_session_want_write(session_) != 0) push();
}

void Session::ping() {
  const Hold hold(*this);
  if (gone_) return;
  nghttp2_submit_ping(session_, NGHTTP2_FLAG_NONE, nullptr);
  push();
}

void Session::go_away(bool final) {
  const Hold hold(*this);
  if (gone_ || leaving_) return;
  if (final) {
    leaving_ = true;
    nghttp2_submit_goaway(session_, NGHTTP2_FLAG_NONE, nghttp2_session_get_last_proc_stream_id(session_),
                          NGHTTP2_NO_ERROR, nullptr, 0);
  } else if (!std::exchange(notified_, true)) {
    // What the client sends until it hears of it is still answered; the answer to the ping tells when it has.
    nghttp2_submit_shutdown_notice(session_);
    nghttp2_submit_ping(session_, NGHTTP2_FLAG_NONE, nullptr);
  }
  push();
}

void Session::drop(StreamState& stream) {
  stream.closed = true;
  if (stream.on_room) calls_.push_back(std::exchange(stream.on_room, {}));
  const auto found = streams_.find(stream.id);
  if (found == streams_.end()) return;
  dropped_.push_back(std::move(found->second));
  streams_.erase(found);
}

void Session::leave_gate() {
  if (std::exchange(at_gate_, false)) gate_.leave();
}

std::vector<Ref<Session::StreamState>> Session::abandon() {
  const Hold hold(*this);
  std::vector<Ref<StreamState>> lost = std::move(lost_);
  lost_.clear();
  if (gone_.exchange(true)) return lost;
  for (auto& [id, stream] : streams_) {
    stream->closed = true;
    if (stream->on_room) calls_.push_back(std::exchange(stream->on_room, {}));
    lost.push_back(std::move(stream));
  }
  streams_.clear();
  if (transport_.encrypted() && !finished_) transport_.end();
  leave_gate();
  return lost;
}

Cork::Cork() : outermost_(cork == nullptr) {
  if (outermost_) cork = this;
}

Cork::~Cork() {
  if (!outermost_) return;
  cork = nullptr;
  for (const Ref<Session>& session : sessions_) session->flush();
}

bool Cork::holds(Session& session) {
  if (cork == nullptr) return false;
  auto& sessions = cork->sessions_;
  const auto same = [&](const Ref<Session>& other) { return other.get() == &session; };
  if (std::none_of(sessions.rbegin(), sessions.rend(), same)) sessions.emplace_back(Ref<Session>(&session));
  return true;
}

}  // namespace penstock::http2
