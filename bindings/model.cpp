#include "model.hpp"

#include <algorithm>
#include <chrono>
#include <utility>

#include "chunk_source.hpp"
#include "objects.hpp"
#include "tensors.hpp"

namespace penstock::python {
namespace {

bool is_infer(const Event& event) {
  return event.envelope && (event.envelope->path == "infer" || event.envelope->path == "predict");
}

py::list names_of(const InferRequest& request) {
  py::list names;
  for (const Tensor& tensor : request.inputs) names.append(tensor.name);
  return names;
}

/// The model's own counts, so that whatever else calls it counts there, too.
std::shared_ptr<InferenceStats> stats_of(const py::object& model) {
  if (!model.attr("_native").cast<bool>()) return nullptr;
  if (model.attr("_stats").is_none()) model.attr("_stats") = std::make_shared<InferenceStats>();
  return model.attr("_stats").cast<std::shared_ptr<InferenceStats>>();
}

}  // namespace

std::size_t rows_of(const InferRequest& request) {
  const std::vector<std::int64_t>& shape = request.inputs.front().shape;
  return shape.empty() ? 1 : static_cast<std::size_t>(shape.front());
}

py::dict body_for(const InferRequest& request) {
  py::dict body;
  if (!request.id.empty()) body["id"] = request.id;
  body["inputs"] = to_inputs(request);
  if (!request.parameters.empty()) body["parameters"] = parameters_of(request);
  if (!request.outputs.empty()) body["outputs"] = outputs_of(request);
  return body;
}

Model::Model(py::object model)
    : model_(std::move(model)), do_event_(model_.attr("do_event")), predict_(model_.attr("predict")),
      stats_(stats_of(model_)) {
  const auto name = model_.attr("name").cast<std::string>();
  const auto colon = name.find(':');
  name_ = name.substr(0, colon);
  if (colon != std::string::npos) version_ = name.substr(colon + 1);
}

std::shared_ptr<const InferRequest> Model::request_in(const Event& event) {
  if (stats_ == nullptr || !is_infer(event)) return nullptr;
  auto request = event.body.request();
  return request != nullptr && knows_outputs() ? request : nullptr;
}

/// The model learns the names and types of its tensors from its first request, through Python.
bool Model::knows_outputs() {
  if (!outputs_.empty()) return true;
  const py::list outputs = model_.attr("outputs");
  if (outputs.empty() || py::len(model_.attr("inputs")) == 0) return false;
  for (const py::handle output : outputs) {
    const auto type = data_type_from(py::str(output["datatype"]).cast<std::string>());
    outputs_.push_back({py::str(output["name"]).cast<std::string>(), type == DataType::kBf16});
  }
  return true;
}

py::object Model::call(const py::dict& body) const {
  auto result = py::reinterpret_steal<py::object>(PyObject_CallOneArg(predict_.ptr(), body.ptr()));
  if (!result) throw py::error_already_set();
  return result;
}

py::object Model::predict(Event& event, const InferRequest& request) const {
  const Duration waited = waited_by(event);
  const TimePoint begun = Clock::now();
  TimePoint prepared, inferred;
  try {
    const py::dict body = body_for(request);
    prepared = Clock::now();
    const py::object result = call(body);
    inferred = Clock::now();
    if (is_generator(result.ptr()))
      return model_.attr("_parts")(body, request.id, result, names_of(request),
                                   std::chrono::duration_cast<std::chrono::nanoseconds>(waited).count());
    if (auto outputs = outputs_of(result))
      answer(event, request, std::move(*outputs));
    else
      answer(event, request, body, result);
  } catch (...) {
    stats_->request(false, 0, waited, Clock::now() - begun);
    throw;
  }
  const TimePoint end = Clock::now();
  stats_->execution(rows_of(request), {prepared - begun, inferred - prepared, end - inferred});
  stats_->request(true, rows_of(request), waited, end - begun);
  return {};
}

void Model::answer(Event& event, const InferRequest& request, std::vector<Tensor>&& outputs) const {
  auto response = std::make_shared<InferResponse>();
  response->model_name = name_;
  response->model_version = version_;
  response->id = request.id;
  response->outputs = std::move(outputs);
  event.body = Payload(std::shared_ptr<const InferResponse>(std::move(response)));
}

void Model::answer(Event& event, const InferRequest& request, const py::dict& body, const py::object& result) const {
  const py::object reply = model_.attr("_reply")(body, request.id, result, names_of(request), "infer");
  event.body = Payload(share(reply.ptr()));
}

std::optional<Tensor> Model::output(const std::string& name, const py::object& result) const {
  auto tensor = to_tensor(name, result);
  const auto known =
      std::find_if(outputs_.begin(), outputs_.end(), [&name](const Output& o) { return o.name == name; });
  return tensor && known != outputs_.end() && known->bfloat ? to_bfloat(*tensor) : tensor;
}

std::optional<std::vector<Tensor>> Model::outputs_of(const py::object& result) const {
  std::vector<Tensor> outputs;
  const auto add = [&](const std::string& name, const py::handle& array) {
    auto tensor = output(name, py::reinterpret_borrow<py::object>(array));
    if (tensor) outputs.push_back(std::move(*tensor));
    return tensor.has_value();
  };
  if (!py::isinstance<py::dict>(result)) {
    if (!add(outputs_.front().name, result)) return std::nullopt;
    return outputs;
  }
  for (const auto& [name, array] : py::reinterpret_borrow<py::dict>(result))
    if (!py::isinstance<py::str>(name) || !add(name.cast<std::string>(), array)) return std::nullopt;
  if (outputs.empty()) return std::nullopt;
  return outputs;
}

}  // namespace penstock::python
