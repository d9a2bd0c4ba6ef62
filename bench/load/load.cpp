// An HTTP client for measurements: one thread and a number of keep-alive connections.
//
//   penstock_load PORT PATH BODY_FILE CONNECTIONS SECONDS [rate=N] [header=NAME:VALUE]...
//
// Posts the file to 127.0.0.1, as JSON unless a header says otherwise; with - for the file it sends GET. Each
// connection sends its next request as soon as its answer is there (closed loop); with a rate, requests are due at even
// intervals, whatever became of those before, and their time counts from when they were due (open loop).
//
// Prints one line of JSON: times in microseconds, rate in requests a second. The first tenth of the time is warm-up and
// only counted in `answers`. In an open loop 503 is `refused`, with times of its own; any other answer but 200, or a
// connection that ends, ends the run with exit code 1.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
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
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

namespace {

using Clock = std::chrono::steady_clock;

struct Options {
  std::uint16_t port = 0;
  std::string request;
  std::size_t connections = 1;
  double seconds = 1;
  double rate = 0;  ///< requests a second; 0: closed loop
};

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
  int status() const { return status_; }  ///< of the last answer

  void ask(std::string_view request, Clock::time_point due) {
    due_ = due;
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
    if (end == std::string::npos || !complete(end)) return false;
    status_ = std::atoi(text_.c_str() + std::min<std::size_t>(9, text_.size()));
    if (status_ != 200 && status_ != 503) throw std::runtime_error("the server said: " + text_);
    text_.clear();
    return true;
  }

  Clock::duration waited() const { return Clock::now() - due_; }

 private:
  bool complete(std::size_t head) const {
    if (const char* length = field(head, "content-length:"))
      return text_.size() >= head + 4 + std::strtoul(length, nullptr, 10);
    if (field(head, "transfer-encoding:") == nullptr) throw std::runtime_error("an answer has no length");
    return text_.compare(text_.size() - 5, 5, "0\r\n\r\n") == 0;  // the last chunk: nothing else follows it here
  }

  /// The value of a header field, given in lower case with its colon; null if it is not there.
  const char* field(std::size_t head, std::string_view name) const {
    for (std::size_t line = text_.find("\r\n"); line < head; line = text_.find("\r\n", line + 2))
      if (::strncasecmp(text_.c_str() + line + 2, name.data(), name.size()) == 0)
        return text_.c_str() + line + 2 + name.size();
    return nullptr;
  }

  int socket_;
  int status_ = 0;
  std::string text_;
  Clock::time_point due_;
};

/// What was measured: the times of answers and of refusals.
class Times {
 public:
  void add(int status, Clock::duration time) { (status == 200 ? answered_ : refused_).push_back(time); }

  void print(const Options& options, std::size_t answers) {
    if (answered_.empty()) throw std::runtime_error("no answer within the time");
    Clock::duration sum{};
    for (const Clock::duration time : answered_) sum += time;
    const double mean = microseconds(sum) / static_cast<double>(answered_.size());
    std::printf("{\"connections\": %zu, \"answers\": %zu, \"requests\": %zu, \"rate\": %.1f, \"mean_us\": %.1f, ",
                options.connections, answers, answered_.size(), static_cast<double>(answered_.size()) / options.seconds,
                mean);
    std::printf("\"p50_us\": %.1f, \"p95_us\": %.1f, \"p99_us\": %.1f, ", share(answered_, 0.50),
                share(answered_, 0.95), share(answered_, 0.99));
    std::printf("\"refused\": %zu, \"refused_p99_us\": %.1f}\n", refused_.size(), share(refused_, 0.99));
  }

 private:
  static double microseconds(Clock::duration time) { return std::chrono::duration<double, std::micro>(time).count(); }

  static double share(std::vector<Clock::duration>& times, double part) {
    if (times.empty()) return 0;
    const auto at = times.begin() + static_cast<std::ptrdiff_t>(part * static_cast<double>(times.size() - 1));
    std::nth_element(times.begin(), at, times.end());
    return microseconds(*at);
  }

  std::vector<Clock::duration> answered_, refused_;
};

class Run {
 public:
  explicit Run(const Options& options) : options_(options), poll_(::epoll_create1(0)) {
    for (std::size_t i = 0; i < options.connections; ++i) {
      open_.push_back(std::make_unique<Connection>(options.port));
      epoll_event event{};
      event.events = EPOLLIN;
      event.data.ptr = open_.back().get();
      ::epoll_ctl(poll_, EPOLL_CTL_ADD, open_.back()->descriptor(), &event);
      idle_.push_back(open_.back().get());
    }
  }
  ~Run() { ::close(poll_); }
  Run(const Run&) = delete;
  Run& operator=(const Run&) = delete;

  void go() {
    const auto whole = std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(options_.seconds));
    next_ = Clock::now();
    start_ = next_ + whole / 10;
    const auto end = start_ + whole;
    std::vector<epoll_event> events(options_.connections);
    for (auto now = next_; now < end; now = Clock::now()) {
      ask(now);
      const int ready =
          ::epoll_wait(poll_, events.data(), static_cast<int>(events.size()), options_.rate > 0 ? 1 : 10'000);
      if (ready == 0 && options_.rate == 0) throw std::runtime_error("no answer for 10 s");
      for (int i = 0; i < ready; ++i) read(*static_cast<Connection*>(events[static_cast<std::size_t>(i)].data.ptr));
    }
    times_.print(options_, answers_);
  }

 private:
  /// Sends what is due, as far as connections are free.
  void ask(Clock::time_point now) {
    if (options_.rate == 0) {
      for (Connection* connection : idle_) connection->ask(options_.request, Clock::now());
      idle_.clear();
      return;
    }
    const auto interval = std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(1 / options_.rate));
    for (; next_ <= now && !idle_.empty(); next_ += interval) {
      idle_.front()->ask(options_.request, next_);
      idle_.pop_front();
    }
  }

  void read(Connection& connection) {
    if (!connection.read()) return;
    if (connection.status() != 200 && options_.rate == 0) throw std::runtime_error("the server is full");
    ++answers_;
    if (Clock::now() >= start_) times_.add(connection.status(), connection.waited());
    if (options_.rate == 0)
      connection.ask(options_.request, Clock::now());
    else
      idle_.push_back(&connection);
  }

  const Options& options_;
  int poll_;
  std::vector<std::unique_ptr<Connection>> open_;
  std::deque<Connection*> idle_;
  Clock::time_point start_, next_;
  std::size_t answers_ = 0;
  Times times_;
};

Options parse(int count, char** words) {
  Options options;
  options.port = static_cast<std::uint16_t>(std::stoul(words[1]));
  options.connections = std::stoul(words[4]);
  options.seconds = std::stod(words[5]);
  std::string type = "Content-Type: application/json\r\n";
  std::string headers;
  for (int i = 6; i < count; ++i) {
    const std::string word = words[i];
    if (word.rfind("rate=", 0) == 0) {
      options.rate = std::stod(word.substr(5));
    } else if (word.rfind("header=", 0) == 0) {
      headers += word.substr(7) + "\r\n";
      if (::strncasecmp(words[i] + 7, "content-type:", 13) == 0) type.clear();
    } else {
      throw std::runtime_error("unknown option " + word);
    }
  }
  const std::string rest = std::string(words[2]) + " HTTP/1.1\r\nHost: 127.0.0.1\r\n" + headers;
  if (std::string_view(words[3]) == "-") {
    options.request = "GET " + rest + "\r\n";
    return options;
  }
  std::ifstream file(words[3], std::ios::binary);
  if (!file) throw std::runtime_error(std::string("cannot read ") + words[3]);
  const std::string body{std::istreambuf_iterator<char>(file), {}};
  options.request = "POST " + rest + type + "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
  return options;
}

}  // namespace

int main(int count, char** words) {
  if (count < 6) {
    std::fprintf(stderr,
                 "usage: penstock_load PORT PATH BODY_FILE CONNECTIONS SECONDS [rate=N] [header=NAME:VALUE]...\n");
    return 2;
  }
  try {
    const Options options = parse(count, words);
    Run(options).go();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "penstock_load: %s\n", error.what());
    return 1;
  }
}
