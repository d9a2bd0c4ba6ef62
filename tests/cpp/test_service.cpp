// A server that goes while threads of a core help it.
#include <atomic>
#include <future>
#include <thread>

#include <http/service.hpp>

#include "http_fixture.hpp"

namespace penstock::http::testing {
namespace {

using namespace std::chrono_literals;

/// Work at /block keeps its thread in after_poll until it is let go; counts the threads there.
class Blocking final : public EchoApplication {
 public:
  void handle(Request&& request, Reply reply) override {
    if (request.path() == "/block") ++blocks_;
    EchoApplication::handle(std::move(request), std::move(reply));
  }
  void after_poll(std::size_t loop) override {
    EchoApplication::after_poll(loop);
    if (blocks_.exchange(0) > 0) {
      ++inside;
      entered.put(loop);
      release.get_future().wait();
      --inside;
    }
    polled.put(loop);
  }
  Box<std::size_t> entered, polled;
  std::promise<void> release;
  std::atomic<int> inside{0};

 private:
  std::atomic<int> blocks_{0};
};

class ServiceTest : public ::testing::Test {
 protected:
  void start(std::size_t io_threads) {
    Options options;
    options.io_threads = io_threads;
    server = std::make_unique<Server>(options, application);
    server->listen();
    service.attach(*server);
    server->start();
  }
  Blocking application;
  Service service;
  std::unique_ptr<Server> server;
};

TEST_F(ServiceTest, WithoutAServerThereIsNothingToDo) {
  service.assist(0);
  service.nudge();
  service.detach();
}

TEST_F(ServiceTest, ANudgeReachesEveryLoop) {
  start(3);
  service.nudge();
  bool seen[3] = {};
  while (!(seen[0] && seen[1] && seen[2])) seen[application.polled.take()] = true;
  service.detach();
}

TEST_F(ServiceTest, ThoseWhoHelpComeBackBeforeTheServerGoes) {
  start(1);
  Client client(server->port());
  client.send("GET /block HTTP/1.1\r\nHost: a\r\n\r\n");
  application.entered.take();  // the loop's own thread is away
  std::vector<std::thread> helpers;
  std::atomic<int> back{0};
  for (int i = 0; i < 2; ++i)
    helpers.emplace_back([&] {
      service.assist(0);
      ++back;
    });
  EXPECT_EQ(Client(server->port()).ask("GET /echo HTTP/1.1\r\nHost: a\r\n\r\n").status, 200) << "they serve it";
  std::thread stopping([&] {
    service.detach();
    EXPECT_EQ(application.inside, 0) << "a thread is still in the application";
    server.reset();
  });
  application.release.set_value();
  stopping.join();
  for (std::thread& helper : helpers) helper.join();
  EXPECT_EQ(back, 2);
  service.assist(0);
  service.nudge();
}

TEST_F(ServiceTest, ServersComeAndGoWhileThreadsHelp) {
  std::atomic<bool> over{false};
  std::vector<std::thread> helpers;
  for (std::size_t i = 0; i < 2; ++i)
    helpers.emplace_back([&, i] {
      while (!over) {
        service.assist(i);
        service.nudge();
        std::this_thread::yield();
      }
    });
  for (int i = 0; i < 20; ++i) {
    start(2);
    EXPECT_EQ(Client(server->port()).ask("GET /echo HTTP/1.1\r\nHost: a\r\n\r\n").status, 200);
    Client open(server->port());
    open.send("GET /hold HTTP/1.1\r\nHost: a\r\n\r\n");
    service.detach();
    server.reset();
  }
  over = true;
  for (std::thread& helper : helpers) helper.join();
}

TEST_F(ServiceTest, AGraphHasOneServer) {
  start(1);
  EXPECT_THROW(service.attach(*server), std::logic_error);
  service.detach();
}

}  // namespace
}  // namespace penstock::http::testing
