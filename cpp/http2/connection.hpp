#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include <http/socket.hpp>
#include <http2/session.hpp>

namespace penstock::http {
class Loop;
}

namespace penstock::http2 {

/// The reading half of an HTTP/2 connection. Belongs to one loop; except for what Session allows,
/// it is used only by the thread that polls this loop. Asio's handlers and the loop hold references.
class Connection final : public Session {
 public:
  Connection(http::Loop& loop, http::Socket&& socket, http::Ssl&& ssl);

  void start() override;
  /// Starts with what has been read already.
  void start(std::string_view bytes);
  void tick(Clock::time_point now) override;
  void close_if_idle() override;
  void close() override;
  void run(std::function<void()>&& action) override;

 private:
  void wake() override;
  void on_wake();
  void await_bytes();
  void on_readable();
  void take(std::string_view bytes);
  void dispatch(std::vector<Incoming>& incoming);
  void open(const Ref<StreamState>& stream);
  void lose(StreamState& stream) const;
  void dispatch_lost();

  http::Loop& loop_;
  std::optional<http::Socket> socket_;  ///< gone once closed: it must not outlive the loop
  Clock::time_point begun_;
  Clock::time_point heard_;                                ///< when the client last sent something
  Clock::time_point pinged_;                               ///< when it was asked whether it is there
  bool asked_ = false;                                     ///< it has been, and has not answered
  Clock::time_point leave_by_ = Clock::time_point::max();  ///< a head that is not there then is not waited for
  bool draining_ = false;
  bool awaits_room_ = false;  ///< for the socket to take more
};

}  // namespace penstock::http2
