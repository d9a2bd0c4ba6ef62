#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include <http/peer.hpp>
#include <http/transport.hpp>

namespace penstock::http {

/// Counts the connections that may still have something to answer, and lets a drain wait for none.
class Gate;

/// The answering half of a connection: the answers in the order of their requests, and where to
/// write them. It outlives the socket for as long as a Reply refers to it.
///
/// `send`, `abandoned` and `on_abandoned` may be called from any thread, the rest from the thread
/// that runs the connection's loop. The mutex is a leaf: callbacks run and bodies are released
/// outside it.
class Outbox : public Peer {
 public:
  /// How a request wants to be answered.
  struct Terms {
    bool keep_alive = true;
    bool http10 = false;
    bool head_only = false;
    const std::string* origin = nullptr;  ///< whose pages may read the answer; see Access
  };

  void send(std::uint64_t number, Response&& response) override;
  bool abandoned(std::uint64_t /*number*/) noexcept override { return gone_.load(std::memory_order_acquire); }
  void on_abandoned(std::uint64_t number, std::function<void()>&& callback) override;
  bool takes_parts(std::uint64_t number) override;
  void open(std::uint64_t number, Response&& head) override;
  void write(std::uint64_t number, std::string_view part, bool last) override;
  void cut(std::uint64_t number) override;
  bool has_room(std::uint64_t number, std::function<void()>&& then) override;

 protected:
  /// What the timer needs to know.
  struct State {
    std::size_t unanswered = 0;
    bool writing = false;     ///< the socket is full
    bool finished = false;    ///< the last answer is out
    Clock::time_point since;  ///< when this began
  };

  Outbox(Gate& gate, const std::atomic<bool>& draining, Transport&& transport, std::size_t pipelined);

  [[nodiscard]] bool encrypted() const noexcept { return encrypted_; }
  /// Reads what is encrypted; see Transport::read.
  ssize_t receive(char* to, std::size_t size);
  bool holds_bytes();
  /// Lets go of the encryption, for another who takes over the socket.
  Ssl take_ssl();
  /// Makes room for an answer; requests are numbered as they come. Nothing if the last answer is out.
  std::optional<std::uint64_t> expect_answer(Terms terms);
  /// Lets the client know, in its turn, that it should send the body it announced.
  void send_continue();
  /// The client sends nothing more. It may still read: what is not answered yet is, then the connection ends. Whether
  /// it has gone altogether shows soon: then an error comes from the socket.
  void expect_no_more();
  /// True if so many requests wait that no more should be read; `wake` will be called.
  bool full();
  State state();
  /// Writes on after the socket had been full.
  void write_more();
  /// The client has gone away or the server stops. Nothing is written from now on; those who wait are told.
  void abandon();

  /// Something is to be done by the loop: write on, read on or close. Called under the mutex on any thread.
  virtual void wake() = 0;

 private:
  struct Slot {
    std::string head;  ///< status line and headers; keeps its memory for the next answer
    Body body;
    std::function<void()> abandoned;
    std::function<void()> room;  ///< to be called when all that is there of the answer is written
    Terms terms;
    bool ready = false;
    bool open = false;  ///< more of it will come, behind what is in `head`
    bool last = false;
    bool interim = false;
  };

  /// What is to be let go, or called, when the mutex is free again.
  struct Aftermath {
    std::vector<Body> bodies;
    std::vector<std::function<void()>> calls;
    Aftermath() = default;
    Aftermath(const Aftermath&) = delete;
    Aftermath& operator=(const Aftermath&) = delete;
    ~Aftermath() {
      for (const auto& call : calls) call();
    }
  };

  Slot& slot(std::uint64_t number) noexcept { return ring_[number & (ring_.size() - 1)]; }
  std::uint64_t add_slot();
  bool is_last(std::uint64_t number);
  void flush(Aftermath& after);
  std::size_t gather(iovec* parts, std::size_t capacity);
  void take(std::size_t written, Aftermath& after);
  void probe();
  void finish();
  void leave_gate();

  Gate& gate_;
  const std::atomic<bool>& draining_;
  const std::size_t pipelined_;
  const bool encrypted_;
  std::atomic<bool> gone_{false};

  std::mutex mutex_;         ///< guards all that follows
  Transport transport_;      ///< its descriptor is gone once `gone_` is set
  std::vector<Slot> ring_;   ///< a power of two of them
  std::uint64_t front_ = 0;  ///< number of the oldest answer that is not written
  std::uint64_t back_ = 0;   ///< number of the next request
  std::size_t written_ = 0;  ///< bytes of the oldest answer that are out
  Clock::time_point since_;
  bool writing_ = false;
  bool finished_ = false;
  bool reading_paused_ = false;
  bool at_gate_ = true;
};

}  // namespace penstock::http
