#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>

#include <penstock/ref.hpp>

#include <http/message.hpp>

namespace penstock::http {

/// A client's connection, of whatever protocol, as its loop and those who answer it see it.
class Peer : public RefCounted {
 public:
  using Clock = std::chrono::steady_clock;

  /// Answers request `number`. These three: any thread; see Reply.
  virtual void send(std::uint64_t number, Response&& response) = 0;
  [[nodiscard]] virtual bool abandoned(std::uint64_t number) noexcept = 0;
  virtual void on_abandoned(std::uint64_t number, std::function<void()>&& callback) = 0;

  /// An answer in parts, for peers that can have one: its head, then its parts; see Reply.
  [[nodiscard]] virtual bool takes_parts(std::uint64_t /*number*/) { return false; }
  virtual void open(std::uint64_t /*number*/, Response&& /*head*/) {}
  virtual void write(std::uint64_t /*number*/, std::string_view /*part*/, bool /*last*/) {}
  virtual void cut(std::uint64_t /*number*/) {}
  [[nodiscard]] virtual bool has_room(std::uint64_t /*number*/, std::function<void()>&& /*then*/) { return true; }

  /// The rest: the thread that polls the connection's loop.
  virtual void start() = 0;
  /// Called about once a second, or more often if a timeout is shorter.
  virtual void tick(Clock::time_point now) = 0;
  /// Takes no more requests, and closes once there is nothing to answer. Part of a drain.
  virtual void close_if_idle() = 0;
  /// Ends it now. Unanswered requests are abandoned.
  virtual void close() = 0;

  std::size_t index() const noexcept { return index_; }  ///< in the loop's list
  void set_index(std::size_t index) noexcept { index_ = index; }

 private:
  std::size_t index_ = 0;
};

}  // namespace penstock::http
