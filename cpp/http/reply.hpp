#pragma once

#include <cstdint>
#include <functional>
#include <string_view>

#include <penstock/ref.hpp>

#include <http/peer.hpp>

namespace penstock::http {

/// The right to answer one request. May be used and dropped on any thread, also after the client
/// has gone away or the server has stopped: then nothing happens. Dropped unsent it answers 500.
class Reply {
 public:
  Reply() noexcept;
  Reply(Ref<Peer> peer, std::uint64_t number) noexcept;
  Reply(Reply&& other) noexcept;
  Reply& operator=(Reply&& other) noexcept;
  ~Reply();

  /// Answers. Writes at once, without waiting, as far as the socket takes it and earlier requests
  /// of the connection are answered. Works once.
  void send(Response&& response);

  /// Whether the answer may come in parts: `open`, then `write`, the last time with `last`.
  [[nodiscard]] bool takes_parts() const { return peer_ && peer_->takes_parts(number_); }
  /// Sends the head; the body of `head` is not sent. What `on_abandoned` set stays until the end.
  void open(Response&& head);
  void write(std::string_view part, bool last = false);
  /// Ends the connection in the middle, so that the client sees that something is missing.
  void cut();
  /// Whether the client keeps up; if not, `then` is called once when it does, on any thread.
  [[nodiscard]] bool has_room(std::function<void()> then);

  /// True once the client has gone away, so that nobody will read an answer.
  [[nodiscard]] bool abandoned() const noexcept;

  /// Sets what is called, once, on an I/O thread, if the client goes away before the answer is
  /// sent; at once, here, if it has gone already. `callback` may still be running when `send`
  /// on another thread returns.
  void on_abandoned(std::function<void()> callback);

  explicit operator bool() const noexcept { return static_cast<bool>(peer_); }

 private:
  Ref<Peer> peer_;
  std::uint64_t number_ = 0;
};

}  // namespace penstock::http
