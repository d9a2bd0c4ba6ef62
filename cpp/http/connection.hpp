#pragma once

#include <cstddef>
#include <optional>
#include <string_view>

#include <boost/asio/basic_stream_socket.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/core/flat_buffer.hpp>

#include <http/head_parser.hpp>
#include <http/outbox.hpp>

namespace penstock::http {

class Loop;

/// Asio's stream socket without the type-erased executor.
using Socket = boost::asio::basic_stream_socket<boost::asio::ip::tcp, boost::asio::io_context::executor_type>;

/// The reading half of a connection. Belongs to one loop; except for what Outbox allows, it is
/// used only by the thread that polls this loop. Asio's handlers and the loop hold references.
class Connection final : public Outbox {
 public:
  Connection(Loop& loop, Socket&& socket, std::size_t index);

  void start();
  /// Answers 503 and closes: the server has connections enough.
  void turn_away();
  /// Called about once a second, or more often if a timeout is shorter.
  void tick(Clock::time_point now);
  /// Closes if no request is there or on its way. Part of a drain.
  void close_if_idle();
  /// Ends it now. Unanswered requests are abandoned.
  void close();

  std::size_t index() const noexcept { return index_; }  ///< in the loop's list
  void set_index(std::size_t index) noexcept { index_ = index; }

 private:
  enum class Phase { kHead, kBody, kChunks, kDiscard };

  void wake() override;
  void on_wake();
  void read();
  void on_read(const boost::system::error_code& error, std::size_t size);
  void consume();
  bool read_head();
  bool start_body();
  bool read_chunks();
  void dispatch();
  void refuse(Refusal refusal);
  [[nodiscard]] bool is_late(Clock::time_point now) const;
  std::string_view unread() const noexcept;

  Loop& loop_;
  std::optional<Socket> socket_;  ///< gone once closed: it must not outlive the loop
  std::size_t index_;
  boost::beast::flat_buffer buffer_;
  std::optional<HeadParser> parser_;
  Request request_;
  Phase phase_ = Phase::kHead;
  std::size_t received_ = 0;  ///< bytes of the body; in kDiscard, of what is thrown away
  std::size_t scanned_ = 0;   ///< bytes of the head that hold no end
  Clock::time_point begun_;   ///< when the request, or its body, was first waited for
  bool waiting_ = false;      ///< a request has come in part; begun_ counts
  bool reading_ = false;      ///< a read is under way
  bool awaits_room_ = false;  ///< for the socket to take more
};

}  // namespace penstock::http
