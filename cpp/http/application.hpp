#pragma once

#include <cstddef>

#include <http/reply.hpp>

namespace penstock::http {

/// What answers the requests. The server calls it on its I/O threads.
class Application {
 public:
  virtual ~Application() = default;

  /// A request has arrived whole. Must not block, for nothing else of this loop is read meanwhile;
  /// may answer at once. If it throws, the request is answered with 500.
  virtual void handle(Request&& request, Reply reply) = 0;

  /// All sockets of `loop` that were ready have been read, so run the work that was queued. May
  /// take long: meanwhile `Server::assist` lets another thread read for this loop.
  virtual void after_poll(std::size_t loop) = 0;

  /// The first and the last thing an I/O thread does.
  virtual void thread_started(std::size_t /*loop*/) {}
  virtual void thread_ending(std::size_t /*loop*/) {}
};

}  // namespace penstock::http
