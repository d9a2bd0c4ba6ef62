// Who may ask: tokens and the origins of pages, over a real server.
#include <gtest/gtest.h>

#include <string>

#include "http_fixture.hpp"

namespace penstock::http::testing {
namespace {

std::string get(std::string_view path, std::string_view headers = "") {
  return "GET " + std::string(path) + " HTTP/1.1\r\nHost: a\r\n" + std::string(headers) + "\r\n";
}

bool has(const Client::Answer& answer, std::string_view line) {
  return answer.head.find(std::string(line) + "\r\n") != std::string::npos;
}

class AccessTest : public HttpTest {
 protected:
  void serve(std::vector<std::string> tokens, std::vector<std::string> origins = {}) {
    options.access = {std::move(tokens), std::move(origins)};
    start();
  }
  int status_of(std::string_view path, std::string_view headers = "") {
    return connect().ask(get(path, headers)).status;
  }
};

TEST_F(AccessTest, WithoutATokenItIs401AndWithAnotherOne403) {
  serve({"one", "two"});
  const auto refused = connect().ask(get("/echo"));
  EXPECT_EQ(refused.status, 401);
  EXPECT_TRUE(has(refused, "WWW-Authenticate: Bearer"));
  EXPECT_TRUE(has(refused, "Connection: close"));
  EXPECT_EQ(status_of("/echo", "Authorization: Basic b25l\r\n"), 401);
  EXPECT_EQ(status_of("/echo", "Authorization: Bearer \r\n"), 401);
  for (const std::string wrong : {"three", "on", "onee", "one one", "oneone"})
    EXPECT_EQ(status_of("/echo", "Authorization: Bearer " + wrong + "\r\n"), 403) << wrong;
}

TEST_F(AccessTest, AnyOfTheTokensWillDo) {
  serve({"one", "two"});
  EXPECT_EQ(status_of("/echo", "Authorization: Bearer one\r\n"), 200);
  EXPECT_EQ(status_of("/echo", "authorization: bearer two\r\n"), 200);
}

TEST_F(AccessTest, HealthIsOpen) {
  serve({"one"});
  for (const std::string path : {"/v2/health/live", "/v2/health/ready"}) {
    auto client = connect();
    client.send(get(path));
    application.held.take().reply.send(text("alive"));
    EXPECT_EQ(client.receive().status, 200) << path;
  }
  EXPECT_EQ(status_of("/v2/health/ready/more"), 401);
}

TEST_F(AccessTest, ARequestIsRefusedBeforeItsBodyIsRead) {
  serve({"one"});
  auto client = connect();
  client.send("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\nExpect: 100-continue\r\n\r\n");
  EXPECT_EQ(client.receive().status, 401);
}

TEST_F(AccessTest, PagesOfAListedOriginMayReadTheAnswer) {
  serve({}, {"https://a.org", "https://b.org"});
  const auto answer = connect().ask(get("/echo", "Origin: https://b.org\r\n"));
  EXPECT_EQ(answer.status, 200);
  EXPECT_TRUE(has(answer, "Access-Control-Allow-Origin: https://b.org"));
  EXPECT_TRUE(has(answer, "Vary: Origin"));
  for (const std::string headers :
       {"", "Origin: https://c.org\r\n", "Origin: https://b.org.c.org\r\n", "Origin: \r\n"}) {
    const auto others = connect().ask(get("/echo", headers));
    EXPECT_EQ(others.head.find("Access-Control"), std::string::npos) << headers;
    EXPECT_TRUE(has(others, "Vary: Origin")) << headers;
  }
}

TEST_F(AccessTest, ABrowserAsksForLeaveWithoutAToken) {
  serve({"one"}, {"https://a.org"});
  const std::string asks =
      "OPTIONS /echo HTTP/1.1\r\nHost: a\r\nAccess-Control-Request-Method: POST\r\n"
      "Access-Control-Request-Headers: authorization\r\nOrigin: ";
  const auto leave = connect().ask(asks + "https://a.org\r\n\r\n");
  EXPECT_EQ(leave.status, 204);
  EXPECT_TRUE(has(leave, "Access-Control-Allow-Origin: https://a.org"));
  EXPECT_TRUE(has(leave, "Access-Control-Allow-Headers: authorization"));
  EXPECT_EQ(connect().ask(asks + "https://b.org\r\n\r\n").status, 401);
  const auto refused = connect().ask(get("/echo", "Origin: https://a.org\r\n"));
  EXPECT_EQ(refused.status, 401);
  EXPECT_TRUE(has(refused, "Access-Control-Allow-Origin: https://a.org")) << "so that the page sees the status";
}

TEST(SecretTest, OnlyTheSameIsTheSame) {
  EXPECT_TRUE(same_secret("abc", "abc"));
  for (const std::string_view other : {"", "a", "ab", "abd", "abcd", "abcabc", "ABC"})
    EXPECT_FALSE(same_secret("abc", other)) << other;
}

}  // namespace
}  // namespace penstock::http::testing
