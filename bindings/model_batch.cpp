#include "model_batch.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "chunk_source.hpp"
#include "objects.hpp"
#include "tensors.hpp"

namespace penstock::python {
namespace {

/// What a request says to the server, not to the model: callers may differ in it and share a batch.
constexpr std::array<const char*, 3> kToTheServer{"timeout", "priority", "binary_data_output"};

/// One caller's part of a batch.
struct Call {
  Event* event;
  std::shared_ptr<const InferRequest> request;
  Duration waited;
  std::size_t rows;
};
using Calls = std::vector<Call>;

/// Nothing if Python has to look at one of them.
Calls calls_of(Model& model, Batch& batch) {
  Calls calls;
  calls.reserve(batch.size());
  for (Event& event : batch) {
    auto request = model.request_in(event);
    if (request == nullptr) return {};
    const std::size_t rows = rows_of(*request);
    if (rows == 0) return {};
    calls.push_back({&event, std::move(request), waited_by(event), rows});
  }
  return calls;
}

bool may_be_joined(const Tensor& one, const Tensor& other) {
  // Whether an array of texts holds str or bytes depends on all of them: one caller's must not decide for another.
  return one.type != DataType::kBytes && one.name == other.name && one.type == other.type &&
         one.shape.size() == other.shape.size() && !one.shape.empty() &&
         std::equal(one.shape.begin() + 1, one.shape.end(), other.shape.begin() + 1);
}

py::dict to_the_model(const InferRequest& request) {
  py::dict parameters;
  if (request.parameters.empty()) return parameters;
  parameters = parameters_of(request);
  for (const char* name : kToTheServer)
    if (parameters.contains(name)) parameters.attr("pop")(name);
  return parameters;
}

bool are_alike(const Calls& calls) {
  const InferRequest& first = *calls.front().request;
  const auto all = [&](auto&& fits) { return std::all_of(calls.begin() + 1, calls.end(), fits); };
  if (!all([&](const Call& call) {
        const std::vector<Tensor>& inputs = call.request->inputs;
        return std::equal(first.inputs.begin(), first.inputs.end(), inputs.begin(), inputs.end(), may_be_joined);
      }))
    return false;
  if (all([&](const Call& call) { return call.request->parameters == first.parameters; })) return true;
  const py::dict parameters = to_the_model(first);
  return all([&](const Call& call) { return to_the_model(*call.request).equal(parameters); });
}

Tensor join(const Calls& calls, std::size_t input) {
  Tensor joined = calls.front().request->inputs[input];
  joined.shape.front() = 0;
  joined.size = 0;
  for (const Call& call : calls) {
    joined.shape.front() += call.request->inputs[input].shape.front();
    joined.size += call.request->inputs[input].size;
  }
  const auto memory = std::make_shared_for_overwrite<std::byte[]>(std::max<std::size_t>(joined.size, 1));
  std::byte* end = memory.get();
  for (const Call& call : calls) {
    const Tensor& part = call.request->inputs[input];
    if (part.size > 0) std::memcpy(end, part.data, part.size);
    end += part.size;
  }
  joined.data = memory.get();
  joined.storage = memory;
  return joined;
}

/// The one request of all.
py::dict joined_body(const Calls& calls) {
  const InferRequest& first = *calls.front().request;
  InferRequest joined;
  for (std::size_t input = 0; input < first.inputs.size(); ++input) joined.inputs.push_back(join(calls, input));
  // Where they differ, all outputs are needed, and each caller gets those that he asked for.
  if (std::all_of(calls.begin() + 1, calls.end(),
                  [&](const Call& call) { return call.request->outputs == first.outputs; }))
    joined.outputs = first.outputs;
  py::dict body = body_for(joined);
  if (!first.parameters.empty()) body["parameters"] = to_the_model(first);
  return body;
}

Tensor rows_from(const Tensor& tensor, std::size_t all, std::size_t from, std::size_t count) {
  Tensor rows;
  rows.name = tensor.name;
  rows.type = tensor.type;
  rows.shape = tensor.shape;
  rows.shape.front() = static_cast<std::int64_t>(count);
  rows.storage = tensor.storage;
  rows.size = tensor.size / all * count;
  if (tensor.data != nullptr) rows.data = tensor.data + tensor.size / all * from;
  if (!tensor.strings.empty()) {
    const std::size_t width = tensor.strings.size() / all;
    const auto begin = tensor.strings.begin() + static_cast<std::ptrdiff_t>(width * from);
    rows.strings.assign(begin, begin + static_cast<std::ptrdiff_t>(width * count));
  }
  return rows;
}

/// Gives each caller its rows of what `predict` has returned.
void share_out(const Model& model, const Calls& calls, std::size_t all, const py::object& result) {
  const auto outputs = model.outputs_of(result);
  if (!outputs) {
    py::list counts;
    for (const Call& call : calls) counts.append(call.rows);
    const py::list parts = py::module_::import("penstock.batch_rows").attr("split")(result, counts);
    for (std::size_t i = 0; i < calls.size(); ++i)
      model.answer(*calls[i].event, *calls[i].request, body_for(*calls[i].request), parts[i]);
    return;
  }
  for (const Tensor& tensor : *outputs) {
    const std::int64_t found = tensor.shape.empty() ? 0 : tensor.shape.front();
    if (found != static_cast<std::int64_t>(all))
      throw Failure{"",
                    500,
                    "PenstockError",
                    "predict returned " + std::to_string(found) + " results for " + std::to_string(all) + " rows",
                    {}};
  }
  std::size_t from = 0;
  for (const Call& call : calls) {
    std::vector<Tensor> own;
    for (const Tensor& tensor : *outputs) own.push_back(rows_from(tensor, all, from, call.rows));
    model.answer(*call.event, *call.request, std::move(own));
    from += call.rows;
  }
}

void fail(const Model& model, const Call& call, Failure&& failure, TimePoint begun, Emitter& out) {
  model.stats().request(false, 0, call.waited, Clock::now() - begun);
  out.fail(std::move(*call.event), std::move(failure));
}

Failure in_parts(const Model& model) {
  return {
      "", 500, "PenstockError", "model '" + model.name() + "' answers in parts, so its step cannot have .batch()", {}};
}

void predict_alone(const Model& model, const Call& call, Emitter& out) {
  try {
    if (model.predict(*call.event, *call.request))
      fail(model, call, in_parts(model), Clock::now(), out);
    else
      out.emit(std::move(*call.event));
  } catch (Failure& failure) {
    out.fail(std::move(*call.event), std::move(failure));
  } catch (const py::error_already_set& error) {
    out.fail(std::move(*call.event), to_failure(error.value()));
  }
}

void predict_joined(const Model& model, const Calls& calls, Emitter& out, bool isolate) {
  const TimePoint begun = Clock::now();
  TimePoint prepared, inferred;
  std::size_t all = 0;
  for (const Call& call : calls) all += call.rows;
  const auto fail_all = [&](const Failure& failure) {
    for (const Call& call : calls) fail(model, call, Failure(failure), begun, out);
  };
  try {
    const py::dict body = joined_body(calls);
    prepared = Clock::now();
    py::object result;
    try {
      result = model.call(body);
    } catch (const py::error_already_set& error) {
      if (!isolate) return fail_all(to_failure(error.value()));
      for (const Call& call : calls) predict_alone(model, call, out);
      return;
    }
    inferred = Clock::now();
    if (is_generator(result.ptr())) throw in_parts(model);
    share_out(model, calls, all, result);
  } catch (const Failure& failure) {
    return fail_all(failure);
  } catch (const py::error_already_set& error) {
    return fail_all(to_failure(error.value()));
  }
  const TimePoint end = Clock::now();
  model.stats().execution(all, {prepared - begun, inferred - prepared, end - inferred});
  for (const Call& call : calls) {
    model.stats().request(true, call.rows, call.waited, end - begun);
    out.emit(std::move(*call.event));
  }
}

}  // namespace

bool predict_together(Model& model, Batch& batch, Emitter& out, bool isolate) {
  const Calls calls = calls_of(model, batch);
  if (calls.empty() || !are_alike(calls)) return false;
  if (calls.size() == 1)
    predict_alone(model, calls.front(), out);
  else
    predict_joined(model, calls, out, isolate);
  return true;
}

}  // namespace penstock::python
