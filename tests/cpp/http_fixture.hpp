#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include <http/server.hpp>

namespace penstock::http::testing {

/// A client's socket on loopback. What waits, waits at most ten seconds: a hang fails the test.
class Client {
 public:
  explicit Client(std::uint16_t port) : socket_(::socket(AF_INET, SOCK_STREAM, 0)) {
    const timeval patience{10, 0};
    ::setsockopt(socket_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    ::setsockopt(socket_, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (::connect(socket_, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
      throw std::runtime_error("cannot connect");
  }
  ~Client() { close(); }
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  void close() {
    if (socket_ >= 0) ::close(std::exchange(socket_, -1));
  }
  void reset() {
    const linger now{1, 0};
    ::setsockopt(socket_, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    close();
  }
  [[nodiscard]] int descriptor() const { return socket_; }
  void half_close() const { ::shutdown(socket_, SHUT_WR); }

  void send(std::string_view text) const {
    while (!text.empty()) {
      const ssize_t sent = ::send(socket_, text.data(), text.size(), MSG_NOSIGNAL);
      if (sent <= 0) return;  // the server has closed: what it said can still be read
      text.remove_prefix(static_cast<std::size_t>(sent));
    }
  }

  struct Answer {
    int status = 0;  ///< 0: the connection ended first
    std::string head;
    std::string body;
  };

  /// Reads one answer; a HEAD's has no body.
  Answer receive(bool head_only = false) {
    Answer answer;
    std::size_t end = 0;
    while ((end = text_.find("\r\n\r\n")) == std::string::npos)
      if (!fill()) return answer;
    answer.head = text_.substr(0, end + 4);
    text_.erase(0, end + 4);
    answer.status = std::stoi(answer.head.substr(9, 3));
    const std::size_t field = answer.head.find("Content-Length: ");
    const std::size_t length = field == std::string::npos || head_only ? 0 : std::stoul(answer.head.substr(field + 16));
    while (text_.size() < length)
      if (!fill()) return answer;
    answer.body = text_.substr(0, length);
    text_.erase(0, length);
    return answer;
  }

  /// True once the server has closed and nothing unread is left.
  bool ended() {
    while (text_.empty() && fill()) {
    }
    return text_.empty() && ended_;
  }

  /// All that comes until the server closes.
  std::string rest() {
    while (fill()) {
    }
    EXPECT_TRUE(ended_);
    return text_;
  }

  Answer ask(std::string_view request) {
    send(request);
    return receive();
  }

 private:
  bool fill() {
    char bytes[65536];
    const ssize_t size = ::recv(socket_, bytes, sizeof bytes, 0);
    ended_ = size == 0 || (size < 0 && errno == ECONNRESET);
    if (size <= 0) return false;
    text_.append(bytes, static_cast<std::size_t>(size));
    return true;
  }

  int socket_;
  std::string text_;
  bool ended_ = false;
};

/// A value that one thread sets and another waits for.
template <class T>
class Box {
 public:
  void put(T value) {
    const std::lock_guard lock(mutex_);
    values_.push_back(std::move(value));
    added_.notify_all();
  }
  T take() {
    std::unique_lock lock(mutex_);
    if (!added_.wait_for(lock, std::chrono::seconds(10), [this] { return !values_.empty(); }))
      throw std::runtime_error("nothing came");
    T value = std::move(values_.front());
    values_.pop_front();
    return value;
  }
  bool empty() {
    const std::lock_guard lock(mutex_);
    return values_.empty();
  }

 private:
  std::mutex mutex_;
  std::condition_variable added_;
  std::deque<T> values_;
};

struct Held {
  Request request;
  Reply reply;
};

inline Response text(std::string body, int status = 200) { return {status, "text/plain", {}, Body(std::move(body))}; }

/// Answers /echo with the method, path, query and body, as work after the poll; /now in the handler;
/// throws at /throw, drops at /drop and hands anything else to the test.
class EchoApplication : public Application {
 public:
  void handle(Request&& request, Reply reply) override {
    if (request.path() == "/throw") throw std::runtime_error("handler");
    if (request.path() == "/drop") return;
    if (request.path() == "/now") return reply.send(text("now"));
    if (request.path() != "/echo") return held.put({std::move(request), std::move(reply)});
    const std::lock_guard lock(mutex_);
    queue_.push_back({std::move(request), std::move(reply)});
  }
  void after_poll(std::size_t) override {
    std::deque<Held> work;
    {
      const std::lock_guard lock(mutex_);
      work.swap(queue_);
    }
    for (Held& item : work) {
      std::string said(item.request.method());
      said += ' ';
      said += item.request.path();
      said += '?';
      said += item.request.query();
      said += '|' + item.request.body;
      item.reply.send(text(said));
    }
  }

  Box<Held> held;

 private:
  std::mutex mutex_;
  std::deque<Held> queue_;
};

/// A server on any free port with the EchoApplication. Tests may change `options` before `start`.
class HttpTest : public ::testing::Test {
 protected:
  void start() {
    server = std::make_unique<Server>(options, application);
    server->listen();
    server->start();
  }
  Client connect() const { return Client(server->port()); }
  /// The answer to one request on a connection of its own, and that the server still works.
  Client::Answer ask(std::string_view request) const {
    Client client(server->port());
    Client::Answer answer = client.ask(request);
    Client next(server->port());
    EXPECT_EQ(next.ask("GET /now HTTP/1.1\r\nHost: a\r\n\r\n").status, 200);
    return answer;
  }

  Options options;
  EchoApplication application;
  std::unique_ptr<Server> server;
};

}  // namespace penstock::http::testing
