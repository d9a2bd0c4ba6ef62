#include <pybind11/stl.h>

#include <utility>
#include <vector>

#include <grpc/front.hpp>
#include <http/front.hpp>
#include <http/server.hpp>

#include "core.hpp"
#include "register.hpp"
#include "tensors.hpp"

namespace penstock::python {
namespace {

/// May be let go in or out of the gate.
std::shared_ptr<const void> keep(py::object object) {
  return {object.release().ptr(),
          [](const void* kept) { GilGate::instance().drop(static_cast<PyObject*>(const_cast<void*>(kept))); }};
}

class PythonHost final : public http::Host {
 public:
  http::Response render(const Object& body) override {
    http::Response response;
    try {
      const py::tuple rendered =
          py::reinterpret_borrow<py::object>(hooks.dumps)(py::reinterpret_borrow<py::object>(raw(body)));
      response.status = rendered[0].cast<int>();
      response.content_type = rendered[1].cast<std::string>();
      if (!rendered[2].is_none())
        for (const auto& [name, value] : rendered[2].cast<py::dict>())
          response.headers.emplace_back(py::str(name).cast<std::string>(), py::str(value).cast<std::string>());
      const py::bytes data = rendered[3];
      const std::string_view view = data;
      response.body = http::Body(keep(data), view);
    } catch (const py::error_already_set& error) {
      const Failure failure = to_failure(error.value());
      response = http::error_response(failure.status, "the answer cannot be sent: " + failure.text());
    }
    return response;
  }

  std::shared_ptr<const InferResponse> tensors(const Object& body) override {
    return to_response(py::reinterpret_borrow<py::object>(raw(body)));
  }

  std::shared_ptr<void> attach() override { return std::make_shared<Attached>(); }
};

/// The server in front of a core: HTTP, and gRPC if it has a port.
class PyServer {
 public:
  PyServer(const Core& core, const std::string& host, std::uint16_t port, std::size_t io_threads, bool responds,
           double deadline, std::optional<std::uint16_t> grpc_port, bool reuse_port, const py::dict& limits,
           std::vector<std::string> tokens, std::vector<std::string> origins,
           std::optional<std::shared_ptr<http::TlsContext>> tls)
      : entrance_(served(core, responds)),
        front_(entrance_, host_, {milliseconds(deadline), limits_of(limits).body_bytes}),
        calls_(entrance_, host_, call_options(deadline, limits)), services_{core.service()},
        server_({.host = host,
                 .port = port,
                 .grpc_port = grpc_port,
                 .io_threads = io_threads,
                 .reuse_port = reuse_port,
                 .limits = limits_of(limits),
                 .access = {std::move(tokens), std::move(origins)},
                 .tls = tls.value_or(nullptr)},
                front_, &calls_) {
    front_.wake = [this](std::size_t loop) { server_.wake(loop); };
    try {
      server_.listen();
    } catch (const std::system_error& error) {
      py::set_error(PyExc_OSError, error.what());
      throw py::error_already_set();
    }
    services_.front()->attach(server_);
  }
  ~PyServer() { stop(); }

  std::uint16_t port() const { return server_.port(); }
  std::optional<std::uint16_t> grpc_port() const {
    return server_.grpc_port() == 0 ? std::nullopt : std::optional(server_.grpc_port());
  }
  void start() {
    const WithoutGil released;
    server_.start();
  }
  /// False if some thread may still give a request to the former graph.
  bool replace(const Core& core, bool responds, double seconds) {
    core.service()->attach(server_);
    services_.push_back(core.service());
    std::shared_ptr<const http::Served> former = entrance_.replace(served(core, responds));
    const WithoutGil released;
    return server_.await_handlers(std::move(former), milliseconds(seconds));
  }
  /// The graph of this core has ended.
  void release(const Core& core) {
    core.service()->release();
    std::erase_if(services_, [](const auto& service) { return service->idle(); });
    GilGate::instance()
        .release_dropped();  // the server's threads have let go of it meanwhile, perhaps nothing else comes
  }
  void set_ready(bool ready) {
    const WithoutGil released;
    front_.set_ready(ready);
    calls_.set_ready(ready);
  }
  void set_tls(std::shared_ptr<http::TlsContext> tls) { server_.set_tls(std::move(tls)); }
  py::dict stats() const {
    py::list answers, calls;
    for (std::size_t i = 0; i < http::Gate::kClasses; ++i) answers.append(server_.gate().answers(i));
    for (std::size_t i = 0; i < http::Gate::kCodes; ++i) calls.append(server_.gate().calls(i));
    py::dict described;
    described["answers"] = std::move(answers);
    described["calls"] = std::move(calls);
    described["connections"] = server_.connections();
    return described;
  }
  bool drain(double seconds) {
    set_ready(false);
    const WithoutGil released;
    return server_.drain(milliseconds(seconds));
  }
  void stop() {
    const WithoutGil released;
    server_.stop();  // returns only when the server is stopped, also if another thread is at it
    for (const auto& service : services_) service->detach();
  }

 private:
  /// The core goes when no request, and none of the server's threads, has to do with it any more.
  static http::Served served(const Core& core, bool responds) {
    const py::object held = py::cast(core, py::return_value_policy::reference);
    return {std::shared_ptr<Executor>(core.executor().get(), [kept = keep(held)](Executor*) {}),
            core.plan().model_prefix, core.plan().frontend, responds};
  }
  static http::Limits limits_of(const py::dict& given) {
    http::Limits limits;
    set(given, "body_bytes", limits.body_bytes);
    set(given, "connections", limits.connections);
    set(given, "header_timeout", limits.header_timeout);
    set(given, "body_timeout", limits.body_timeout);
    set(given, "idle_timeout", limits.idle_timeout);
    return limits;
  }
  static void set(const py::dict& given, const char* name, std::size_t& to) {
    if (given.contains(name)) to = given[name].cast<std::size_t>();
  }
  static void set(const py::dict& given, const char* name, std::chrono::milliseconds& to) {
    if (given.contains(name)) to = milliseconds(given[name].cast<double>());
  }
  static std::chrono::milliseconds milliseconds(double seconds) {
    return std::chrono::milliseconds(static_cast<std::int64_t>(seconds * 1000));
  }
  static grpc::Front::Options call_options(double deadline, const py::dict& limits) {
    grpc::Front::Options options;
    set(limits, "message_bytes", options.message_bytes);
    set(limits, "body_timeout", options.message_timeout);
    options.deadline = milliseconds(deadline);
    return options;
  }

  PythonHost host_;
  http::Entrance entrance_;
  http::Front front_;
  grpc::Front calls_;
  std::vector<std::shared_ptr<http::Service>> services_;  ///< of all graphs whose threads may be in the server
  http::Server server_;
};

}  // namespace

void register_server(py::module_& m) {
  py::register_exception<http::TlsError>(m, "TlsError", PyExc_ValueError);
  py::class_<http::TlsContext, std::shared_ptr<http::TlsContext>>(
      m, "Tls", "What a server shows to clients that want to talk in private. Raises TlsError if a file is wrong.")
      .def(py::init([](std::string certificate, std::string key, std::string client_ca) {
             return std::make_shared<http::TlsContext>(
                 http::TlsContext::Files{std::move(certificate), std::move(key), std::move(client_ca)});
           }),
           py::kw_only(), py::arg("certificate"), py::arg("key"), py::arg("client_ca") = "");
  py::class_<PyServer>(m, "Server",
                       "The server of a core: HTTP, and gRPC on a port of its own. Raises OSError if it cannot listen.")
      .def(py::init<const Core&, const std::string&, std::uint16_t, std::size_t, bool, double,
                    std::optional<std::uint16_t>, bool, const py::dict&, std::vector<std::string>,
                    std::vector<std::string>, std::optional<std::shared_ptr<http::TlsContext>>>(),
           py::arg("core"), py::kw_only(), py::arg("host"), py::arg("port"), py::arg("io_threads") = 2,
           py::arg("responds") = true, py::arg("deadline") = 30.0, py::arg("grpc_port") = py::none(),
           py::arg("reuse_port") = false, py::arg("limits") = py::dict(),
           py::arg("tokens") = std::vector<std::string>(), py::arg("origins") = std::vector<std::string>(),
           py::arg("tls") = py::none())
      .def_property_readonly("port", &PyServer::port)
      .def_property_readonly("grpc_port", &PyServer::grpc_port)
      .def("set_tls", &PyServer::set_tls, py::arg("tls"), "For connections to come.")
      .def("start", &PyServer::start)
      .def("stats", &PyServer::stats,
           "Answers over HTTP by the hundreds of their status, calls of gRPC by code, connections.")
      .def("replace", &PyServer::replace, py::arg("core"), py::kw_only(), py::arg("responds"), py::arg("timeout"),
           "Have requests enter another core; false if not all that were in hand have entered the former one in time.")
      .def("release", &PyServer::release, py::arg("core"), "Let a core go that was replaced and has been closed.")
      .def("set_ready", &PyServer::set_ready, py::arg("ready"))
      .def("drain", &PyServer::drain, py::arg("timeout"),
           "Answer what has come, take no more; whether all was answered.")
      .def("stop", &PyServer::stop);
}

}  // namespace penstock::python
