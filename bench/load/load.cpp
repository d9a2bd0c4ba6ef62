// An HTTP client for measurements: one thread, a number of keep-alive connections, each sends its
// next request as soon as its answer is there (closed loop).
//
//   penstock_load PORT PATH BODY_FILE CONNECTIONS SECONDS
//
// Posts the file as JSON to 127.0.0.1 and prints one line of JSON: times in microseconds, rate in
// requests a second. The first tenth of the time is warm-up and not counted. Any answer but 200, or
// a connection that ends, ends the run with exit code 1.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

namespace {

using Clock = std::chrono::steady_clock;

class Connection {
 public:
  explicit Connection(std::uint16_t port) : socket_(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (::connect(socket_, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
      throw std::runtime_error("cannot connect to port " + std::to_string(port));
    const int yes = 1;
    ::setsockopt(socket_, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
  }
  ~Connection() { ::close(socket_); }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  int descriptor() const { return socket_; }

  void ask(std::string_view request) {
    asked_ = Clock::now();
    while (!request.empty()) {
      const ssize_t sent = ::send(socket_, request.data(), request.size(), MSG_NOSIGNAL);
      if (sent <= 0) throw std::runtime_error("the server closed a connection");
      request.remove_prefix(static_cast<std::size_t>(sent));
    }
  }

  /// Reads what is there. True once the answer is complete.
  bool read() {
    char bytes[65536];
    const ssize_t size = ::recv(socket_, bytes, sizeof bytes, 0);
    if (size <= 0) throw std::runtime_error("the server closed a connection");
    text_.append(bytes, static_cast<std::size_t>(size));
    const std::size_t end = text_.find("\r\n\r\n");
    if (end == std::string::npos) return false;
    if (text_.compare(9, 3, "200") != 0) throw std::runtime_error("the server said: " + text_);
    const std::size_t field = text_.find("Content-Length: ");
    if (field == std::string::npos || field > end) throw std::runtime_error("an answer has no length");
    const std::size_t length = std::strtoul(text_.c_str() + field + 16, nullptr, 10);
    if (text_.size() < end + 4 + length) return false;
    text_.clear();
    return true;
  }

  Clock::duration waited() const { return Clock::now() - asked_; }

 private:
  int socket_;
  std::string text_;
  Clock::time_point asked_;
};

double microseconds(std::vector<Clock::duration>& sorted, double share) {
  const auto index = static_cast<std::size_t>(share * static_cast<double>(sorted.size() - 1));
  return std::chrono::duration<double, std::micro>(sorted[index]).count();
}

double mean(const std::vector<Clock::duration>& times) {
  Clock::duration sum{};
  for (const Clock::duration time : times) sum += time;
  return std::chrono::duration<double, std::micro>(sum).count() / static_cast<double>(times.size());
}

void run(std::uint16_t port, const std::string& path, const std::string& body, std::size_t connections,
         double seconds) {
  const std::string request = "POST " + path + " HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n" +
                              "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
  const int poll = ::epoll_create1(0);
  std::vector<std::unique_ptr<Connection>> open;
  for (std::size_t i = 0; i < connections; ++i) {
    open.push_back(std::make_unique<Connection>(port));
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.ptr = open.back().get();
    ::epoll_ctl(poll, EPOLL_CTL_ADD, open.back()->descriptor(), &event);
  }
  const auto whole = std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
  const auto start = Clock::now() + whole / 10;
  const auto end = start + whole;
  std::vector<Clock::duration> times;
  times.reserve(1 << 20);
  for (const auto& connection : open) connection->ask(request);
  std::vector<epoll_event> events(connections);
  for (auto now = Clock::now(); now < end; now = Clock::now()) {
    const int ready = ::epoll_wait(poll, events.data(), static_cast<int>(events.size()), 10'000);
    if (ready == 0) throw std::runtime_error("no answer for 10 s");
    for (int i = 0; i < ready; ++i) {
      auto& connection = *static_cast<Connection*>(events[static_cast<std::size_t>(i)].data.ptr);
      if (!connection.read()) continue;
      if (now >= start) times.push_back(connection.waited());
      connection.ask(request);
    }
  }
  ::close(poll);
  if (times.empty()) throw std::runtime_error("no answer within the time");
  std::sort(times.begin(), times.end());
  std::printf(
      "{\"connections\": %zu, \"requests\": %zu, \"rate\": %.1f, \"mean_us\": %.1f, \"p50_us\": %.1f, "
      "\"p95_us\": %.1f, \"p99_us\": %.1f}\n",
      connections, times.size(), static_cast<double>(times.size()) / seconds, mean(times), microseconds(times, 0.50),
      microseconds(times, 0.95), microseconds(times, 0.99));
}

}  // namespace

int main(int count, char** words) {
  if (count != 6) {
    std::fprintf(stderr, "usage: penstock_load PORT PATH BODY_FILE CONNECTIONS SECONDS\n");
    return 2;
  }
  try {
    std::ifstream file(words[3], std::ios::binary);
    if (!file) throw std::runtime_error(std::string("cannot read ") + words[3]);
    const std::string body{std::istreambuf_iterator<char>(file), {}};
    run(static_cast<std::uint16_t>(std::stoul(words[1])), words[2], body, std::stoul(words[4]), std::stod(words[5]));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "penstock_load: %s\n", error.what());
    return 1;
  }
}
