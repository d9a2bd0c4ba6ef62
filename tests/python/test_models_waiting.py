"""Models that wait: async load and predict, loading on a thread, and rows that come as dicts."""

import asyncio
import threading
from http.client import HTTPConnection

import penstock
import pytest
from penstock.errors import GraphError, ModelNotReady, StepError, StepNotReady
from penstock.loading import watch
from penstock.serve import HttpServer
from penstock.serving import V2ModelServer


class Later(V2ModelServer):
    """Answers when another coroutine has had its turn."""

    async def load(self):
        self.loaded_on = threading.current_thread().name
        await asyncio.sleep(0)
        self.factor = 2

    async def predict(self, body):
        await asyncio.sleep(0)
        return [self.factor * row for row in body["inputs"]]

    async def explain(self, body):
        return ["because"]

    async def op_where(self, event):
        return {"loaded_on": self.loaded_on}


class Both(V2ModelServer):
    """Answers an event when a second one is in the model, too."""

    def load(self):
        self.waiting = []

    async def predict(self, body):
        mine = asyncio.get_running_loop().create_future()
        self.waiting.append(mine)
        if len(self.waiting) == 2:
            for future in self.waiting:
                future.set_result(None)
        await mine
        return body["inputs"]


def serve(class_name, **class_args):
    fn = penstock.new_function("f")
    fn.add_model("m1", class_name=class_name, **class_args)
    return fn.to_mock_server()


def infer(server, inputs, operation="infer"):
    return server.test(f"/v2/models/m1/{operation}", body={"inputs": inputs})["outputs"]


def tensor(data):
    return {"name": "x", "shape": [len(data)], "datatype": "FP32", "data": data}


def test_a_model_may_load_and_predict_in_coroutines():
    with serve(Later) as server:
        assert infer(server, [1, 2]) == [2, 4]
        assert infer(server, [tensor([1.0, 2.0])])[0]["data"] == [2.0, 4.0]
        assert infer(server, [1], "explain") == ["because"]
        assert server.test("/v2/models/m1/where", body={"a": 1}) == {"loaded_on": "penstock-asyncio"}
        assert server.test("/v2/models/m1/ready", method="GET").status_code == 200
        assert server.test("/v2/models/m1", method="GET")["name"] == "m1"


def test_events_wait_in_a_model_at_the_same_time():
    with serve(Both) as server:
        answers = []
        threads = [threading.Thread(target=lambda: answers.append(infer(server, [1]))) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert answers == [[1], [1]]


def test_a_coroutine_that_fails_is_500_and_names_the_model():
    class Fails(Later):
        async def predict(self, body):
            raise KeyError("x")

    with serve(Fails) as server, pytest.raises(StepError, match=r"failed \(500\): KeyError: 'x'") as caught:
        infer(server, [1])
    assert caught.value.step == "m1"


def test_a_model_that_waits_is_a_plain_step_and_answers_alone():
    fn = penstock.new_function("f")
    fn.set_topology("flow").to(Later, "m", result_path="reply").respond()
    with fn.to_mock_server() as server:
        assert server.test(body={"inputs": [1]})["reply"]["outputs"] == [2]
        assert server.test("/infer", body={"inputs": [1]})["reply"]["outputs"] == [2]
    model = Later(name="m")
    model.post_init()
    assert model.infer({"inputs": [3]})["outputs"] == [6]


def test_a_batch_of_a_model_that_waits_is_predicted_at_once():
    calls = []

    class Counts(Later):
        async def predict(self, body):
            calls.append(list(body["inputs"]))
            if "bad" in body["inputs"]:
                raise ValueError("bad")
            return await super().predict(body)

    model = Counts(name="m1")
    model.post_init()

    def event(path="infer", **body):
        return penstock.Event(body, path=path, method="POST")

    batch = [
        event(inputs=[1]),
        event(inputs=[2, 3]),
        event(rows=1),
        event(path="where", a=1),
        event(inputs=["bad"], n=1),
    ]
    answers = asyncio.run(model.do_events(batch))
    assert [answers[0].body["outputs"], answers[1].body["outputs"]] == [[2], [4, 6]]
    assert "inputs" in str(answers[2])
    assert answers[3].body == {"loaded_on": "penstock-asyncio"}
    assert str(answers[4]) == "bad"
    assert sorted(calls, key=str) == [["bad"], [1, 2, 3]]
    fn = penstock.new_function("f")
    fn.add_model("m1", class_name=Later).batch(8)
    with fn.to_mock_server() as server:
        assert infer(server, [1]) == [2]


def test_other_hooks_are_plain_functions():
    class Wrong(Later):
        async def preprocess(self, request, operation):
            return request

    with pytest.raises(GraphError, match="model 'm1': preprocess is an async function; only load, predict, explain"):
        serve(Wrong)


def test_a_coroutine_that_cannot_load_says_why():
    class Broken(Later):
        async def load(self):
            raise OSError("disk on fire")

    with pytest.raises(StepNotReady, match="model 'm1': failed to load model m1: OSError: disk on fire"):
        serve(Broken)


class Slow(V2ModelServer):
    """Loads when it is let."""

    def load(self):
        let = self.get_param("let")
        assert let.wait(20)
        self.get_param("then", lambda: None)()

    def predict(self, body):
        return body["inputs"]


def loading_of(server):
    return server.compiled.models["m1"]._loading


def test_a_model_that_loads_on_a_thread_refuses_until_it_is_ready():
    let = threading.Event()
    with serve(Slow, load_mode="async", let=let) as server:
        with pytest.raises(StepError, match=r"failed \(503\): RuntimeError: model m1 is not ready yet"):
            infer(server, [1])
        ready = server.test("/v2/models/m1/ready", method="GET", silent=True)
        assert (ready.status_code, ready.body) == (503, b"model not ready")
        let.set()
        assert loading_of(server).wait(20)
        assert infer(server, [1]) == [1]
        assert infer(server, [tensor([1.0])])[0]["data"] == [1.0]
        assert server.test("/v2/models/m1/ready", method="GET").status_code == 200


def health(http):
    connection = HTTPConnection("127.0.0.1", http.port, timeout=20)
    try:
        connection.request("GET", "/v2/health/ready")
        return connection.getresponse().status
    finally:
        connection.close()


@pytest.mark.parametrize("works", [True, False])
def test_a_server_is_ready_when_all_of_its_models_are(works):
    let, done = threading.Event(), threading.Event()
    fn = penstock.new_function("f")
    fn.add_model("m0", class_name=Columns)
    fn.add_model("m1", class_name=Slow, load_mode="async", let=let, then=(lambda: None) if works else [].pop)
    with fn.to_mock_server() as server, HttpServer(server, port=0) as http:
        loading_of(server).then(done.set)  # behind the server's own
        assert health(http) == 503
        let.set()
        assert done.wait(20)
        assert health(http) == (200 if works else 503)


def test_what_is_to_happen_after_loading_happens_at_once_if_it_is_over():
    calls = []
    model = Columns(name="m", load_mode="async")
    model.post_init()
    assert model._loading.wait(20)
    model._loading.then(lambda: calls.append(1))
    watch([model], calls.append)
    assert calls == [1, False, True]


def test_an_event_of_a_stream_waits_for_the_model():
    let = threading.Event()
    with serve(Slow, load_mode="async", let=let) as server:
        ended = loading_of(server)._ended
        wait = ended.wait

        def waits(timeout):
            let.set()
            return wait(timeout)

        ended.wait = waits
        reply = server.test("/v2/models/m1/infer", body={"inputs": [1]}, trigger={"kind": "kafka"})
        assert reply["outputs"] == [1]


def test_a_model_that_fails_to_load_on_a_thread_says_so_to_each_caller(caplog):
    let = threading.Event()

    def fail():
        raise OSError("disk on fire")

    with serve(Slow, load_mode="async", let=let, then=fail) as server:
        let.set()
        assert not loading_of(server).wait(20)
        with pytest.raises(StepError, match=r"failed \(503\): RuntimeError: model m1 is not ready, .*OSError: disk on"):
            infer(server, [1])
    assert "failed to load model m1" in caplog.text


def test_a_batch_waits_for_no_model_either():
    let = threading.Event()
    model = Slow(name="m1", load_mode="async", let=let)
    model.post_init()
    (answer,) = model.do_events([penstock.Event({"inputs": [1]}, path="infer", method="POST")])
    assert isinstance(answer, ModelNotReady)
    let.set()
    assert model._loading.wait(20)


class Columns(V2ModelServer):
    inputs = [{"name": "a", "datatype": "FP64", "shape": [-1]}, {"name": "b", "datatype": "FP64", "shape": [-1]}]  # noqa: RUF012

    def load(self):
        pass

    def predict(self, body):
        return body["inputs"]


class Operations(Columns):
    def preprocess(self, request, operation):
        return request | {"inputs": [[*row, operation] for row in request["inputs"]]}


@pytest.mark.parametrize("operation", ["infer_dict", "predict_dict"])
def test_rows_may_come_as_dicts_in_any_order(operation):
    with serve(Columns) as server:
        assert infer(server, [{"b": 2, "a": 1}, {"a": 3, "b": 4, "c": 5}], operation) == [[1, 2], [3, 4]]
        assert infer(server, {"b": 2, "a": 1}, operation) == [[1, 2]]


def test_hooks_see_the_operation_and_the_rows_in_order():
    with serve(Operations) as server:
        assert infer(server, [{"b": 2, "a": 1}], "infer_dict") == [[1, 2, "infer_dict"]]
    model = Operations(name="m1")
    (answer,) = model.do_events([penstock.Event({"inputs": [{"b": 2, "a": 1}]}, path="infer_dict", method="POST")])
    assert answer.body["outputs"] == [[1, 2, "infer_dict"]]


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"inputs": [{"a": 1}]}, 'row 0 of "inputs" misses b'),
        (
            {"inputs": [{"a": 1, "b": 2}, [1, 2]]},
            'Expected "inputs" to be a dict or a list of dicts, there is one of type list',
        ),
        ({"inputs": 5}, '"inputs" to be a dict or a list of dicts, there is one of type int'),
        ({"rows": 5}, 'Expected key "inputs" in request body'),
    ],
)
def test_dicts_that_do_not_fit_are_400(body, text):
    with serve(Columns) as server, pytest.raises(StepError) as caught:
        server.test("/v2/models/m1/infer_dict", body=body)
    assert caught.value.status_code == 400
    assert text in caught.value.reason


def test_dicts_need_a_schema():
    class Plain(Columns):
        inputs = []  # noqa: RUF012

    with serve(Plain) as server, pytest.raises(StepError, match="you have to provide `model_path`") as caught:
        infer(server, [{"a": 1}], "infer_dict")
    assert caught.value.status_code == 400


def test_an_endpoint_uid_is_part_of_replies_and_metadata():
    with serve(Columns, model_endpoint_uid="u1", shard_by_endpoint=False) as server:
        assert server.test("/v2/models/m1/infer", body={"inputs": [[1, 2]]})["model_endpoint_uid"] == "u1"
        assert server.test("/v2/models/m1", method="GET")["model_endpoint_uid"] == "u1"


def test_only_a_model_that_never_waits_is_native():
    assert not Later(name="m")._native
    assert Columns(name="m")._native
    waiting = Columns(name="m", load_mode="async")
    waiting.post_init()
    assert not waiting._native
