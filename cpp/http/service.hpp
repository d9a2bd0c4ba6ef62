#pragma once

#include <condition_variable>
#include <cstddef>
#include <mutex>

#include <http/server.hpp>

namespace penstock::http {

/// What an executor's threads do for a server. Outlives both: the executor keeps it, and may use it
/// at any time, while servers come and go, and so do graphs of a server. Thread-safe; its mutex is a leaf.
class Service {
 public:
  /// From now on threads help this server. Throws std::logic_error if there is another one.
  void attach(Server& server);
  /// Stops the server and lets it go; when this returns no thread is in it or comes to it any more.
  /// Not from a thread that helps. Does nothing without a server.
  void detach();
  /// Lets a server go that serves on: nobody comes to it any more. Who is in it comes back in time.
  void release();
  /// Whether it has no server, and no thread is in one.
  [[nodiscard]] bool idle();

  /// Serves one of the server's loops until its own thread is back. See `LaneHost::assist`.
  void assist(std::size_t loop);
  /// Makes every I/O thread call `after_poll` soon; posts only.
  void nudge();

 private:
  std::mutex mutex_;  ///< guards all that follows
  std::condition_variable left_;
  Server* server_ = nullptr;
  std::size_t helping_ = 0;
};

}  // namespace penstock::http
