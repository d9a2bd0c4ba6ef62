#pragma once

// A gRPC client over nghttp2, and a server with both fronts over a graph of C++ steps.

#include <map>
#include <set>

#include <netinet/tcp.h>
#include <nghttp2/nghttp2.h>
#include <poll.h>
#include <protozero/pbf_reader.hpp>
#include <protozero/pbf_writer.hpp>

#include <grpc/front.hpp>
#include <http/front.hpp>
#include <http/service.hpp>

#include "core_fixture.hpp"
#include "http_fixture.hpp"

namespace penstock::grpc::testing {

using namespace penstock::testing;
using Headers = std::vector<std::pair<std::string, std::string>>;

/// A message with its prefix.
inline std::string framed(std::string_view message, bool compressed = false) {
  std::string out(1, compressed ? '\1' : '\0');
  for (int shift = 24; shift >= 0; shift -= 8) out += static_cast<char>((message.size() >> shift) & 0xFF);
  return out.append(message);
}

/// A client's connection. What waits, waits at most ten seconds: a hang fails the test.
class Client {
 public:
  struct Answer {
    std::map<std::string, std::string> fields;  ///< headers and trailers
    std::string body;
    bool closed = false;
    std::uint32_t error = 0;

    [[nodiscard]] int status() const {
      return fields.count("grpc-status") == 0 ? -1 : std::stoi(fields.at("grpc-status"));
    }
    [[nodiscard]] std::string text() const {
      return fields.count("grpc-message") == 0 ? "" : fields.at("grpc-message");
    }
    [[nodiscard]] std::vector<std::string> messages() const {
      std::vector<std::string> found;
      std::string_view rest = body;
      while (rest.size() >= 5) {
        std::size_t size = 0;
        for (std::size_t i = 1; i < 5; ++i) size = size << 8 | static_cast<unsigned char>(rest[i]);
        if (rest.size() < size + 5) break;
        found.emplace_back(rest.substr(5, size));
        rest.remove_prefix(size + 5);
      }
      return found;
    }
  };

  explicit Client(std::uint16_t port, std::uint32_t window = 65535, bool greets = true)
      : socket_(::socket(AF_INET, SOCK_STREAM, 0)) {
    const int on = 1;
    ::setsockopt(socket_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (::connect(socket_, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
      throw std::runtime_error("cannot connect");
    make_session();
    const nghttp2_settings_entry setting{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, window};
    if (greets) nghttp2_submit_settings(session_, NGHTTP2_FLAG_NONE, &setting, 1);
    if (greets) write();
  }
  ~Client() {
    nghttp2_session_del(session_);
    close();
  }
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  void close() {
    if (socket_ >= 0) ::close(std::exchange(socket_, -1));
  }

  std::int32_t open(const Headers& headers, bool ends = false) {
    std::vector<nghttp2_nv> pairs;
    for (const auto& [name, value] : headers)
      pairs.push_back({reinterpret_cast<std::uint8_t*>(const_cast<char*>(name.data())),
                       reinterpret_cast<std::uint8_t*>(const_cast<char*>(value.data())), name.size(), value.size(),
                       NGHTTP2_NV_FLAG_NONE});
    auto& upload = uploads_[next_];
    nghttp2_data_provider provider{};
    provider.source.ptr = &upload;
    provider.read_callback = &read;
    const std::int32_t id =
        nghttp2_submit_request(session_, nullptr, pairs.data(), pairs.size(), ends ? nullptr : &provider, nullptr);
    EXPECT_EQ(id, next_);
    next_ += 2;
    write();
    return id;
  }
  /// Begins a call of gRPC.
  std::int32_t begin(const std::string& path, const Headers& more = {}) {
    Headers headers{{":method", "POST"}, {":scheme", "http"}, {":path", path},
                    {":authority", "a"}, {"te", "trailers"},  {"content-type", "application/grpc"}};
    headers.insert(headers.end(), more.begin(), more.end());
    return open(headers);
  }
  void send(std::int32_t id, std::string_view bytes, bool last = true) {
    uploads_[id].bytes += bytes;
    uploads_[id].last = last;
    nghttp2_session_resume_data(session_, id);
    write();
  }
  void end(std::int32_t id) { send(id, {}); }
  void reset(std::int32_t id) {
    nghttp2_submit_rst_stream(session_, NGHTTP2_FLAG_NONE, id, NGHTTP2_CANCEL);
    write();
  }
  /// Waits for the end of the stream.
  Answer wait(std::int32_t id) {
    EXPECT_TRUE(pump([&] { return answers_[id].closed; })) << "stream " << id << " has not ended";
    return answers_[id];
  }
  /// Waits for so many messages; all that have come.
  std::vector<std::string> wait_for(std::int32_t id, std::size_t messages) {
    EXPECT_TRUE(pump([&] { return answers_[id].closed || answers_[id].messages().size() >= messages; }));
    return answers_[id].messages();
  }
  Answer call(const std::string& method, std::string_view message, const Headers& more = {}) {
    const std::int32_t id = begin("/inference.GRPCInferenceService/" + method, more);
    send(id, framed(message));
    return wait(id);
  }
  bool wait_for_goaway() {
    return pump([&] { return goaways_ > 0; });
  }
  bool wait_for_end() {
    return pump([&] { return ended_; });
  }
  /// Waits for the headers of the stream and so much of its body; what has come of that.
  std::string wait_for_body(std::int32_t id, std::size_t size) {
    EXPECT_TRUE(pump([&] { return answers_[id].closed || answers_[id].body.size() >= size; }));
    return answers_[id].body;
  }
  bool has_closed(std::int32_t id) { return answers_[id].closed; }
  [[nodiscard]] int pings() const { return pings_; }
  bool wait_for_ping() {
    return pump([&] { return pings_ > 0; });
  }
  /// What has been sent of a stream: the rest waits for the server to make room.
  std::size_t unsent(std::int32_t id) { return uploads_[id].left(); }
  void raw(std::string_view bytes) const { EXPECT_GT(::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL), 0); }
  /// Takes in what comes until nothing has for a moment.
  void settle() {
    while (receive(50)) {
    }
  }

 private:
  struct Upload {
    std::string bytes;
    std::size_t sent = 0;
    bool last = false;
    [[nodiscard]] std::size_t left() const { return bytes.size() - sent; }
  };

  void make_session() {
    nghttp2_session_callbacks* callbacks = nullptr;
    nghttp2_session_callbacks_new(&callbacks);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, &on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, &on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, &on_close);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, &on_frame);
    nghttp2_session_client_new(&session_, callbacks, this);
    nghttp2_session_callbacks_del(callbacks);
  }
  static int on_header(nghttp2_session*, const nghttp2_frame* frame, const std::uint8_t* name, std::size_t name_size,
                       const std::uint8_t* value, std::size_t value_size, std::uint8_t, void* self) {
    static_cast<Client*>(self)
        ->answers_[frame->hd.stream_id]
        .fields[std::string(reinterpret_cast<const char*>(name), name_size)]
        .assign(reinterpret_cast<const char*>(value), value_size);
    return 0;
  }
  static int on_data(nghttp2_session*, std::uint8_t, std::int32_t id, const std::uint8_t* bytes, std::size_t size,
                     void* self) {
    static_cast<Client*>(self)->answers_[id].body.append(reinterpret_cast<const char*>(bytes), size);
    return 0;
  }
  static int on_close(nghttp2_session*, std::int32_t id, std::uint32_t error, void* self) {
    Answer& answer = static_cast<Client*>(self)->answers_[id];
    answer.closed = true;
    answer.error = error;
    return 0;
  }
  static int on_frame(nghttp2_session*, const nghttp2_frame* frame, void* self) {
    auto& client = *static_cast<Client*>(self);
    if (frame->hd.type == NGHTTP2_GOAWAY) ++client.goaways_;
    if (frame->hd.type == NGHTTP2_PING && (frame->hd.flags & NGHTTP2_FLAG_ACK) == 0) ++client.pings_;
    return 0;
  }
  static ssize_t read(nghttp2_session*, std::int32_t, std::uint8_t* to, std::size_t size, std::uint32_t* flags,
                      nghttp2_data_source* source, void*) {
    Upload& upload = *static_cast<Upload*>(source->ptr);
    const std::size_t taken = std::min(size, upload.left());
    if (taken == 0 && !upload.last) return NGHTTP2_ERR_DEFERRED;
    upload.bytes.copy(reinterpret_cast<char*>(to), taken, upload.sent);
    upload.sent += taken;
    if (upload.left() == 0 && upload.last) *flags |= NGHTTP2_DATA_FLAG_EOF;
    return static_cast<ssize_t>(taken);
  }

  /// Writes all that the protocol allows; takes in what comes meanwhile, lest both sides wait.
  void write() {
    const std::uint8_t* bytes = nullptr;
    for (ssize_t size = nghttp2_session_mem_send(session_, &bytes); size > 0;
         size = nghttp2_session_mem_send(session_, &bytes)) {
      out_.append(reinterpret_cast<const char*>(bytes), static_cast<std::size_t>(size));
      flush();
    }
    flush();
  }
  void flush() {
    while (!out_.empty() && socket_ >= 0) {
      const ssize_t sent = ::send(socket_, out_.data(), out_.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
      if (sent <= 0) return;
      out_.erase(0, static_cast<std::size_t>(sent));
    }
  }
  /// False if nothing came in time or the server has closed.
  bool receive(int milliseconds) {
    if (socket_ < 0 || ended_) return false;
    pollfd entry{socket_, static_cast<short>(out_.empty() ? POLLIN : POLLIN | POLLOUT), 0};
    if (::poll(&entry, 1, milliseconds) <= 0) return false;
    flush();
    if ((entry.revents & (POLLIN | POLLHUP)) == 0) return true;
    char bytes[65536];
    const ssize_t size = ::recv(socket_, bytes, sizeof bytes, MSG_DONTWAIT);
    if (size == 0 || (size < 0 && errno != EAGAIN)) {
      ended_ = true;
      return false;
    }
    if (size > 0)
      nghttp2_session_mem_recv(session_, reinterpret_cast<const std::uint8_t*>(bytes), static_cast<std::size_t>(size));
    write();
    return true;
  }
  template <class Done>
  bool pump(Done done) {
    const auto patience = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    while (!done()) {
      if (std::chrono::steady_clock::now() > patience || ended_) return done();
      receive(100);
    }
    return true;
  }

  int socket_;
  nghttp2_session* session_ = nullptr;
  std::int32_t next_ = 1;
  std::map<std::int32_t, Upload> uploads_;
  std::map<std::int32_t, Answer> answers_;
  std::string out_;
  int goaways_ = 0;
  int pings_ = 0;
  bool ended_ = false;
};

/// A ModelInferRequest with one raw input "x".
inline std::string infer_request(std::string_view type, const std::vector<std::int64_t>& shape, std::string_view raw,
                                 std::string_view id = "", std::string_view model = "m") {
  std::string out;
  protozero::pbf_writer writer(out);
  writer.add_string(1, model.data(), model.size());
  writer.add_string(3, id.data(), id.size());
  {
    protozero::pbf_writer input(writer, 5);
    input.add_string(1, "x");
    input.add_string(2, type.data(), type.size());
    input.add_packed_int64(3, shape.begin(), shape.end());
  }
  writer.add_bytes(7, raw.data(), raw.size());
  return out;
}
template <class T>
std::string bytes_of(const std::vector<T>& values) {
  return std::string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T));
}
inline std::string infer_floats(const std::vector<float>& values, std::string_view id = "") {
  return infer_request("FP32", {1, static_cast<std::int64_t>(values.size())}, bytes_of(values), id);
}

/// A ModelInferResponse, as far as tests look.
struct Inferred {
  std::string model, version, id, text;  ///< text: the error of a streamed one
  std::vector<std::string> names, types, raw;
  std::vector<std::vector<std::int64_t>> shapes;
  int parameters = 0;

  explicit Inferred(std::string_view message) { read(message); }
  static Inferred streamed(std::string_view message) {
    Inferred inferred("");
    protozero::pbf_reader field(message.data(), message.size());
    while (field.next()) {
      if (field.tag() == 1)
        inferred.text = field.get_string();
      else if (field.tag() == 2)
        inferred.read(field.get_string());
      else
        field.skip();
    }
    return inferred;
  }
  [[nodiscard]] std::vector<float> floats(std::size_t output = 0) const {
    std::vector<float> values(raw.at(output).size() / sizeof(float));
    std::memcpy(values.data(), raw.at(output).data(), raw.at(output).size());
    return values;
  }

 private:
  void read(std::string_view message) {
    protozero::pbf_reader field(message.data(), message.size());
    while (field.next()) {
      switch (field.tag()) {
        case 1:
          model = field.get_string();
          break;
        case 2:
          version = field.get_string();
          break;
        case 3:
          id = field.get_string();
          break;
        case 4:
          ++parameters;
          field.skip();
          break;
        case 5:
          output(field.get_message());
          break;
        case 6:
          raw.push_back(field.get_string());
          break;
        default:
          field.skip();
      }
    }
  }
  void output(protozero::pbf_reader field) {
    shapes.emplace_back();
    while (field.next()) {
      switch (field.tag()) {
        case 1:
          names.push_back(field.get_string());
          break;
        case 2:
          types.push_back(field.get_string());
          break;
        case 3:
          for (const std::int64_t size : field.get_packed_int64()) shapes.back().push_back(size);
          break;
        default:
          field.skip();
      }
    }
  }
};

/// Renders a thing as its number, and one below zero as that status with an error.
class FakeHost final : public http::Host {
 public:
  http::Response render(const Object& body) override {
    const int value = static_cast<Thing*>(body.get())->value;
    if (value < 0) return http::error_response(-value, "so it is");
    http::Response response;
    response.content_type = "application/json";
    response.body = json.empty() ? std::to_string(value) : json;
    return response;
  }
  std::shared_ptr<void> attach() override { return nullptr; }
  std::string json;  ///< what every thing is rendered as
};

/// Answers with its inputs as outputs.
inline Verdict echo(Event& event, Pass& pass) {
  const auto request = event.body.request();
  if (!request) {
    pass.failure = Failure{"", 400, "", "no tensors", {}};
    return Verdict::kFail;
  }
  InferResponse response;
  response.model_name = "m";
  response.id = request->id;
  response.outputs = request->inputs;
  event.body = Payload(std::make_shared<const InferResponse>(std::move(response)));
  return Verdict::kEmit;
}

class GrpcTest : public CoreTest {
 protected:
  ~GrpcTest() override {
    release.set();
    stop();
  }
  static Graph with(Apply apply) {
    Graph graph;
    graph.add("step", std::move(apply)).responder = true;
    return graph;
  }
  void serve(Graph graph, int workers = 2, Executor::Options options = {}) {
    options.flush = &http::Front::flush;
    options.assist = [this](std::size_t loop) { service.assist(loop); };
    options.nudge = [this] { service.nudge(); };
    run.emplace(std::move(graph), workers, std::move(options), true, &gate);
    served.executor = run->executor;
    entrance.emplace(std::exchange(served, {}));
    rest.emplace(*entrance, host, http::Front::Options());
    front.emplace(*entrance, host, front_options);
    server_options.grpc_port = 0;
    server.emplace(server_options, *rest, &*front);
    rest->wake = [this](std::size_t loop) { server->wake(loop); };
    server->listen();
    service.attach(*server);
    server->start();
  }
  void stop() {
    if (!server) return;
    service.detach();
    server.reset();
    front.reset();
    rest.reset();
    entrance.reset();
    run.reset();
  }
  Client connect(std::uint32_t window = 65535) const { return Client(server->grpc_port(), window); }
  Client::Answer call(const std::string& method, std::string_view message, const Headers& more = {}) const {
    return Client(server->grpc_port()).call(method, message, more);
  }
  /// Holds inferences whose id is "wait", outside the gate, until `release`.
  Apply waits() {
    return [this](Event& event, Pass& pass) {
      ++started;
      if (event.body.request() && event.body.request()->id == "wait") {
        gate.outside([this] {
          entered.set();
          EXPECT_TRUE(release.wait());
        });
      }
      return echo(event, pass);
    };
  }

  FakeGate gate;
  FakeHost host;
  http::Service service;
  http::Options server_options;
  Front::Options front_options;
  http::Served served;  ///< how the graph is served; its executor is `run`'s
  std::optional<Running> run;
  std::optional<http::Entrance> entrance;
  std::optional<http::Front> rest;
  std::optional<Front> front;
  std::optional<http::Server> server;
  Signal entered, release;
  std::atomic<int> started{0};
};

}  // namespace penstock::grpc::testing
