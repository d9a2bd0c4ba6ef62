#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <penstock/ref.hpp>

#include <http/message.hpp>

namespace penstock::http2 {

class Session;

/// Names, in lower case, and values.
using Fields = std::vector<std::pair<std::string, std::string>>;

/// What goes out on a stream. The first of a stream has the headers, with ":status"; `last` ends it.
struct Output {
  Fields headers;
  std::vector<http::Body> bodies;
  Fields trailers;
  bool last = false;
};

/// The right to answer on one stream. May be used and dropped on any thread, also after the client
/// has gone away or the server has stopped: then nothing happens.
class Stream {
 public:
  Stream() noexcept;
  Stream(Ref<Session> session, std::int32_t id) noexcept;
  Stream(const Stream&) noexcept;
  Stream(Stream&&) noexcept;
  Stream& operator=(Stream) noexcept;
  ~Stream();

  /// Sends as far as the client takes it, and keeps the rest. Never waits.
  void send(Output&& output) const;
  /// Bytes that `Call::take` had left are used up now, so the client may send as many more.
  void consumed(std::size_t bytes) const;
  /// Whether the client keeps up with what is sent; if not, `then` is called once when it does, or is gone. Any thread.
  [[nodiscard]] bool has_room(std::function<void()> then) const;
  /// Has `action` run by the thread that polls the connection's loop, where Call's methods run.
  void run(std::function<void()> action) const;

 private:
  Ref<Session> session_;
  std::int32_t id_ = 0;
};

/// Takes what the client sends on one stream. The thread that polls the connection's loop calls all
/// methods; none may block.
class Call : public RefCounted {
 public:
  using Clock = std::chrono::steady_clock;

  /// How many of the bytes are used up. For the others see Stream::consumed: until then the
  /// client sends no more than its window allows.
  virtual std::size_t take(std::string_view bytes) = 0;
  /// The client has sent all.
  virtual void end() = 0;
  /// The client has given up, or is gone: nothing can be sent any more.
  virtual void abandon() = 0;
  /// The server takes no more calls and waits for the end of this one.
  virtual void drain() {}
  /// Called about once a second.
  virtual void tick(Clock::time_point /*now*/) {}
};

/// Takes the calls of a protocol on top of HTTP/2.
class Calls {
 public:
  virtual ~Calls() = default;
  /// A call begins. On the thread that polls the connection's loop.
  virtual Ref<Call> open(http::Request&& head, Stream stream) = 0;
  /// A call that is not taken: `why`, as a request would be answered.
  virtual void refuse(const http::Response& why, const Stream& stream) = 0;
};

}  // namespace penstock::http2
