#include <http/server.hpp>

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include <sys/socket.h>
#if defined(__GLIBC__)
#include <malloc.h>
#endif

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/system/system_error.hpp>

#include <http/loop.hpp>

namespace penstock::http {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using ReusePort = asio::detail::socket_option::boolean<SOL_SOCKET, SO_REUSEPORT>;  // Asio has no public name for it

/// Bodies, tensors and answers of some hundred KB come and go. glibc would give the memory of each back to the system
/// and take it again: a page fault for every 4 KB costs as much as all else that is done with them.
void keep_freed_memory() {
#if defined(__GLIBC__)
  mallopt(M_MMAP_THRESHOLD, 8 * 1024 * 1024);
  mallopt(M_TRIM_THRESHOLD, 16 * 1024 * 1024);  // bytes that a thread's heap keeps at its end
#endif
}

/// A port and those who come to it. Used by whoever polls the loop that it belongs to.
struct Listener {
  Listener(asio::io_context& context, Protocol p) : acceptor(context), protocol(p) {}

  /// Throws std::system_error.
  void listen(asio::io_context& context, const std::string& host, std::uint16_t port, bool reuse_port) {
    try {
      tcp::resolver resolver(context);
      const tcp::endpoint endpoint = resolver.resolve(host, std::to_string(port), tcp::resolver::passive)->endpoint();
      acceptor.open(endpoint.protocol());
      acceptor.set_option(tcp::acceptor::reuse_address(true));
      if (reuse_port) acceptor.set_option(ReusePort(true));
      acceptor.bind(endpoint);
      acceptor.listen();
      number = acceptor.local_endpoint().port();
    } catch (const boost::system::system_error& error) {
      close();
      throw std::system_error(static_cast<std::error_code>(error.code()),
                              "cannot listen on " + host + ":" + std::to_string(port));
    }
  }
  void close() {
    boost::system::error_code ignored;
    acceptor.close(ignored);
  }

  asio::basic_socket_acceptor<tcp, asio::io_context::executor_type> acceptor;
  const Protocol protocol;
  std::atomic<std::uint16_t> number{0};
  bool accepting = false;
};

/// Counts the loops that have come by; handlers of one loop never run side by side.
class Rounds {
 public:
  explicit Rounds(std::size_t loops) : left_(loops) {}
  void arrive() {
    const std::lock_guard lock(mutex_);
    if (--left_ == 0) done_.notify_all();
  }
  bool wait(std::chrono::milliseconds at_most) {
    std::unique_lock lock(mutex_);
    return done_.wait_for(lock, at_most, [this] { return left_ == 0; });
  }

 private:
  std::mutex mutex_;  ///< a leaf; guards the next
  std::condition_variable done_;
  std::size_t left_;
};

}  // namespace

class Server::Impl {
 public:
  Impl(Options options, Application& application, http2::Calls* calls)
      : options_(std::move(options)), shared_(application, options_.limits, options_.access, calls, options_.tls) {
    const std::size_t count = options_.io_threads == 0 ? 1 : options_.io_threads;
    for (std::size_t i = 0; i < count; ++i) loops_.push_back(std::make_unique<Loop>(i, shared_));
    asio::io_context& context = loops_[0]->context();
    listeners_.push_back(std::make_unique<Listener>(context, Protocol::kHttp1));
    if (options_.grpc_port) listeners_.push_back(std::make_unique<Listener>(context, Protocol::kHttp2));
  }

  ~Impl() { stop(); }

  void listen() {
    asio::io_context& context = loops_[0]->context();
    try {
      listeners_[0]->listen(context, options_.host, options_.port, options_.reuse_port);
      if (options_.grpc_port) listeners_[1]->listen(context, options_.host, *options_.grpc_port, options_.reuse_port);
    } catch (const std::system_error&) {
      close_acceptors();
      throw;
    }
    loops_[0]->set_on_tick([this] { accept_all(); });
    accept_all();
  }

  std::uint16_t port(std::size_t listener) const noexcept {
    return listener < listeners_.size() ? listeners_[listener]->number.load() : std::uint16_t{0};
  }

  void start() {
    keep_freed_memory();
    for (const auto& loop : loops_) threads_.emplace_back([&loop = *loop] { loop.run(); });
  }

  void stop_accepting() {
    asio::post(loops_[0]->context(), [this] { close_acceptors(); });
  }

  bool drain(std::chrono::milliseconds at_most) {
    shared_.draining = true;
    stop_accepting();
    for (const auto& loop : loops_) asio::post(loop->context(), [&loop = *loop] { loop.close_idle(); });
    return shared_.gate.wait_until_empty(at_most);
  }

  bool await_handlers(const std::shared_ptr<const void>& kept, std::chrono::milliseconds at_most) {
    const auto rounds = std::make_shared<Rounds>(loops_.size());
    for (const auto& loop : loops_) asio::post(loop->context(), [rounds, kept] { rounds->arrive(); });
    return rounds->wait(at_most);
  }

  void stop() {
    const std::lock_guard lock(stopping_);
    for (const auto& loop : loops_) loop->stop();
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
    for (const auto& loop : loops_) loop->await_assistants();
    close_acceptors();
    for (const auto& loop : loops_) loop->close_all();
  }

  void set_tls(std::shared_ptr<const TlsContext> tls) { shared_.set_tls(std::move(tls)); }
  std::size_t loops() const noexcept { return loops_.size(); }
  std::size_t connections() const noexcept { return shared_.connections.load(); }
  const Gate& gate() const noexcept { return shared_.gate; }
  Loop& loop(std::size_t index) { return *loops_.at(index); }

 private:
  void close_acceptors() {
    for (const auto& listener : listeners_) listener->close();
  }

  /// After an error, such as no descriptors left, the timer's next tick tries again.
  void accept_all() {
    for (const auto& listener : listeners_) accept(*listener);
  }

  /// Hands connections to the loops in turn.
  void accept(Listener& from) {
    if (from.accepting || !from.acceptor.is_open()) return;
    from.accepting = true;
    Loop& loop = *loops_[next_++ % loops_.size()];
    from.acceptor.async_accept(
        loop.context(), [this, &from, &loop](const boost::system::error_code& error, Socket socket) {
          from.accepting = false;
          if (error) return;
          if (&loop == loops_[0].get()) {
            loop.adopt(std::move(socket), from.protocol);
          } else {
            asio::post(loop.context(), [&loop, protocol = from.protocol, moved = std::move(socket)]() mutable {
              loop.adopt(std::move(moved), protocol);
            });
          }
          accept(from);
        });
  }

  const Options options_;
  Shared shared_;
  std::vector<std::unique_ptr<Loop>> loops_;
  std::vector<std::unique_ptr<Listener>> listeners_;
  std::vector<std::thread> threads_;
  std::mutex stopping_;
  std::size_t next_ = 0;
};

Server::Server(Options options, Application& application, http2::Calls* calls)
    : impl_(std::make_unique<Impl>(std::move(options), application, calls)) {}
Server::~Server() = default;

void Server::listen() { impl_->listen(); }
std::uint16_t Server::port() const noexcept { return impl_->port(0); }
std::uint16_t Server::grpc_port() const noexcept { return impl_->port(1); }
void Server::set_tls(std::shared_ptr<const TlsContext> tls) { impl_->set_tls(std::move(tls)); }
void Server::start() { impl_->start(); }
void Server::stop_accepting() { impl_->stop_accepting(); }
bool Server::drain(std::chrono::milliseconds at_most) { return impl_->drain(at_most); }
bool Server::await_handlers(std::shared_ptr<const void> kept, std::chrono::milliseconds at_most) {
  return impl_->await_handlers(kept, at_most);
}
void Server::stop() { impl_->stop(); }
std::size_t Server::loops() const noexcept { return impl_->loops(); }
std::size_t Server::connections() const noexcept { return impl_->connections(); }
const Gate& Server::gate() const noexcept { return impl_->gate(); }
bool Server::assist(std::size_t loop, std::chrono::milliseconds at_most) { return impl_->loop(loop).assist(at_most); }
void Server::wake(std::size_t loop) { impl_->loop(loop).wake(); }

}  // namespace penstock::http
