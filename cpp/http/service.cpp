#include <http/service.hpp>

#include <chrono>
#include <stdexcept>
#include <utility>

namespace penstock::http {

void Service::attach(Server& server) {
  const std::lock_guard lock(mutex_);
  if (server_ != nullptr) throw std::logic_error("the graph has a server already");
  server_ = &server;
}

void Service::detach() {
  std::unique_lock lock(mutex_);
  if (Server* server = std::exchange(server_, nullptr)) {
    lock.unlock();
    server->stop();  // sends those who help back
    lock.lock();
  }
  left_.wait(lock, [this] { return helping_ == 0; });
}

void Service::release() {
  const std::lock_guard lock(mutex_);
  server_ = nullptr;
}

bool Service::idle() {
  const std::lock_guard lock(mutex_);
  return server_ == nullptr && helping_ == 0;
}

void Service::assist(std::size_t loop) {
  std::unique_lock lock(mutex_);
  Server* server = server_;
  if (server == nullptr) return;
  ++helping_;
  lock.unlock();
  server->assist(loop, std::chrono::hours(1));
  lock.lock();
  if (--helping_ == 0) left_.notify_all();
}

void Service::nudge() {
  const std::lock_guard lock(mutex_);
  for (std::size_t loop = 0; server_ != nullptr && loop < server_->loops(); ++loop) server_->wake(loop);
}

}  // namespace penstock::http
