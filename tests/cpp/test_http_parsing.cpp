#include "http_fixture.hpp"

namespace penstock::http::testing {
namespace {

constexpr const char* kGet = "GET /echo HTTP/1.1\r\nHost: a\r\n\r\n";

std::string post(std::string_view headers, std::string_view body) {
  return "POST /echo HTTP/1.1\r\nHost: a\r\n" + std::string(headers) + "\r\n" + std::string(body);
}

TEST_F(HttpTest, APathIsDecodedOnceAndTheQueryIsKept) {
  start();
  const auto answer = ask("POST /ec%68o?a=%20b HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello");
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.body, "POST /echo?a=%20b|hello");
}

TEST_F(HttpTest, APercentSignThatWasEncodedStaysOne) {
  start();
  auto client = connect();
  client.send("GET /a%2541%2Fb HTTP/1.1\r\nHost: a\r\nX-Two: 2\r\n\r\n");
  Held held = application.held.take();
  EXPECT_EQ(held.request.path(), "/a%41/b");
  EXPECT_EQ(held.request.target(), "/a%2541%2Fb");
  EXPECT_EQ(held.request.header("x-two"), "2");
  EXPECT_EQ(held.request.header("x-three"), std::nullopt);
  EXPECT_EQ(held.request.header_count(), 2U);
}

TEST_F(HttpTest, AnAbsoluteTargetIsItsPath) {
  start();
  EXPECT_EQ(ask("GET http://a/echo?x HTTP/1.1\r\nHost: a\r\n\r\n").body, "GET /echo?x|");
}

TEST_F(HttpTest, ABodyInPiecesArrivesWhole) {
  start();
  auto client = connect();
  std::string body(300'000, 'x');
  body.back() = 'y';
  const std::string whole = post("Content-Length: 300000\r\n", body);
  for (std::size_t at = 0; at < whole.size(); at += 7001) client.send(std::string_view(whole).substr(at, 7001));
  EXPECT_EQ(client.receive().body, "POST /echo?|" + body);
}

TEST_F(HttpTest, AHeadByteByByteIsUnderstood) {
  start();
  auto client = connect();
  for (const char c : post("Content-Length: 2\r\n", "ab")) client.send({&c, 1});
  EXPECT_EQ(client.receive().body, "POST /echo?|ab");
}

TEST_F(HttpTest, AChunkedBodyIsJoined) {
  start();
  const auto answer =
      ask(post("Transfer-Encoding: Chunked\r\n", "3;x=1\r\nabc\r\nA\r\n0123456789\r\n0\r\nTrailer: 1\r\n\r\n"));
  EXPECT_EQ(answer.body, "POST /echo?|abc0123456789");
}

TEST_F(HttpTest, ARequestAfterAChunkedOneIsReadFromItsEnd) {
  start();
  auto client = connect();
  client.send(post("Transfer-Encoding: chunked\r\n", "1\r\na\r\n0\r\n\r\n") + kGet);
  EXPECT_EQ(client.receive().body, "POST /echo?|a");
  EXPECT_EQ(client.receive().body, "GET /echo?|");
}

TEST_F(HttpTest, AnEmptyLineBeforeARequestIsPassedOver) {
  start();
  EXPECT_EQ(ask(std::string("\r\n") + kGet).status, 200);
}

TEST_F(HttpTest, ContinueIsSaidBeforeTheBodyComes) {
  start();
  auto client = connect();
  client.send(post("Content-Length: 2\r\nExpect: 100-continue\r\n", ""));
  EXPECT_EQ(client.receive().status, 100);
  client.send("ab");
  EXPECT_EQ(client.receive().body, "POST /echo?|ab");
}

TEST_F(HttpTest, ABodyThatIsTooLargeIsRefusedBeforeItIsSent) {
  options.limits.body_bytes = 1000;
  start();
  EXPECT_EQ(ask(post("Content-Length: 1001\r\n", "")).status, 413);
  EXPECT_EQ(ask(post("Content-Length: 1001\r\nExpect: 100-continue\r\n", "")).status, 413);
  EXPECT_EQ(ask(post("Transfer-Encoding: chunked\r\n", "3e9\r\n")).status, 413);
  EXPECT_EQ(ask(post("Transfer-Encoding: chunked\r\n", "3e8\r\n" + std::string(1000, 'x') + "\r\n1\r\n")).status, 413);
}

TEST_F(HttpTest, TooManyChunksAreRefused) {
  options.limits.chunks = 3;
  start();
  EXPECT_EQ(ask(post("Transfer-Encoding: chunked\r\n", "1\r\na\r\n1\r\na\r\n1\r\na\r\n1\r\na\r\n")).status, 413);
}

TEST_F(HttpTest, WhatIsTooLongIsRefusedEvenIfItNeverEnds) {
  start();
  const std::string url = "/" + std::string(9000, 'u');
  EXPECT_EQ(ask("GET " + url + " HTTP/1.1\r\nHost: a\r\n\r\n").status, 414);
  EXPECT_EQ(ask("GET " + url).status, 414);
  EXPECT_EQ(ask("GET / HTTP/1.1\r\nHost: a\r\nX: " + std::string(17000, 'x') + "\r\n\r\n").status, 431);
  EXPECT_EQ(ask("GET / HTTP/1.1\r\nHost: a\r\nX: " + std::string(17000, 'x')).status, 431);
  std::string many = "GET / HTTP/1.1\r\nHost: a\r\n";
  for (int i = 0; i < 64; ++i) many += "X: 1\r\n";
  EXPECT_EQ(ask(many + "\r\n").status, 431);
}

TEST_F(HttpTest, SixtyFourHeadersAreTaken) {
  start();
  std::string many = "GET /echo HTTP/1.1\r\nHost: a\r\n";
  for (int i = 0; i < 63; ++i) many += "X: 1\r\n";
  EXPECT_EQ(ask(many + "\r\n").status, 200);
}

struct Abuse {
  const char* name;
  std::string request;
  int status;
};

void PrintTo(const Abuse& abuse, std::ostream* out) { *out << abuse.name; }

class HttpAbuse : public HttpTest, public ::testing::WithParamInterface<Abuse> {};

TEST_P(HttpAbuse, IsAnsweredWithAnErrorAndTheConnectionEnds) {
  start();
  auto client = connect();
  const auto answer = client.ask(GetParam().request);
  EXPECT_EQ(answer.status, GetParam().status);
  EXPECT_NE(answer.head.find("\r\nContent-Type: application/json\r\n"), std::string::npos) << answer.head;
  EXPECT_NE(answer.head.find("\r\nConnection: close\r\n"), std::string::npos) << answer.head;
  EXPECT_EQ(answer.body.substr(0, 10), "{\"error\": ");
  EXPECT_TRUE(client.ended());
  EXPECT_TRUE(application.held.empty());
  EXPECT_EQ(ask(kGet).status, 200);
}

std::string get(std::string_view headers) { return "GET /echo HTTP/1.1\r\n" + std::string(headers) + "\r\n"; }

INSTANTIATE_TEST_SUITE_P(
    Smuggling, HttpAbuse,
    ::testing::Values(
        Abuse{"LengthAndEncoding", post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"), 400},
        Abuse{"EncodingAndLength", post("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", "0\r\n\r\n"), 400},
        Abuse{"GzipAndLength", post("Transfer-Encoding: gzip\r\nContent-Length: 5\r\n", "hello"), 400},
        Abuse{"Gzip", post("Transfer-Encoding: gzip\r\n", ""), 501},
        Abuse{"GzipChunked", post("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n"), 501},
        Abuse{"ChunkedTwice", post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", ""), 400},
        Abuse{"Xchunked", post("Transfer-Encoding: xchunked\r\n", "0\r\n\r\n"), 501},
        Abuse{"TwoLengths", post("Content-Length: 5\r\nContent-Length: 6\r\n", "hello"), 400},
        Abuse{"TwoEqualLengths", post("Content-Length: 5\r\nContent-Length: 5\r\n", "hello"), 400},
        Abuse{"ChunkThatEndsWithLf", post("Transfer-Encoding: chunked\r\n", "5\nhello\n0\n\n"), 400},
        Abuse{"LengthList", post("Content-Length: 5, 5\r\n", "hello"), 400},
        Abuse{"LengthPlus", post("Content-Length: +5\r\n", "hello"), 400},
        Abuse{"LengthMinus", post("Content-Length: -5\r\n", "hello"), 400},
        Abuse{"LengthHex", post("Content-Length: 0x5\r\n", "hello"), 400},
        Abuse{"LengthEmpty", post("Content-Length: \r\n", "hello"), 400},
        Abuse{"LengthHuge", post("Content-Length: 99999999999999999999999\r\n", ""), 400},
        Abuse{"LengthLarge", post("Content-Length: 9999999999999999999\r\n", ""), 413},
        Abuse{"ChunkedInOldVersion", "POST /echo HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
        Abuse{"Folded", get("Host: a\r\nX: 1\r\n 2\r\n"), 400}, Abuse{"FoldedByTab", get("Host: a\r\n\tb\r\n"), 400},
        Abuse{"SpaceBeforeColon", get("Host : a\r\n"), 400},
        Abuse{"BareLineFeed", "GET /echo HTTP/1.1\nHost: a\n\n", 400},
        Abuse{"BareCarriageReturn", get("Host: a\rX: 1\r\n"), 400},
        Abuse{"NulInHeader", get(std::string_view("Host: a\r\nX: \0\r\n", 15)), 400},
        Abuse{"ControlInHeader", get("Host: a\r\nX: \x01\r\n"), 400}),
    [](const auto& of) { return std::string(of.param.name); });

INSTANTIATE_TEST_SUITE_P(
    Malformed, HttpAbuse,
    ::testing::Values(
        Abuse{"NoHost", get(""), 400}, Abuse{"TwoHosts", get("Host: a\r\nHost: a\r\n"), 400},
        Abuse{"Version2", "GET /echo HTTP/2.0\r\nHost: a\r\n\r\n", 505},
        Abuse{"Version12", "GET /echo HTTP/1.2\r\nHost: a\r\n\r\n", 505},
        Abuse{"NoVersion", "GET /echo\r\nHost: a\r\n\r\n", 400},
        Abuse{"WrongWord", "GET /echo HTPP/1.1\r\nHost: a\r\n\r\n", 400},
        Abuse{"Binary", std::string("\x16\x03\x01\x02\r\n\r\n"), 400},
        Abuse{"NoSlash", "GET echo HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        Abuse{"Star", "GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        Abuse{"Authority", "CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        Abuse{"BadPercent", "GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        Abuse{"CutPercent", "GET /%4 HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        Abuse{"EncodedNul", "GET /%00 HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        Abuse{"EightBitTarget", "GET /\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        Abuse{"EmptyName", get("Host: a\r\n: x\r\n"), 400}, Abuse{"NameOnly", get("Host: a\r\nX\r\n"), 400},
        Abuse{"PathIsNoUtf8", "GET /%c0%af HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        Abuse{"Expectation", post("Content-Length: 1\r\nExpect: gold\r\n", ""), 417},
        Abuse{"ChunkSize", post("Transfer-Encoding: chunked\r\n", "zz\r\n"), 400},
        Abuse{"ChunkSizeHuge", post("Transfer-Encoding: chunked\r\n", "fffffffffffffffff\r\n"), 400},
        Abuse{"ChunkSizeLarge", post("Transfer-Encoding: chunked\r\n", "ffffffffffffffff\r\n"), 413},
        Abuse{"ChunkEnd", post("Transfer-Encoding: chunked\r\n", "1\r\nabc\r\n0\r\n\r\n"), 400},
        Abuse{"ChunkExtension", post("Transfer-Encoding: chunked\r\n", "1;" + std::string(20000, 'x')), 400},
        Abuse{"Trailers", post("Transfer-Encoding: chunked\r\n", "0\r\nX: " + std::string(70000, 'x')), 400}),
    [](const auto& of) { return std::string(of.param.name); });

TEST_F(HttpTest, ARequestThatEndsEarlyIsRefused) {
  start();
  auto client = connect();
  client.send(post("Content-Length: 10\r\n", "short"));
  client.half_close();
  EXPECT_EQ(client.receive().status, 400);
  EXPECT_TRUE(client.ended());
}

}  // namespace
}  // namespace penstock::http::testing
