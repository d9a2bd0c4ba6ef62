"""The model server: both shapes of requests, hooks, batches, model files."""

import json

import numpy as np
import penstock
import pytest
from penstock.batches import infer_batch
from penstock.errors import ModelFileNotFound, StepError, StepNotReady
from penstock.serving import V2ModelServer


class Double(V2ModelServer):
    def load(self):
        self.calls = []

    def predict(self, body):
        self.calls.append(body["inputs"])
        inputs = body["inputs"]
        if isinstance(inputs, dict):
            return {name: array * 2 for name, array in inputs.items()}
        if isinstance(inputs, np.ndarray):
            return inputs * 2
        return [2 * row for row in inputs]

    def explain(self, body):
        return ["because"]

    def op_custom(self, event):
        return {"custom": event.body}


class Picky(Double):
    def validate(self, request, operation):
        super().validate(request, operation)
        if len(request["inputs"]) > 2:
            raise ValueError("too many rows")
        return request


class Hooked(Double):
    def preprocess(self, request, operation):
        return request | {"inputs": [row + 1 for row in request["inputs"]]}

    def postprocess(self, response):
        return response | {"hooked": True}


class FromFile(V2ModelServer):
    def load(self):
        path, extra = self.get_model(".json")
        with open(path) as file:
            self.factor = json.load(file)["factor"]
        self.extra = sorted(extra)

    def predict(self, body):
        return [self.factor * row for row in body["inputs"]]


class Described(Double):
    inputs = [{"name": "rows", "datatype": "FP32", "shape": [-1, 4]}]  # noqa: RUF012
    outputs = [{"name": "doubled", "datatype": "FP32", "shape": [-1, 4]}]  # noqa: RUF012


def tensor(data, name="x", datatype="FP32", shape=None):
    return {"name": name, "datatype": datatype, "shape": shape or [len(data)], "data": data}


def serve(class_name="Double", key="m1", **class_args):
    fn = penstock.new_function("f")
    fn.set_topology("router")
    fn.add_model(key, class_name=class_name, **class_args)
    return fn.to_mock_server()


@pytest.fixture
def server():
    with serve() as running:
        yield running


def infer(server, inputs, **more):
    return server.test("/v2/models/m1/infer", body={"inputs": inputs, **more})


def test_plain_rows_are_answered_with_plain_rows(server):
    reply = infer(server, [1, 2], id="abc")
    timestamp = reply.pop("timestamp")
    assert reply == {"id": "abc", "model_name": "m1", "outputs": [2, 4]}
    assert timestamp.endswith("+00:00")


def test_arrays_that_answer_plain_rows_become_rows():
    class Array(Double):
        def predict(self, body):
            return np.asarray(body["inputs"]) * 2

    assert Array(name="m1").infer({"inputs": [[1, 2]]})["outputs"] == [[2, 4]]


def test_a_tensor_comes_as_an_array_and_goes_back_as_a_tensor(server):
    reply = infer(server, [tensor([1.0, 2.0, 3.0, 4.0], shape=[2, 2])], id="abc")
    assert reply == {
        "id": "abc",
        "model_name": "m1",
        "outputs": [{"name": "output0", "shape": [2, 2], "datatype": "FP32", "data": [2.0, 4.0, 6.0, 8.0]}],
    }


def test_tensors_get_back_the_id_they_came_with_and_no_other(server):
    assert "id" not in infer(server, [tensor([1.0])])
    assert infer(server, [tensor([1.0])], id="abc")["id"] == "abc"
    assert len(infer(server, [1.0])["id"]) == 32


def test_several_tensors_come_as_a_dict_of_arrays(server):
    reply = infer(server, [tensor([1], "a"), tensor([1, 2], "b", "INT64")])
    assert reply["outputs"] == [
        {"name": "a", "shape": [1], "datatype": "FP32", "data": [2.0]},
        {"name": "b", "shape": [2], "datatype": "INT64", "data": [2, 4]},
    ]


def test_rows_that_answer_a_tensor_become_a_tensor():
    class Rows(Double):
        def predict(self, body):
            return [0.5, float("nan")]

    model = Rows(name="m1")
    assert model.infer({"inputs": [tensor([1.0])]})["outputs"][0]["data"] == [0.5, None]


def test_null_is_nan_and_text_is_bytes(server):
    reply = infer(server, [tensor([None, 1.0])])
    assert reply["outputs"][0]["data"] == [None, 2.0]
    reply = infer(server, [tensor(["a", "b"], datatype="BYTES")])
    assert reply["outputs"][0] == {"name": "output0", "shape": [2], "datatype": "BYTES", "data": ["aa", "bb"]}


@pytest.mark.parametrize(
    ("inputs", "text"),
    [
        ([tensor([1, 2, 3], shape=[2, 2])], r"input 'x': shape \[2, 2\] needs 4 values, the data has 3"),
        ([tensor([1], datatype="FP8")], "input 'x': unknown datatype 'FP8'"),
        ([tensor([1], shape=[-1])], "input 'x': shape is a list of whole numbers"),
        ([tensor(["a"])], "input 'x': the data is not FP32"),
        ([tensor([[1], [2, 3]], shape=[3])], "input 'x': the data is not FP32"),
        ([{"name": "x", "shape": [1], "datatype": "FP32"}], "input 'x': there is no data"),
        ([tensor([1], "a"), tensor([1], "a")], "two inputs have the same name"),
    ],
)
def test_a_tensor_that_cannot_be_is_400(server, inputs, text):
    with pytest.raises(StepError, match=text) as caught:
        infer(server, inputs)
    assert caught.value.status_code == 400


@pytest.mark.parametrize(
    ("body", "text"),
    [({"rows": [1]}, 'Expected key "inputs" in request body'), ({"inputs": 5}, 'Expected "inputs" to be a list')],
)
def test_a_request_without_inputs_is_400(server, body, text):
    with pytest.raises(StepError, match=text) as caught:
        server.test("/v2/models/m1/infer", body=body)
    assert caught.value.status_code == 400


def test_what_validate_refuses_is_400_and_what_predict_raises_500():
    class Fails(Picky):
        def predict(self, body):
            raise ValueError("no idea")

    with serve(Fails) as server:
        with pytest.raises(StepError, match=r"failed \(400\): ValueError: too many rows"):
            infer(server, [1, 2, 3])
        with pytest.raises(StepError, match=r"failed \(500\): ValueError: no idea") as caught:
            infer(server, [1])
        assert caught.value.step == "m1"


def test_hooks_see_the_request_and_the_reply():
    with serve("Hooked") as server:
        reply = infer(server, [1])
        assert (reply["outputs"], reply["hooked"]) == ([4], True)


def test_operations_are_chosen_by_path(server):
    assert server.test("/v2/models/m1/predict", body={"inputs": [1]})["outputs"] == [2]
    assert server.test("/v2/models/m1/explain", body={"id": "i", "inputs": [1]}) == {
        "id": "i",
        "model_name": "m1",
        "outputs": ["because"],
    }
    assert server.test("/v2/models/m1/custom", body={"a": 1}) == {"custom": {"a": 1}}
    with pytest.raises(StepError, match=r"failed \(400\): ValueError: illegal model operation zz, method=POST"):
        server.test("/v2/models/m1/zz", body={"a": 1})


def test_a_model_says_what_it_is_and_that_it_is_ready(server):
    assert server.test("/v2/models/m1", method="GET") == {
        "name": "m1",
        "model_endpoint_uid": "",
        "inputs": [],
        "outputs": [],
    }
    response = server.test("/v2/models/m1/ready", method="GET", event_id="e1")
    assert (response.status_code, response.body) == (200, b"Model m1 is ready (event_id = e1)")


def test_metadata_comes_from_the_class_or_from_the_first_tensors(server):
    infer(server, [tensor([1, 2], shape=[1, 2])])
    metadata = server.test("/v2/models/m1", method="GET")
    assert metadata["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}]
    assert metadata["outputs"] == [{"name": "output0", "datatype": "FP32", "shape": [-1, 2]}]
    with serve("Described") as described:
        infer(described, [tensor([1, 2])])
        assert described.test("/v2/models/m1", method="GET")["inputs"] == Described.inputs
        assert infer(described, [tensor([1])])["outputs"][0]["name"] == "doubled"


def test_a_version_is_part_of_the_name_and_not_of_the_reply():
    with serve(key="m3:v1") as server:
        reply = server.test("/v2/models/m3/versions/v1/infer", body={"inputs": [1]})
        assert reply["model_name"] == "m3"
        reply = server.test("/v2/models/m3/versions/v1/infer", body={"inputs": [tensor([1])]})
        assert (reply["model_name"], reply["model_version"]) == ("m3", "v1")


def test_a_model_is_a_plain_step_too():
    fn = penstock.new_function("f")
    fn.set_topology("flow").to("Double", "m").respond()
    with fn.to_mock_server() as server:
        assert server.test("/", body={"inputs": [1]})["outputs"] == [2]
        assert server.test("/predict", body={"inputs": [1]})["outputs"] == [2]
        assert server.test("/v2/models/m/infer", body={"inputs": [1]})["outputs"] == [2]
        assert server.test("/ready", method="GET").status_code == 200


def test_the_request_may_lie_deeper_and_the_reply_be_put_elsewhere():
    fn = penstock.new_function("f")
    fn.set_topology("flow").to("Double", "m", input_path="ask.it", result_path="got.it").respond()
    with fn.to_mock_server() as server:
        body = server.test(body={"ask": {"it": {"inputs": [1]}}, "kept": 1})
        assert body["got"]["it"]["outputs"] == [2]
        assert body["kept"] == 1


def test_parameters_come_from_the_model_and_then_from_the_function():
    class Asks(Double):
        def predict(self, body):
            return [self.get_param("own"), self.get_param("shared"), self.get_param("none", "default")]

    fn = penstock.new_function("f")
    fn.spec.parameters = {"own": "function", "shared": "function"}
    fn.add_model("m1", class_name=Asks, own="model")
    with fn.to_mock_server() as server:
        assert infer(server, [1])["outputs"] == ["model", "function", "default"]


def test_a_model_object_needs_no_class_of_its_own():
    class Fitted:
        def predict(self, rows):
            return np.asarray(rows) * 3

    fn = penstock.new_function("f")
    fn.add_model("m1", class_name="mlrun.serving.V2ModelServer", model=Fitted())
    fn.add_model("m2", class_name=Double(name="made"), limit=1)
    with fn.to_mock_server() as server:
        assert infer(server, [1])["outputs"] == [3]
        assert server.test("/v2/models/m2/infer", body={"inputs": [1]})["model_name"] == "m2"


def test_a_model_file_is_found_by_its_path_or_in_a_directory(tmp_path):
    (tmp_path / "model.json").write_text('{"factor": 5}')
    (tmp_path / "notes.txt").write_text("")
    for path in (tmp_path, tmp_path / "model.json", f"file://{tmp_path}"):
        with serve("FromFile", model_path=path) as server:
            assert infer(server, [2])["outputs"] == [10]


def test_a_model_file_is_read_through_fsspec():
    import fsspec

    files = fsspec.filesystem("memory")
    files.pipe("/models/m/model.json", b'{"factor": 5}')
    with serve("FromFile", model_path="memory://models/m/model.json") as server:
        assert infer(server, [2])["outputs"] == [10]
    with serve("FromFile", model_path="memory://models/m") as server:
        assert infer(server, [2])["outputs"] == [10]
    with pytest.raises(ModelFileNotFound, match="there is no file or directory memory://models/none"):
        serve("FromFile", model_path="memory://models/none")


def test_a_directory_without_the_file_says_what_it_holds(tmp_path):
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(ModelFileNotFound, match=r"model 'm1': there is no file '\*.json' in .*, which holds notes.txt"):
        serve("FromFile", model_path=tmp_path)


def test_a_model_that_cannot_load_says_why_when_the_server_is_made():
    class Broken(Double):
        def load(self):
            raise OSError("disk on fire")

    with pytest.raises(StepNotReady, match="model 'm1': failed to load model m1: OSError: disk on fire"):
        serve(Broken)
    with pytest.raises(StepNotReady, match="please specify a load method or a model object"):
        serve("V2ModelServer")


def test_only_a_model_without_hooks_is_native():
    class Plain(V2ModelServer):
        def predict(self, body):
            return body["inputs"]

    assert Plain(name="m")._native
    assert not Hooked(name="m")._native
    assert not Picky(name="m")._native
    assert not Plain(name="m", result_path="a")._native


def events(*bodies, path="infer"):
    return [penstock.Event(body, path=path, method="POST", event_id=f"e{place}") for place, body in enumerate(bodies)]


def loaded(model_class):
    model = model_class(name="m1")
    model.post_init()
    return model


def outputs_of(answers):
    return [answer if isinstance(answer, Exception) else answer.body["outputs"] for answer in answers]


def test_a_batch_is_predicted_at_once_and_each_caller_gets_its_rows():
    model = loaded(Double)
    answers = infer_batch(model, events({"inputs": [1]}, {"inputs": [2, 3]}, {"id": "own", "inputs": [4]}))
    assert outputs_of(answers) == [[2], [4, 6], [8]]
    assert [answer.body["id"] for answer in answers] == ["e0", "e1", "own"]
    assert model.calls == [[1, 2, 3, 4]]


def test_tensors_are_batched_where_they_fit_together():
    model = loaded(Double)
    answers = infer_batch(
        model,
        events(
            {"inputs": [tensor([1, 2], shape=[1, 2])]},
            {"inputs": [tensor([1], shape=[1, 1])]},
            {"inputs": [tensor([3, 4, 5, 6], shape=[2, 2])]},
        ),
    )
    assert [answer[0]["data"] for answer in outputs_of(answers)] == [[2, 4], [2], [6, 8, 10, 12]]
    assert [call.shape for call in model.calls] == [(3, 2), (1, 1)]


def test_requests_that_ask_differently_are_not_joined():
    model = loaded(Double)
    infer_batch(model, events({"inputs": [1], "limit": 1}, {"inputs": [2], "limit": 2}, {"inputs": [3], "limit": 1}))
    assert model.calls == [[1, 3], [2]]


def test_in_a_batch_a_bad_request_fails_alone():
    model = loaded(Picky)
    answers = infer_batch(model, events({"inputs": [1]}, {"inputs": [1, 2, 3]}, {"rows": 1}, {"inputs": [2]}))
    first, refused, empty, last = outputs_of(answers)
    assert (first, last) == ([2], [4])
    assert str(refused) == "too many rows"
    assert "inputs" in str(empty)
    assert model.calls == [[1, 2]]


def test_in_a_batch_a_failed_predict_fails_those_it_was_for():
    class Short(Double):
        def predict(self, body):
            return body["inputs"][:1]

    answers = infer_batch(loaded(Short), events({"inputs": [1]}, {"inputs": [2]}))
    assert [str(answer) for answer in answers] == ["predict returned 1 results for 2 rows"] * 2


def test_in_a_batch_other_operations_are_answered_one_by_one():
    answers = infer_batch(loaded(Double), events({"a": 1}, path="custom"))
    assert answers[0].body == {"custom": {"a": 1}}


def test_a_batched_model_answers_in_a_graph():
    fn = penstock.new_function("f")
    fn.add_model("m1", class_name="Double").batch(8)
    with fn.to_mock_server() as server:
        assert infer(server, [1, 2])["outputs"] == [2, 4]
        with pytest.raises(StepError, match=r"failed \(400\)"):
            infer(server, 5)
