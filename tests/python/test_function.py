"""The function object: how it is made, its models and child functions, how it is written down, how it is called."""

import base64
import gzip
import json
import logging
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import penstock
import pytest
from penstock.errors import (
    FunctionUnreachable,
    GraphError,
    MLRunInvalidArgumentError,
    MLRunModelLimitExceededError,
    StepError,
)
from penstock.function import ServingFunction
from penstock.steps import RouterStep
from served import Served

FROM_MLRUN = {
    "kind": "serving",
    "metadata": {"name": "old", "project": "bank", "tag": "v1", "hash": "abc", "categories": ["x"]},
    "spec": {
        "image": "mlrun/mlrun",
        "function_kind": "serving_v2",
        "function_handler": "old:handler",
        "min_replicas": 1,
        "max_replicas": 4,
        "env": [{"name": "A", "value": "1"}, {"name": "S", "valueFrom": {"secretKeyRef": {}}}],
        "build": {"commands": ["pip install x"], "requirements": ["x"], "load_source_on_run": False},
        "default_class": "Inc",
        "base_spec": {
            "spec": {
                "build": {"functionSourceCode": base64.b64encode(b"def inc(body):\n    return body + 1\n").decode()}
            }
        },
        "graph": {
            "steps": {"a": {"kind": "task", "handler": "inc", "after": [], "responder": True}},
            "engine": "sync",
            "allow_cyclic": False,
        },
        "function_refs": {"enrich": {"kind": "serving", "name": "enrich", "image": "i", "requirements": ["spacy"]}},
        "secret_sources": [],
        "parameters": {"p": 1},
        "affinity": None,
    },
    "verbose": False,
}


class Inc:
    def do(self, body):
        return body + 1


class Model(penstock.V2ModelServer):
    def load(self):
        pass

    def predict(self, body):
        return [row * self.get_param("factor", 1) for row in body["inputs"]]


def inc(body):
    return body + 1


def look(body):
    return body["x"]


@pytest.fixture
def fn():
    return penstock.new_function("f")


@pytest.fixture
def web():
    """A real HTTP server that answers as its path says; and what it was asked."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def _answer(self):
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            asked.append((self.command, self.path, dict(self.headers), body))
            kind, content = {
                "/json": ("application/json", b'{"a": 1}'),
                "/text": ("text/plain", b"hello"),
                "/bytes": ("application/octet-stream", b"\x00\x01"),
            }.get(self.path, ("text/plain", b"no such thing"))
            self.send_response(200 if self.path in ("/json", "/text", "/bytes") else 404)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = _answer

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_port}", asked
        server.shutdown()
        thread.join(10)


def test_a_function_is_what_it_was_told(tmp_path):
    (tmp_path / "requirements.txt").write_text("# for tests\nspacy>=3  # nlp\n\nnumpy\n")
    fn = penstock.new_function(
        "f",
        "bank",
        "v1",
        command="a.py",
        image="img",
        requirements=str(tmp_path / "requirements.txt"),
        runtime={"spec": {"parameters": {"p": 1}}},
        labels={"team": "risk"},
    )
    assert (fn.metadata.uri, fn.metadata.labels) == ("bank/f:v1", {"team": "risk"})
    assert (fn.spec.command, fn.spec.image, fn.spec.parameters) == ("a.py", "img", {"p": 1})
    assert fn.spec.build.requirements == ["spacy>=3", "numpy"]


def test_a_model_is_added_in_every_form(fn, tmp_path, caplog):
    fn.add_model("m1", tmp_path / "m.pkl", class_name="Model")
    fn.add_model("m2:v1", class_name=Model, factor=2, outputs=["y"], child_function="gpu", creation_strategy="inplace")
    fn.add_model("m3", class_name=Model(name="x"), model_path="p")
    fn.add_model("m4", model_url="http://elsewhere/v2/models/m4/infer")
    with caplog.at_level(logging.INFO, "penstock"):
        fn.add_model("m1", "other.pkl", class_name="Model", handler="predict")
    assert "Model m1 already exists, updating it." in caplog.text
    routes = {key: route.to_dict() for key, route in fn.spec.graph.routes.items()}
    assert routes["m1"] == {
        "kind": "task",
        "class_name": "Model",
        "handler": "predict",
        "class_args": {"model_path": "other.pkl"},
    }
    assert routes["m2:v1"]["class_args"] == {"factor": 2, "outputs": ["y"]}
    assert (routes["m2:v1"]["function"], routes["m2:v1"]["model_endpoint_creation_strategy"]) == ("gpu", "inplace")
    assert routes["m3"]["class_name"].endswith("Model")
    assert routes["m4"] == {
        "kind": "task",
        "class_name": "$remote",
        "class_args": {"url": "http://elsewhere/v2/models/m4/infer"},
    }


def test_an_object_serves_as_a_model(fn):
    fn.add_model("m1", class_name=Model(factor=3))
    with fn.to_mock_server() as server:
        assert server.test("/v2/models/m1/infer", {"inputs": [2]})["outputs"] == [6]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"model_path": "p"}, r"model 'm': class_name must be provided \(or set fn.spec.default_class\)"),
        ({"class_name": 5}, "model 'm': class name must be a string, a class or an object of it, not a int"),
        ({"class_name": "Model", "model_url": "http://x"}, "model 'm': give a model_url, or a class_name"),
    ],
)
def test_a_model_that_cannot_be(fn, arguments, text):
    with pytest.raises(GraphError, match=text):
        fn.add_model("m", **arguments)


def test_a_router_takes_5000_models_at_most(fn):
    fn.set_topology("router").routes = {f"m{number}": {"class_name": "Model"} for number in range(5000)}
    with pytest.raises(MLRunModelLimitExceededError):
        fn.add_model("last", class_name="Model")


def test_models_are_removed_again(fn):
    fn.add_model("m1", class_name="Model")
    fn.add_model("m2", class_name="Model")
    assert list(fn.remove_states(["m1"]).spec.graph.routes) == ["m2"]


def test_the_router_may_be_an_object_but_has_to_be_a_router(fn):
    graph = fn.set_topology("router", penstock.VotingEnsemble, vote_type="regression")
    assert isinstance(graph, RouterStep)
    for wrong in (Inc, Inc(), inc):
        with pytest.raises(GraphError, match="provided class is not a router step"):
            fn.set_topology("router", wrong, exist_ok=True)


def test_a_child_function_has_a_name_and_a_build_of_its_own(fn):
    child = fn.add_child_function("enrich", "./", "mlrun/mlrun", requirements=["storey", "sklearn"])
    child.spec.build.commands = ["python -m spacy download en_core_web_sm"]
    assert (child.metadata.name, child.spec.image) == ("f-enrich", "mlrun/mlrun")
    assert child.get_env("SERVING_CURRENT_FUNCTION") == "enrich"
    assert child.metadata.labels == {"mlrun/parent-function": "f"}
    assert child.function_object is child
    read = ServingFunction.from_dict(json.loads(fn.to_json())).spec.function_refs["enrich"]
    assert read.spec.build == child.spec.build
    assert (read.url, read.spec.image, read.metadata.name) == ("./", "mlrun/mlrun", "f-enrich")
    for name in ("", "*"):
        with pytest.raises(GraphError, match="a child function has a name of its own"):
            fn.add_child_function(name)


def test_the_functions_of_a_graph_run_alone_or_together(fn):
    flow = fn.set_topology("flow")
    flow.to("inc", "a").to(">>", "q", path="").to("inc", "b", function="enrich").respond()
    fn.add_child_function("enrich")
    with fn.to_mock_server() as server:
        assert (server.context.current_function, server.test(body=9)) == ("*", 11)
    with fn.to_mock_server(current_function="enrich") as server:
        assert server.test(body=5) == 6
    with fn.to_mock_server(current_function="") as server:
        assert set(server.test(body=5)) == {"id"}


def test_tracking_is_set_for_models_and_child_functions(fn):
    flow = fn.set_topology("flow")
    child = fn.add_child_function("gpu")
    fn.set_tracking("v3io:///projects/p/log", sampling_percentage=20, stream_args={"shards": 2})
    assert fn.spec.track_models
    assert flow.track_models
    assert child.spec.track_models
    assert fn.spec.parameters == {
        "sampling_percentage": 20,
        "log_stream": "v3io:///projects/p/log",
        "stream_args": {"shards": 2},
    }
    for percentage in (0, -1, 101):
        with pytest.raises(MLRunInvalidArgumentError, match="must be greater than 0 and less or equal to 100."):
            fn.set_tracking(sampling_percentage=percentage)
    fn.set_tracking(enable_tracking=False)
    assert not fn.spec.track_models


def test_a_function_is_read_back_the_same(fn, tmp_path):
    flow = fn.set_topology("flow", engine="sync")
    flow.to(Inc, "a").to("json.dumps", "b")
    fn.spec.parameters = {"p": [1, 2]}
    fn.spec.streaming = False
    fn.set_env("LEVEL", 3).with_commands(["apt-get update"]).with_http(workers=2, port=30000)
    fn.with_limits("1Gi", "2").with_requests("512Mi")
    written = json.loads(fn.to_json())
    assert ServingFunction.from_dict(written).to_dict() == written
    for name in ("function.json", "function.yaml"):
        fn.export(str(tmp_path / name))
        read = penstock.import_function(str(tmp_path / name))
        assert read.metadata.hash == fn.metadata.hash != ""
        assert read.to_dict() == fn.to_dict()
    assert penstock.import_function(f"{tmp_path}/").metadata.name == "f"
    assert json.loads(json.dumps(fn.to_dict())) == fn.to_dict()


def test_a_function_that_mlrun_exported_is_read_kept_and_run():
    fn = ServingFunction.from_dict(FROM_MLRUN)
    assert (fn.metadata.uri, fn.metadata.hash) == ("bank/old:v1", "abc")
    assert (fn.spec.env, fn.spec.max_replicas, fn.spec.parameters) == ({"A": "1", "S": ""}, 4, {"p": 1})
    assert fn.spec.function_refs["enrich"].spec.build.requirements == ["spacy"]
    written = fn.to_dict()["spec"]
    assert written["function_handler"] == "old:handler"
    assert written["build"] == FROM_MLRUN["spec"]["build"]
    with fn.to_mock_server() as server:
        assert server.test(body=5) == 6
        assert server.context.project == "bank"


def test_the_serving_specification_starts_a_server(fn):
    fn.set_topology("flow").to("inc", "a").to("inc", "b", function="enrich").respond()
    fn.add_child_function("enrich")
    fn.spec.parameters = {"p": 1}
    fn.spec.error_stream = "dummy://"
    fn.spec.load_mode = "sync"
    fields = json.loads(fn.serving_spec)
    known = {
        "function_name", "function_tag", "function_uri", "function_hash", "project", "version", "parameters", "graph",
        "load_mode", "functions", "graph_initializer", "error_stream", "track_models", "default_content_type",
        "streaming", "filename",
    }  # fmt: skip
    assert known <= set(fields)
    assert (fields["function_uri"], fields["functions"]) == ("default/f", {"enrich": "default/f-enrich"})
    assert fields["function_hash"] == fn.metadata.hash != ""
    packed = base64.b64encode(gzip.compress(fn.serving_spec.encode())).decode()
    for text in (fn.serving_spec, packed, fields | {"field_of_a_later_version": 1}):
        server = penstock.GraphServer.from_dict(text, is_mock=True)
        server.init_states(namespace=globals())
        with server:
            assert server.test(body=1) == 3
            assert server.context.get_param("p") == 1
        assert {key: value for key, value in server.to_dict().items() if key in fields} == fields
        assert json.loads(server.to_json()) == json.loads(json.dumps(server.to_dict()))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "neither JSON nor YAML|not JSON"),
        ("xx", "neither JSON nor base64"),
        ("[]", "neither JSON nor base64"),
        ('{"version": "v3"}', "has version 'v3'"),
        ('{"load_mode": "later"}', "load_mode is 'sync' or 'async', not 'later'"),
    ],
)
def test_a_serving_specification_that_is_none(text, said):
    with pytest.raises(GraphError, match=said):
        penstock.GraphServer.from_dict(text)


def test_a_load_mode_that_is_none(fn):
    fn.set_topology("flow").to("inc")
    fn.spec.load_mode = "later"
    with pytest.raises(GraphError, match="load_mode is 'sync' or 'async', not 'later'"):
        fn.to_mock_server()


def test_a_graph_may_be_given_as_a_dict(fn):
    fn.spec.graph = {"steps": {"a": {"handler": "(event * 2)", "responder": True}}}
    with fn.to_mock_server() as server:
        assert server.test(body=2) == 4


def test_the_initializer_gets_the_server_before_the_graph_is_made(fn):
    def with_table(server):
        server.context.set_table("ages", {"ann": 33})

    class Ages:
        def __init__(self, context):
            self.table = context.get_table("ages")

        def do(self, body):
            return self.table[body]

    fn.set_topology("flow").to(Ages).respond()
    fn.spec.graph_initializer = with_table
    with fn.to_mock_server() as server:
        assert server.test(body="ann") == 33
    fn.spec.graph_initializer = "with_tabel"
    with pytest.raises(GraphError, match="there is no graph_initializer 'with_tabel'"):
        fn.to_mock_server()


def test_invoke_asks_a_mock_server_as_long_as_the_function_runs_nowhere(fn):
    fn.add_model("m1", class_name="Model", factor=2)
    assert fn.invoke("/v2/models/m1/infer", body={"inputs": [5]})["outputs"] == [10]
    assert fn.invoke("/v2/models/") == {"models": ["m1"]}
    fn._set_as_mock(False)
    with pytest.raises(GraphError, match=r"function 'f' has no address: serve it, and set fn.status.address"):
        fn.invoke("/v2/models/")
    assert fn.invoke("/v2/models/", mock=True) == {"models": ["m1"]}
    fn._set_as_mock(True)


def test_a_mock_server_raises_what_the_function_would_answer(fn):
    fn.set_topology("flow").to("look").respond()
    server = penstock.deploy_function(fn, mock=True)
    with pytest.raises(StepError, match=r"failed \(500\): KeyError: 'x'"):
        fn.invoke("/", {"y": 1})
    assert fn.invoke("/", {"x": 1}) == 1
    penstock.deploy_function(fn, mock=False)
    assert server.test(body={"x": 1}, silent=True).status_code == 503


def test_invoke_calls_the_function_where_it_runs(fn, web):
    address, asked = web
    fn.status.address = address
    assert fn.invoke("/json", {"inputs": [1]}, headers={"X-A": "b"}) == {"a": 1}
    assert fn.invoke("text") == "hello"
    assert fn.invoke(f"http://{address}/bytes", b"raw", method="PUT") == b"\x00\x01"
    (post, get, put) = asked
    assert (post[0], json.loads(post[3]), post[2]["X-A"]) == ("POST", {"inputs": [1]}, "b")
    assert post[2]["Content-Type"] == "application/json"
    assert get[:2] == ("GET", "/text")
    assert (put[0], put[3]) == ("PUT", b"raw")


def test_a_function_that_was_written_down_is_served_and_invoked(tmp_path):
    fn = penstock.new_function("f")
    fn.set_topology("flow").to("(1 / event)", name="a").respond()
    fn.export(f"{tmp_path}/")
    served = Served(tmp_path / "function.yaml")
    try:
        fn.status.address = f"127.0.0.1:{served.port}"
        assert fn.invoke("/", 4) == 0.25
        with pytest.raises(RuntimeError, match="bad function response 500: .*division by zero"):
            fn.invoke("/", 0)
    finally:
        served.end()


@pytest.mark.parametrize(
    ("options", "environment", "answer"),
    [
        ((), {"SERVING_CURRENT_FUNCTION": "enrich"}, 10),
        (("--function", "enrich"), {"SERVING_CURRENT_FUNCTION": "other"}, 10),
        ((), {"SERVING_CURRENT_FUNCTION": ""}, 12),
    ],
)
def test_a_child_function_is_served_alone(tmp_path, options, environment, answer):
    fn = penstock.new_function("f")
    flow = fn.set_topology("flow")
    flow.to("(event + 1)", name="a").to(">>", "q", path="").to("(2 * event - 1)", "b", function="enrich").respond()
    fn.export(f"{tmp_path}/")
    served = Served(tmp_path / "function.yaml", *options, **environment)
    try:
        assert served.post(5.5) == (200, answer)
    finally:
        served.end()


def test_an_error_of_the_function_is_raised_with_its_text(fn, web):
    fn.spec.command = f"http://{web[0]}"
    with pytest.raises(RuntimeError, match="bad function response 404: no such thing"):
        fn.invoke("/nothing")


def test_a_function_that_nobody_serves_is_said(fn):
    fn.status.address = "127.0.0.1:9"
    with pytest.raises(FunctionUnreachable, match="cannot run function at url http://127.0.0.1:9/x: "):
        fn.invoke("/x")


def test_a_function_without_a_graph_says_so(fn):
    for call in (fn.to_mock_server, fn.invoke):
        with pytest.raises(GraphError, match="no models or steps were set"):
            call()
    with pytest.raises(GraphError, match="there is no graph to plot"):
        fn.plot()


def test_plot_is_that_of_the_graph(fn):
    fn.set_topology("flow").to("inc", "first")
    assert "first" in str(fn.plot(format="mermaid"))
