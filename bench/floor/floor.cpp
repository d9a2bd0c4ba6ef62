// The floor: what a person who knows C++ would write for one model, and nothing more. Beast, simdjson,
// one thread (or some), the GIL taken for each request, one call of predict. penstock is measured
// against it. It shares no code with penstock, checks no input and has no limits or timeouts.
//
//   >>> import penstock_floor
//   >>> penstock_floor.serve(8080, lambda body: body["inputs"] * 2)     # until SIGTERM
//   >>> penstock_floor.serve(8080, predict, threads=2)                  # each takes the GIL for its requests
//
// predict gets {"inputs": float32 array} and returns a float32 array.
#include <array>
#include <charconv>
#include <csignal>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <simdjson.h>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>

namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
namespace py = pybind11;
using asio::ip::tcp;
using Socket = asio::basic_stream_socket<tcp, asio::io_context::executor_type>;

struct Values {
  std::vector<py::ssize_t> shape;
  std::vector<float> data;
};

Values decode(std::string& body) {
  thread_local simdjson::ondemand::parser parser;
  Values values;
  body.reserve(body.size() + simdjson::SIMDJSON_PADDING);
  simdjson::ondemand::document document = parser.iterate(body);
  simdjson::ondemand::array inputs = document["inputs"];
  for (simdjson::ondemand::object input : inputs) {
    simdjson::ondemand::array shape = input["shape"];
    for (std::int64_t size : shape) values.shape.push_back(size);
    simdjson::ondemand::array data = input["data"];
    for (double number : data) values.data.push_back(static_cast<float>(number));
    break;
  }
  return values;
}

template <class Number>
void append_list(std::string& out, const Number* numbers, std::size_t count) {
  std::array<char, 32> text;
  for (std::size_t i = 0; i < count; ++i) {
    if (i != 0) out += ',';
    out.append(text.data(), std::to_chars(text.data(), text.data() + text.size(), numbers[i]).ptr);
  }
}

std::string encode(const Values& values) {
  std::string out = R"({"model_name":"m","outputs":[{"name":"y","shape":[)";
  append_list(out, values.shape.data(), values.shape.size());
  out += R"(],"datatype":"FP32","data":[)";
  append_list(out, values.data.data(), values.data.size());
  out += "]}]}";
  return out;
}

Values call(const py::object& predict, const Values& values) {
  const py::gil_scoped_acquire gil;
  const py::array_t<float> array(values.shape, values.data.data());
  py::dict body;
  body["inputs"] = array;
  const auto result = py::cast<py::array_t<float, py::array::c_style | py::array::forcecast>>(predict(body));
  return {{result.shape(), result.shape() + result.ndim()}, {result.data(), result.data() + result.size()}};
}

class Session : public std::enable_shared_from_this<Session> {
 public:
  Session(Socket&& socket, const py::object& predict) : socket_(std::move(socket)), predict_(predict) {
    socket_.set_option(tcp::no_delay(true));
  }

  void read() {
    request_ = {};
    http::async_read(socket_, buffer_, request_, [self = shared_from_this()](beast::error_code error, std::size_t) {
      if (!error) self->answer();
    });
  }

 private:
  void answer() {
    response_ = {http::status::ok, request_.version()};
    response_.set(http::field::content_type, "application/json");
    try {
      response_.body() = encode(call(predict_, decode(request_.body())));
    } catch (const std::exception& error) {
      response_.result(http::status::internal_server_error);
      response_.body() = error.what();
    }
    response_.keep_alive(request_.keep_alive());
    response_.prepare_payload();
    http::async_write(socket_, response_, [self = shared_from_this()](beast::error_code error, std::size_t) {
      if (!error && self->response_.keep_alive()) self->read();
    });
  }

  Socket socket_;
  const py::object& predict_;
  beast::flat_buffer buffer_;
  http::request<http::string_body> request_;
  http::response<http::string_body> response_;
};

// Keeps one Python thread state for a thread's life: to make one for every request is dear.
class KnownToPython {
  py::gil_scoped_acquire held_;
  py::gil_scoped_release released_;
};

void serve(std::uint16_t port, const py::object& predict, unsigned threads) {
  const py::gil_scoped_release released;
  asio::io_context context(static_cast<int>(threads));
  asio::basic_socket_acceptor<tcp, asio::io_context::executor_type> acceptor(
      context, tcp::endpoint(asio::ip::address_v4::loopback(), port));
  asio::signal_set signals(context, SIGTERM, SIGINT);
  signals.async_wait([&context](beast::error_code, int) { context.stop(); });
  const auto accept = [&](const auto& again) -> void {
    acceptor.async_accept([&, again](beast::error_code error, Socket socket) {
      if (!error) std::make_shared<Session>(std::move(socket), predict)->read();
      again(again);
    });
  };
  accept(accept);
  std::vector<std::thread> others;
  for (unsigned i = 1; i < threads; ++i) {
    others.emplace_back([&context] {
      const KnownToPython known;
      context.run();
    });
  }
  context.run();
  for (std::thread& other : others) other.join();
}

}  // namespace

PYBIND11_MODULE(penstock_floor, module) {
  module.doc() = "A minimal C++ model server, to measure penstock against.";
  module.def("serve", &serve, py::arg("port"), py::arg("predict"), py::arg("threads") = 1,
             "Serve on 127.0.0.1 until SIGTERM or SIGINT.");
}
