#pragma once

#include <cstddef>
#include <optional>
#include <string_view>

#include <boost/beast/core/flat_buffer.hpp>

#include <http/head_parser.hpp>
#include <http/outbox.hpp>
#include <http/socket.hpp>

namespace penstock::http {

class Loop;

/// The reading half of a connection. Belongs to one loop; except for what Outbox allows, it is
/// used only by the thread that polls this loop. Asio's handlers and the loop hold references.
class Connection final : public Outbox {
 public:
  /// One that is crowded out is answered 503, and closed: the server has connections enough.
  Connection(Loop& loop, Socket&& socket, Ssl&& ssl, bool crowded);

  void start() override;
  void tick(Clock::time_point now) override;
  void close_if_idle() override;
  void close() override;

 private:
  enum class Phase { kHead, kBody, kChunks, kDiscard };

  void wake() override;
  void on_wake();
  void turn_away();
  void read();
  boost::asio::mutable_buffer make_room();
  void await_bytes();
  void on_readable();
  void on_read(const boost::system::error_code& error, std::size_t size);
  void on_end();
  void consume();
  bool read_head();
  void change_protocol();
  bool start_body();
  bool read_chunks();
  void dispatch();
  void refuse(Refusal refusal) { turn_down(error_response(refusal.status, refusal.text)); }
  void turn_down(Response&& response);
  [[nodiscard]] bool is_late(Clock::time_point now) const;
  std::string_view unread() const noexcept;

  Loop& loop_;
  const bool crowded_;
  std::optional<Socket> socket_;  ///< gone once closed: it must not outlive the loop
  boost::beast::flat_buffer buffer_;
  std::optional<HeadParser> parser_;
  Request request_;
  Phase phase_ = Phase::kHead;
  std::size_t received_ = 0;                               ///< bytes of the body; in kDiscard, of what is thrown away
  std::size_t scanned_ = 0;                                ///< bytes of the head that hold no end
  Clock::time_point begun_;                                ///< when the request, or its body, was first waited for
  Clock::time_point leave_by_ = Clock::time_point::max();  ///< what is not there then is not waited for: a drain
  bool used_ = false;                                      ///< a request has come
  bool waiting_ = false;                                   ///< a request has come in part; begun_ counts
  bool reading_ = false;                                   ///< a read is under way
  bool ended_ = false;                                     ///< the client sends no more
  bool awaits_room_ = false;                               ///< for the socket to take more
};

}  // namespace penstock::http
