// Steps that choose among routes, send parts to several of them, and merge what comes back.

#include <pybind11/stl.h>

#include <optional>
#include <utility>

#include <penstock/gather.hpp>
#include <penstock/percent.hpp>

#include "steps.hpp"

namespace penstock::python {
namespace {

constexpr std::string_view kVersions = "versions/";

/// The model and what follows it in "<prefix>/<model>[/versions/<version>][/<operation>]".
struct ModelPath {
  std::string model;
  std::string_view operation;
};

std::optional<ModelPath> parse_path(std::string_view path, std::string_view prefix) {
  path = path.substr(0, path.find('?'));
  if (path.size() <= prefix.size() + 1 || path.substr(0, prefix.size()) != prefix || path[prefix.size()] != '/')
    return std::nullopt;
  path.remove_prefix(prefix.size() + 1);
  const auto take = [&path] {
    const auto slash = path.find('/');
    const std::string_view part = path.substr(0, slash);
    path = slash == std::string_view::npos ? std::string_view() : path.substr(slash + 1);
    auto decoded = part.find('%') == std::string_view::npos ? std::nullopt : percent_decoded(part);
    return decoded ? std::move(*decoded) : std::string(part);
  };
  ModelPath found{take(), {}};
  if (path.substr(0, kVersions.size()) == kVersions) {
    path.remove_prefix(kVersions.size());
    found.model += ':';
    found.model += take();
  }
  found.operation = path;
  return found;
}

void refuse_chunks(const Event& event) {
  if (event.chunk) throw Failure{"", 500, "StreamingError", "a stream cannot go into a router", {}};
}

/// Sends an event to the one route that its path names; asks Python where that does not decide.
class RouteStep final : public Step {
 public:
  explicit RouteStep(StepArguments arguments)
      : choose_(std::move(arguments.target)), prefix_(std::move(arguments.prefix)), table_(std::move(arguments.table)) {
  }

  void run(Batch& batch, Emitter& out) override {
    for (Event& event : batch) {
      try {
        refuse_chunks(event);
        const auto outlet = known(event);
        if (outlet)
          out.emit(std::move(event), *outlet);
        else
          ask(std::move(event), out);
      } catch (Failure& failure) {
        out.fail(std::move(event), std::move(failure));
      }
    }
  }
  void close() override { choose_ = py::object(); }

 private:
  std::optional<std::uint32_t> known(Event& event) const {
    if (table_.empty() || !event.envelope || event.envelope->method == "GET" || !is_request(event.body))
      return std::nullopt;
    const auto path = parse_path(event.envelope->path, prefix_);
    if (!path || (path->operation != "infer" && path->operation != "predict")) return std::nullopt;
    const auto found = table_.find(path->model);
    if (found == table_.end()) return std::nullopt;
    event.own_envelope().path = std::string(path->operation);
    return found->second;
  }

  /// A body that the router's own parsing would leave as it is.
  static bool is_request(const Payload& body) {
    if (const Object* object = body.object()) return PyDict_Check(raw(*object)) != 0;
    if (const Bytes* bytes = body.bytes()) return bytes->declared_json || bytes->maybe_json;
    return body.request() != nullptr;
  }

  void ask(Event&& event, Emitter& out) const {
    const py::object lent = lend_event(event);
    const py::object chosen = py::reinterpret_steal<py::object>(PyObject_CallOneArg(choose_.ptr(), lent.ptr()));
    event.envelope = lent.cast<const PyEvent&>().envelope;
    if (!chosen) throw take_exception();
    if (chosen.is_none()) return out.drop(std::move(event));
    event.body = Payload(share(lent.cast<const PyEvent&>().body.ptr()));
    const std::size_t outlet = PyLong_AsSize_t(chosen.ptr());
    if (PyErr_Occurred() != nullptr) throw take_exception();
    out.emit(std::move(event), static_cast<std::uint32_t>(outlet));
  }

  py::object choose_;
  std::string prefix_;
  std::map<std::string, std::uint32_t> table_;
};

/// Sends an event to the outlets that Python picks by its body: None is all of them, and none drops it.
class ChooseStep final : public Step {
 public:
  explicit ChooseStep(StepArguments arguments) : choose_(std::move(arguments.target)) {}

  void run(Batch& batch, Emitter& out) override {
    for (Event& event : batch) {
      try {
        choose(std::move(event), out);
      } catch (Failure& failure) {
        out.fail(std::move(event), std::move(failure));
      } catch (const py::error_already_set& error) {
        out.fail(std::move(event), to_failure(error.value()));
      }
    }
  }
  void close() override { choose_ = py::object(); }

 private:
  void choose(Event&& event, Emitter& out) const {
    const py::object chosen = py::reinterpret_steal<py::object>(PyObject_CallOneArg(choose_.ptr(), body_of(event)));
    if (!chosen) throw take_exception();
    if (chosen.is_none()) return out.emit(std::move(event));
    const auto outlets = chosen.cast<std::vector<std::uint32_t>>();
    if (outlets.empty()) return out.drop(std::move(event));
    out.emit(std::move(event), std::span<const std::uint32_t>(outlets));
  }

  py::object choose_;
};

/// Sends parts of an event to routes, all before any runs; its merging step gets what comes back.
class ScatterStep final : public Step {
 public:
  explicit ScatterStep(StepArguments arguments) : target_(std::move(arguments.target)) {}

  void run(Batch& batch, Emitter& out) override {
    for (Event& event : batch) {
      try {
        refuse_chunks(event);
        scatter(std::move(event), out);
      } catch (Failure& failure) {
        out.fail(std::move(event), std::move(failure));
      } catch (const py::error_already_set& error) {
        out.fail(std::move(event), to_failure(error.value()));
      }
    }
  }
  void close() override { target_ = py::object(); }

 private:
  void scatter(Event&& event, Emitter& out) const {
    const py::object lent = lend_event(event);
    const py::object result = py::reinterpret_steal<py::object>(PyObject_CallOneArg(target_.ptr(), lent.ptr()));
    event.envelope = lent.cast<const PyEvent&>().envelope;
    if (!result) throw take_exception();
    event.body = Payload(share(lent.cast<const PyEvent&>().body.ptr()));
    const auto parts = result.cast<std::vector<std::pair<std::uint32_t, py::object>>>();
    const Ref<Gather> gather = out.gather(parts.size());
    Batch members;
    for (std::uint32_t slot = 0; slot < parts.size(); ++slot) {
      const auto& part = parts[slot].second.cast<const PyEvent&>();
      Event member = event.derive(Payload(share(part.body.ptr())), false);
      member.envelope = part.envelope;
      member.enter(gather, slot);
      gather->parts[slot].outlet = parts[slot].first;
      members.push_back(std::move(member));
    }
    gather->hold(std::move(event));
    for (std::uint32_t slot = 0; slot < parts.size(); ++slot) out.emit(std::move(members[slot]), parts[slot].first);
    gather->seal();
  }

  py::object target_;
};

/// Makes one event of the parts that have come back.
class GatherStep final : public Transform {
 public:
  explicit GatherStep(StepArguments arguments) : target_(std::move(arguments.target)) {}

  Verdict apply(Event& event, Pass& pass) override {
    try {
      const Ref<Gather> gathered = std::move(event.gathered);
      if (!gathered) throw Failure{"", 500, "RuntimeError", "an event reached a merging step without its parts", {}};
      const py::list results = results_of(*gathered);
      const py::object lent = lend_event(event);
      lent.cast<PyEvent&>().waited = Clock::now() - gathered->begun;
      const py::object result = py::reinterpret_steal<py::object>(
          PyObject_CallFunctionObjArgs(target_.ptr(), lent.ptr(), results.ptr(), nullptr));
      event.envelope = lent.cast<const PyEvent&>().envelope;
      if (!result) throw take_exception();
      take_event(event, result.ptr(), "a merging step");
      return event.envelope->terminated ? Verdict::kFinish : Verdict::kEmit;
    } catch (Failure& failure) {
      pass.failure = std::move(failure);
    } catch (const py::error_already_set& error) {
      pass.failure = to_failure(error.value());
    }
    return Verdict::kFail;
  }
  void close() override { target_ = py::object(); }

 private:
  static py::list results_of(Gather& gathered) {
    py::list results;
    for (Gather::Part& part : gathered.parts) {
      py::object result;
      if (part.failure && part.failure->cause)
        result = py::reinterpret_borrow<py::object>(raw(part.failure->cause));
      else if (part.failure)
        result = to_exception(*part.failure);
      else if (part.back)
        result = py::cast(PyEvent{part.envelope ? part.envelope : make_ref<Envelope>(), to_object(part.body)});
      else
        result = py::cast(PyEvent{make_ref<Envelope>(), py::none()});
      results.append(py::make_tuple(part.outlet, result));
    }
    return results;
  }

  py::object target_;
};

}  // namespace

std::unique_ptr<Step> make_router_step(const std::string& kind, StepArguments arguments) {
  if (kind == "route") return std::make_unique<RouteStep>(std::move(arguments));
  if (kind == "choose") return std::make_unique<ChooseStep>(std::move(arguments));
  if (kind == "scatter") return std::make_unique<ScatterStep>(std::move(arguments));
  if (kind == "gather") return std::make_unique<GatherStep>(std::move(arguments));
  return nullptr;
}

}  // namespace penstock::python
