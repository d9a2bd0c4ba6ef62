#include <http/server.hpp>

#include <atomic>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/system/system_error.hpp>

#include <http/loop.hpp>

namespace penstock::http {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;

}  // namespace

class Server::Impl {
 public:
  Impl(Options options, Application& application)
      : options_(std::move(options)), shared_(application, options_.limits) {
    const std::size_t count = options_.io_threads == 0 ? 1 : options_.io_threads;
    for (std::size_t i = 0; i < count; ++i) loops_.push_back(std::make_unique<Loop>(i, shared_));
    acceptor_.emplace(loops_[0]->context());
  }

  ~Impl() { stop(); }

  void listen() {
    const std::string where = options_.host + ":" + std::to_string(options_.port);
    try {
      tcp::resolver resolver(loops_[0]->context());
      const tcp::endpoint endpoint =
          resolver.resolve(options_.host, std::to_string(options_.port), tcp::resolver::passive)->endpoint();
      acceptor_->open(endpoint.protocol());
      acceptor_->set_option(tcp::acceptor::reuse_address(true));
      acceptor_->bind(endpoint);
      acceptor_->listen();
      port_ = acceptor_->local_endpoint().port();
    } catch (const boost::system::system_error& error) {
      boost::system::error_code ignored;
      acceptor_->close(ignored);
      throw std::system_error(static_cast<std::error_code>(error.code()), "cannot listen on " + where);
    }
    loops_[0]->set_on_tick([this] { accept(); });
    accept();
  }

  std::uint16_t port() const noexcept { return port_; }

  void start() {
    for (const auto& loop : loops_) threads_.emplace_back([&loop = *loop] { loop.run(); });
  }

  void stop_accepting() {
    asio::post(loops_[0]->context(), [this] { close_acceptor(); });
  }

  bool drain(std::chrono::milliseconds at_most) {
    shared_.draining = true;
    stop_accepting();
    for (const auto& loop : loops_) asio::post(loop->context(), [&loop = *loop] { loop.close_idle(); });
    return shared_.gate.wait_until_empty(at_most);
  }

  void stop() {
    const std::lock_guard lock(stopping_);
    for (const auto& loop : loops_) loop->stop();
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
    for (const auto& loop : loops_) loop->await_assistants();
    close_acceptor();
    for (const auto& loop : loops_) loop->close_all();
  }

  std::size_t loops() const noexcept { return loops_.size(); }
  std::size_t connections() const noexcept { return shared_.connections.load(); }
  Loop& loop(std::size_t index) { return *loops_.at(index); }

 private:
  void close_acceptor() {
    boost::system::error_code ignored;
    acceptor_->close(ignored);
  }

  /// Hands connections to the loops in turn. After an error, such as no descriptors left, the
  /// timer's next tick tries again.
  void accept() {
    if (accepting_ || !acceptor_->is_open()) return;
    accepting_ = true;
    Loop& loop = *loops_[next_++ % loops_.size()];
    acceptor_->async_accept(loop.context(), [this, &loop](const boost::system::error_code& error, Socket socket) {
      accepting_ = false;
      if (error) return;
      if (&loop == loops_[0].get()) {
        loop.adopt(std::move(socket));
      } else {
        asio::post(loop.context(), [&loop, moved = std::move(socket)]() mutable { loop.adopt(std::move(moved)); });
      }
      accept();
    });
  }

  const Options options_;
  Shared shared_;
  std::vector<std::unique_ptr<Loop>> loops_;
  std::optional<asio::basic_socket_acceptor<tcp, asio::io_context::executor_type>> acceptor_;
  std::vector<std::thread> threads_;
  std::mutex stopping_;
  std::atomic<std::uint16_t> port_{0};
  std::size_t next_ = 0;
  bool accepting_ = false;
};

Server::Server(Options options, Application& application)
    : impl_(std::make_unique<Impl>(std::move(options), application)) {}
Server::~Server() = default;

void Server::listen() { impl_->listen(); }
std::uint16_t Server::port() const noexcept { return impl_->port(); }
void Server::start() { impl_->start(); }
void Server::stop_accepting() { impl_->stop_accepting(); }
bool Server::drain(std::chrono::milliseconds at_most) { return impl_->drain(at_most); }
void Server::stop() { impl_->stop(); }
std::size_t Server::loops() const noexcept { return impl_->loops(); }
std::size_t Server::connections() const noexcept { return impl_->connections(); }
bool Server::assist(std::size_t loop, std::chrono::milliseconds at_most) { return impl_->loop(loop).assist(at_most); }
void Server::wake(std::size_t loop) { impl_->loop(loop).wake(); }

}  // namespace penstock::http
