#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include <http/gate.hpp>
#include <http/limits.hpp>
#include <http/peer.hpp>
#include <http/transport.hpp>
#include <http2/call.hpp>
#include <http2/control_budget.hpp>

struct nghttp2_session;

namespace penstock::http2 {

/// The protocol's state of one connection, and where to write to. It outlives the socket for as long
/// as a Stream or Reply refers to it.
///
/// What is public may be called from any thread, the rest from the thread that polls the
/// connection's loop. The mutex is a leaf: calls are made and bodies are released outside it.
class Session : public http::Peer {
 public:
  void send(std::int32_t id, Output&& output);
  void consume(std::int32_t id, std::size_t bytes);
  /// Writes what is waiting, as far as the socket takes it.
  void flush();
  virtual void run(std::function<void()>&& action) = 0;

  // Peer, for requests that are no calls: the number is the stream's.
  void send(std::uint64_t number, http::Response&& response) override;
  [[nodiscard]] bool abandoned(std::uint64_t number) noexcept override;
  void on_abandoned(std::uint64_t number, std::function<void()>&& callback) override;
  [[nodiscard]] bool takes_parts(std::uint64_t number) override;
  void open(std::uint64_t number, http::Response&& head) override;
  void write(std::uint64_t number, std::string_view part, bool last) override;
  void cut(std::uint64_t number) override;
  [[nodiscard]] bool has_room(std::uint64_t number, std::function<void()>&& then) override;

 protected:
  struct StreamState : RefCounted {
    explicit StreamState(std::int32_t number) : id(number), begun(Clock::now()) {}

    const std::int32_t id;
    const Clock::time_point begun;
    Ref<Call> call;  ///< used by the polling thread only; what follows is guarded by the session's mutex

    std::string method, path, authority, fields;  ///< of the head, the last as lines; taken by the polling thread
    bool is_call = false;                         ///< of gRPC, by its content type
    bool oversized = false;                       ///< some of the head is left out
    bool head_complete = false;
    bool client_ended = false;
    bool head_only = false;
    bool started = false;   ///< the headers are out
    bool last = false;      ///< nothing comes after what is queued
    bool deferred = false;  ///< the protocol waits for more to be queued
    bool closed = false;
    Clock::time_point answered = Clock::time_point::max();  ///< the answer is out, while the client goes on sending
    std::deque<http::Body> bodies;
    std::size_t offset = 0;  ///< bytes of the first body that are out
    std::size_t queued = 0;  ///< bytes of the bodies that no frame has been made for
    Fields trailers;
    std::function<void()> on_abandoned;
    std::function<void()> on_room;        ///< to be called when little is queued, or the stream is lost
    const std::string* origin = nullptr;  ///< whose pages may read the answer; see http::Access
  };

  /// Something that the client has done.
  struct Incoming {
    enum class Kind { kOpen, kData, kEnd, kLost };
    Kind kind;
    Ref<StreamState> stream;
    std::string_view bytes{};
  };

  /// What the timer needs to know.
  struct State {
    bool greeted = false;     ///< the client's preface has come
    bool head_late = false;   ///< a head is not there after its time
    bool writing = false;     ///< the socket is full
    bool finished = false;    ///< the last byte is out
    Clock::time_point since;  ///< when writing or finished began
  };

  Session(http::Gate& gate, const http::Limits& limits, http::Transport&& transport);
  ~Session() override;

  /// Reads from the socket; see Transport::read.
  ssize_t read(char* to, std::size_t size);
  bool holds_bytes();
  /// Takes in what has come. False if the client does not keep to the protocol beyond what can be told to it.
  bool receive(std::string_view bytes, std::vector<Incoming>& incoming);
  /// Streams that were lost other than by what the client sent.
  void take_lost(std::vector<Incoming>& incoming);
  std::vector<Ref<StreamState>> streams();
  /// `hurried`: a head that is not there yet is late.
  State state(Clock::time_point now, bool hurried);
  /// Ends streams whose answer is out, though the client sends still. Not at once: some clients would give up an answer
  /// that they have not looked at yet.
  void end_answered(Clock::time_point now);
  void ping();
  /// Tells the client to open no more streams; `final` once it has had time to hear of it.
  void go_away(bool final);
  /// Writes on after the socket had been full.
  void write_more();
  /// The socket is gone or the server stops. Returns the streams that are lost.
  std::vector<Ref<StreamState>> abandon();

  /// Something is to be done by the loop. Called under the mutex on any thread.
  virtual void wake() = 0;

 private:
  class Hold;
  struct Callbacks;
  friend struct Callbacks;

  StreamState* find(std::int32_t id) noexcept;
  void queue(StreamState& stream, Output&& output);
  void charge(std::uint8_t flags);
  void push();
  void write();
  bool fill();
  void finish_if_done();
  void leave_gate();
  void drop(StreamState& stream);

  http::Gate& gate_;
  const http::Limits& limits_;
  std::atomic<bool> gone_{false};

  std::mutex mutex_;           ///< guards all that follows
  http::Transport transport_;  ///< its descriptor is gone once `gone_` is set
  nghttp2_session* session_ = nullptr;
  std::unordered_map<std::int32_t, Ref<StreamState>> streams_;
  std::vector<Incoming>* incoming_ = nullptr;  ///< while bytes are taken in
  std::vector<Ref<StreamState>> lost_;
  std::vector<http::Body> released_;  ///< to be destroyed outside the mutex, as are the next
  std::vector<Ref<StreamState>> dropped_;
  std::vector<std::function<void()>> calls_;  ///< to be called there
  std::string out_;                           ///< bytes for the socket
  std::size_t written_ = 0;                   ///< of out_
  Clock::time_point since_;
  bool greeted_ = false;
  bool writing_ = false;
  bool finished_ = false;
  bool leaving_ = false;   ///< the client has been told the last stream that counts
  bool notified_ = false;  ///< the client has been told to open no more streams
  bool at_gate_ = true;
  bool calmed_ = false;  ///< the client has sent too much of what costs and asks for nothing: no more is read
  ControlBudget control_;
};

/// While one lives, what its thread sends is written when it ends: one write a connection.
class Cork {
 public:
  Cork();
  ~Cork();
  Cork(const Cork&) = delete;
  Cork& operator=(const Cork&) = delete;

  /// Whether the session will be flushed later.
  static bool holds(Session& session);

 private:
  bool outermost_;
  std::vector<Ref<Session>> sessions_;
};

}  // namespace penstock::http2
