"""What people who know MLRun's serving graphs rely on, row by row of docs/compatibility.md: in all servers.

Each test's id is the first column of the table there.
"""

import contextlib
import http.server
import json
import re
import sys
import threading
import types
from pathlib import Path

import penstock
import pytest
from nuclio_processor import Deployed
from penstock.errors import GraphClosed, StepError
from served import Served

TABLE = Path(__file__).parents[2] / "docs" / "compatibility.md"
ROWS = {}

START = "import penstock\nfrom penstock.serving import *\nfn = penstock.new_function('golden', project='p')\n"
FLOW = START + "graph = fn.set_topology('flow')\n"
SYNC = START + "graph = fn.set_topology('flow', engine='sync')\n"
INC = "def inc(body): return body + 1\n"
MODEL = """
class Model(V2ModelServer):
    def __init__(self, *args, factor=2, **kwargs):
        super().__init__(*args, **kwargs)
        self.factor = factor

    def load(self):
        self.model = self.factor

    def predict(self, body):
        return [self.factor * row for row in body["inputs"]]

    def explain(self, body):
        return ["because"]

    def op_xx(self, event):
        return {"custom": event.body["inputs"]}
"""
ROUTER = (
    START
    + MODEL
    + """
fn.set_topology("router")
fn.add_model("m1", class_name="Model", model_path=".")
fn.add_model("m3:v1", class_name="Model", model_path=".", factor=10)
"""
)


def row(name, graph):
    """Add the test of a row; it gets what runs the graph."""

    def add(test):
        assert name not in ROWS
        ROWS[name] = (graph, test)
        return test

    return add


class Run:
    """One graph, in the mock server and behind HTTP or in a Nuclio function; each starts when it is first used."""

    def __init__(self, source, folder, stack, server):
        self.is_nuclio = server == "nuclio"
        self.file = folder / "golden.py"
        self.file.write_text(source)
        self.folder = folder
        self.stack = stack
        self._mock = self._http = None
        self.module = types.ModuleType("golden")
        exec(compile(source, str(self.file), "exec"), vars(self.module))
        self.fn = self.module.fn

    @property
    def mock(self):
        if self._mock is None:
            self._mock = self.fn.to_mock_server(namespace=self.module)
            self.stack.callback(self._mock.close)
        return self._mock

    @property
    def http(self):
        if self._http is None:
            self._http = self.serve()
        return self._http

    def serve(self, function=None):
        """Start the server at hand, of all functions or of one."""
        if self.is_nuclio:
            served = Deployed(self.file, self.fn, function)
        else:
            served = Served(self.file, *(["--function", function] if function else []))
        self.stack.callback(served.end)
        return served

    def fails(self, status, text, path="/", body=None, **options):
        """Expect a failure of `test`; a caller over HTTP gets the same status, and the text somewhere in it."""
        with pytest.raises(StepError) as caught:
            self.mock.test(path, body, **options)
        assert str(caught.value).startswith(f"failed ({status}): ")
        assert text in str(caught.value)
        assert isinstance(caught.value, RuntimeError)
        return caught.value

    def http_fails(self, status, text, path="/", body=None):
        got, answer = self.http.get(path) if body is None else self.http.post(body, path)
        assert (got, list(answer)) == (status, ["error"])
        assert text in answer["error"]


# --- flows ------------------------------------------------------------------------------------------------------


@row("sync-handler", SYNC + INC + "graph.to(handler='inc')")
def sync_handler(run):
    assert run.mock.test(body=5) == 6
    assert run.http.post(5) == (200, 6)


@row("no-body", SYNC + INC + "graph.to(handler='inc')")
def no_body(run):
    text = "TypeError: unsupported operand type(s) for +: 'NoneType' and 'int'"
    run.fails(500, text)
    run.http_fails(500, text)


@row("silent", SYNC + INC + "graph.to(handler='inc')")
def silent(run):
    answer = run.mock.test(silent=True)
    assert isinstance(answer, penstock.Response)
    assert (answer.status_code, answer.content_type, answer.headers) == (500, "text/plain", {})
    assert "TypeError: unsupported operand" in answer.body


@row("bad-json", SYNC + INC + "graph.to(handler='inc')")
def bad_json(run):
    text = "failed to json decode event, "
    run.fails(400, text, body="{x", content_type="application/json")
    status, _, answer = run.http.request("/", "{x", headers={"Content-Type": "application/json"})
    assert (status, text in answer["error"]) == (400, True)


@row("no-responder", FLOW + INC + "graph.to(handler='inc')")
def no_responder(run):
    for body in (5, "no number"):
        assert list(run.mock.test(body=body)) == ["id"]
        status, answer = run.http.post(body)
        assert (status, list(answer)) == (200, ["id"])


@row("error-then-ok", FLOW + INC + "graph.to(handler='inc').respond()")
def error_then_ok(run):
    run.fails(500, "TypeError", body={"a": 1})
    assert run.mock.test(body=6) == 7
    run.http_fails(500, "TypeError", body={"a": 1})
    assert run.http.post(6) == (200, 7)


@row(
    "event-headers",
    FLOW
    + """
def show(event):
    event.body = {"id": event.id, "path": event.path, "method": str(event.method), "key": event.key,
                  "trigger": event.trigger.kind}
    return event
graph.to(handler="show", full_event=True).respond()
""",
)
def event_headers(run):
    headers = {"MLRUN-EVENT-ID": "77", "MLRUN-EVENT-PATH": "/q"}
    seen = run.mock.test(body={"a": 1}, headers=headers)
    assert seen == {"id": "77", "path": "/q", "method": "POST", "key": "", "trigger": ""}
    assert run.mock.test("/p?x=1", body={"a": 1})["path"] == "/p?x=1"
    status, seen = run.http.post({"a": 1}, "/p?x=1", **headers)
    assert status == 200
    assert (seen["id"] != "77", seen["path"]) == (True, "/p?x=1")  # no header reroutes an event over HTTP


@row(
    "context",
    FLOW
    + """
fn.spec.parameters = {"p1": "x"}
fn.with_secrets("inline", {"s1": "hidden"})
class Told:
    def __init__(self, context, name):
        self.told = [name, context.current_function, context.project, context.is_mock, context.get_param("p1"),
                     context.get_param("none", 3), context.get_secret("s1")]
    def do(self, body):
        return self.told
graph.to("Told", "told").respond()
""",
)
def context(run):
    assert run.mock.test(body=1) == ["told", "*", "p", True, "x", 3, "hidden"]
    assert run.http.post(1) == (200, ["told", "*", "p", False, "x", 3, None if run.is_nuclio else "hidden"])


@row(
    "cycle",
    START
    + """
graph = fn.set_topology("flow", engine="async", allow_cyclic=True, max_iterations=5)
class Again:
    def do(self, body):
        body["n"] += 1
        return body
    def select_outlets(self, body):
        return ["done"] if body["n"] >= body["until"] else ["back"]
graph.to("Again", "count").to("(event)", name="back").cycle_to("count")
graph.add_step("(event)", name="done", after="count").respond()
""",
)
def cycle(run):
    assert run.mock.test(body={"n": 0, "until": 3}) == {"n": 3, "until": 3}
    run.fails(500, "Max iterations exceeded in step 'count' for event", body={"n": 0, "until": 100})
    assert run.mock.test(body={"n": 0, "until": 2}) == {"n": 2, "until": 2}
    assert run.http.post({"n": 0, "until": 3}) == (200, {"n": 3, "until": 3})
    run.http_fails(500, "Max iterations exceeded in step 'count'", body={"n": 0, "until": 100})


@row(
    "merge",
    FLOW
    + """
graph.to("(event + 3)", name="a")
graph.add_step("(event + 2)", name="b", after="")
graph.add_step("mlrun.serving.Merge", name="merge", after=["a", "b"]).respond()
""",
)
def merge(run):
    assert sorted(run.mock.test(body=10)) == [12, 13]
    status, answer = run.http.post(10)
    assert (status, sorted(answer)) == (200, [12, 13])


@row("queue-end-sync", SYNC + INC + "graph.to(handler='inc').to('>>', 'q', path='dummy://')")
def queue_end_sync(run):
    assert run.mock.test(body=5) is None
    assert run.mock.context.root["q"]._stream.event_list == [6]
    assert run.http.post(5) == (200, None)


@row("queue-end-async", FLOW + INC + "graph.to(handler='inc').to('>>', 'q', path='dummy://')")
def queue_end_async(run):
    assert list(run.mock.test(body=5)) == ["id"]
    run.mock.wait_for_completion()
    assert run.mock.context.root["q"]._stream.event_list == [6]
    status, answer = run.http.post(5)
    assert (status, list(answer)) == (200, ["id"])


CHILDREN = (
    FLOW
    + """
fn.add_child_function("enrich", "./", "mlrun/mlrun")
graph.to("(event + 3)", name="first").to(">>", "q", path="").to(
    "(event * 1 + 1)", name="second", function="enrich").respond()
"""
)


@row("child-functions", CHILDREN)
def child_functions(run):
    assert run.mock.test(body=7) == 11
    with run.fn.to_mock_server(current_function="") as root:
        assert list(root.test(body=7)) == ["id"]
    with run.fn.to_mock_server(current_function="enrich") as child:
        assert child.test(body=5) == 6
        assert child.test(body={"full_event_wrapper": True, "body": 7, "id": "x9"}) == 8
    assert run.http.post(7) == (200, 11)
    alone = run.serve("enrich")
    assert alone.post(5) == (200, 6)
    assert alone.post({"full_event_wrapper": True, "body": 7, "id": "x9"}) == (200, 8)


@row(
    "generator",
    FLOW
    + """
def chunks(body):
    for number in range(3):
        yield f"{body}{number}"
graph.to("chunks", name="chunks").respond()
""",
)
def generator(run):
    assert list(run.mock.test(body="x")) == ["x0", "x1", "x2"]
    assert run.http.exchange('"x"') == (200, "text/plain", b"x0x1x2")


@row("after-completion", FLOW + INC + "graph.to(handler='inc').respond()")
def after_completion(run):
    run.mock.wait_for_completion()
    with pytest.raises(GraphClosed) as caught:
        run.mock.test(body=1)
    assert caught.value.status_code == 503


@row("handler-response", FLOW + "graph.to('(event)', name='same').respond()")
def handler_response(run):
    answer = run.mock.test(body={"a": [1]}, get_body=False)
    assert (answer.status_code, answer.content_type, answer.body) == (200, "application/json", {"a": [1]})
    for body, kind, sent in (({"a": [1]}, "application/json", b'{"a":[1]}'), ("text", "text/plain", b"text")):
        assert run.http.exchange(json.dumps(body)) == (200, kind, sent)


@row(
    "to-dict",
    FLOW
    + MODEL
    + """
class Echo:
    def do(self, body): return body
graph.to("Echo", "a").to("*", "r").add_route("m1", class_name="Model", model_path=".")
graph.add_step("Echo", "z", after="r").respond()
""",
)
def to_dict(run):
    written = run.module.graph.to_dict()
    assert written["engine"] == "async"
    assert written["steps"]["a"] == {"kind": "task", "class_name": "Echo"}
    router = written["steps"]["r"]
    assert (router["kind"], router["name"], router["after"], list(router["routes"])) == ("router", "r", ["a"], ["m1"])
    assert written["steps"]["z"] == {"kind": "task", "class_name": "Echo", "responder": True, "after": ["r"]}
    golden = {  # as MLRun 1.12.1 writes it, with fields that nothing here uses
        "steps": {
            "a": {"kind": "task", "class_name": "Echo"},
            "r": {
                "kind": "router", "class_name": "", "name": "r", "after": ["a"], "endpoint_type": 2,
                "routes": {"m1": {"class_name": "Model", "class_args": {"model_path": "."}, "endpoint_type": 1}},
            },
            "z": {"class_name": "Echo", "responder": True, "after": ["r"]},
        },
        "engine": "async", "allow_cyclic": False, "model_endpoints_routes_names": ["m1"],
    }  # fmt: skip
    server = penstock.create_graph_server(graph=golden)
    run.stack.callback(server.close)
    server.init_states(None, run.module)
    server.init_object(run.module)
    assert server.test("/v2/models/m1/infer", body={"inputs": [1]})["outputs"] == [2]


# --- routers and models -----------------------------------------------------------------------------------------


@row("router-root", ROUTER)
def router_root(run):
    for path in ("/", "/v2/health"):
        assert run.mock.test(path, method="GET") == {"name": "ModelRouter", "version": "v2", "extensions": []}
    assert run.http.get("/") == (200, {"name": "ModelRouter", "version": "v2", "extensions": []})
    status, answer = run.http.get("/v2/health")
    assert (status, answer["version"], answer["extensions"]) == (200, "v2", [])


@row("model-list", ROUTER)
def model_list(run):
    assert run.mock.test("/v2/models/", method="GET") == {"models": ["m1", "m3:v1"]}
    assert run.http.get("/v2/models/") == (200, {"models": ["m1", "m3:v1"]})
    told = run.mock.test("/v2/models/m3/versions/v1", method="GET")
    assert (told["name"], told["inputs"], told["outputs"]) == ("m3", [], [])
    status, told = run.http.get("/v2/models/m3/versions/v1")
    assert (status, told["name"], told["inputs"], told["outputs"]) == (200, "m3", [], [])


@row("infer", ROUTER)
def infer(run):
    request = {"id": "abc", "inputs": [1, 2]}
    answer = run.mock.test("/v2/models/m1/infer", body=request)
    status, remote = run.http.post(request, "/v2/models/m1/infer")
    assert status == 200
    for reply in (answer, remote):
        assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}\+00:00", reply.pop("timestamp"))
        assert reply == {"id": "abc", "model_name": "m1", "outputs": [2, 4]}


@row("infer-by-default", ROUTER)
def infer_by_default(run):
    assert run.mock.test("/v2/models/m1", body={"inputs": [1, 2]})["outputs"] == [2, 4]
    status, answer = run.http.post({"inputs": [1, 2]}, "/v2/models/m1")
    assert (status, answer["outputs"]) == (200, [2, 4])


@row("model-in-body", ROUTER)
def model_in_body(run):
    versioned = {"model": "m3:v1", "inputs": [1]}
    explained = {"model": "m1", "operation": "explain", "inputs": [1]}
    for reply in (run.mock.test(body=versioned), run.http.post(versioned)[1]):
        assert (reply["model_name"], reply["outputs"]) == ("m3", [10])
    for reply in (run.mock.test(body=explained), run.http.post(explained)[1]):
        assert (reply["model_name"], reply["outputs"]) == ("m1", ["because"])
    for reply in (run.mock.test(body={"inputs": [1]}), run.http.post({"inputs": [1]})[1]):
        assert (reply["model_name"], reply["outputs"]) == ("m1", [2])


@row("custom-operation", ROUTER)
def custom_operation(run):
    assert run.mock.test("/v2/models/m1/xx", body={"inputs": [1]}) == {"custom": [1]}
    assert run.http.post({"inputs": [1]}, "/v2/models/m1/xx") == (200, {"custom": [1]})


@row("illegal-operation", ROUTER)
def illegal_operation(run):
    text = "ValueError: illegal model operation zz, method=POST"
    run.fails(400, text, "/v2/models/m1/zz", {"inputs": [1]})
    run.http_fails(400, text, "/v2/models/m1/zz", {"inputs": [1]})


@row("unrecognized-format", ROUTER)
def unrecognized_format(run):
    run.fails(400, "Unrecognized request format", "/v2/models/m1/infer", "zzz")
    for kind, text in (
        ("application/json", "failed to json decode" if run.is_nuclio else "invalid JSON"),
        ("text/plain", "Unrecognized request format"),
    ):
        status, _, answer = run.http.request("/v2/models/m1/infer", "zzz", headers={"Content-Type": kind})
        assert (status, text in answer["error"]) == (400, True)


@row("unknown-model", ROUTER)
def unknown_model(run):
    text = "model m9 doesnt exist, available models: m1 | m3:v1"
    run.fails(404, text, "/v2/models/m9/infer", {"inputs": [1]})
    run.http_fails(404, text, "/v2/models/m9/infer", {"inputs": [1]})


ENSEMBLE = (
    START
    + MODEL
    + """
fn.set_topology("router", "mlrun.serving.VotingEnsemble", name="VotingEnsemble", vote_type=VOTE)
fn.add_model("a", class_name="Model", model_path=".")
fn.add_model("b", class_name="Model", model_path=".")
"""
)


@row("ensemble-regression", ENSEMBLE.replace("VOTE", "'regression'"))
def ensemble_regression(run):
    for reply in (
        run.mock.test("/v2/models/infer", body={"inputs": [1, 2]}),
        run.http.post({"inputs": [1, 2]}, "/v2/models/infer")[1],
    ):
        assert (reply["model_name"], reply["outputs"]) == ("VotingEnsemble", [2.0, 4.0])
        assert all(isinstance(output, float) for output in reply["outputs"])


@row("ensemble-classification", ENSEMBLE.replace("VOTE", "'classification'"))
def ensemble_classification(run):
    for reply in (
        run.mock.test("/v2/models/infer", body={"inputs": [1, 2, 3]}),
        run.http.post({"inputs": [1, 2, 3]}, "/v2/models/infer")[1],
    ):
        assert reply["outputs"] == [2, 4, 6]


@row("ensemble-list", ENSEMBLE.replace("VOTE", "None"))
def ensemble_list(run):
    listed = run.mock.test("/v2/models/", method="GET")
    assert listed == {"models": ["a", "b", "VotingEnsemble"], "weights": None}
    status, answer = run.http.get("/v2/models/")
    assert (status, answer["models"]) == (200, ["a", "b", "VotingEnsemble"])


@row(
    "load-async",
    START
    + MODEL
    + """
import threading
gate = threading.Event()
class Slow(Model):
    def load(self):
        gate.wait(30)
        super().load()
fn.spec.load_mode = "async"
fn.set_topology("router")
fn.add_model("m1", class_name="Slow", model_path=".")
""",
)
def load_async(run):
    try:
        run.fails(503, "model m1 is not ready yet", "/v2/models/m1/infer", {"inputs": [1]})
        ready = run.mock.test("/v2/models/m1/ready", method="GET", silent=True)
        assert ready.status_code == 503
        run.http_fails(503, "model m1 is not ready yet", "/v2/models/m1/infer", {"inputs": [1]})
        assert run.http.get("/v2/models/m1/ready")[0] == 503
    finally:
        run.module.gate.set()


@row(
    "parallel-run",
    START
    + """
class Good:
    def do(self, body): return {"a": 1}
class Bad:
    def do(self, body): return body["missing"]
fn.set_topology("router", "mlrun.serving.ParallelRun")
fn.spec.graph.add_route("good", class_name="Good")
fn.spec.graph.add_route("bad", class_name="Bad")
""",
)
def parallel_run(run):
    run.fails(500, "KeyError: 'missing'", body={"x": 1})
    run.http_fails(500, "KeyError: 'missing'", body={"x": 1})


RUNNER = (
    FLOW
    + """
from penstock.serving import Model, ModelRunnerStep
class Count(Model):
    def predict(self, body, **kwargs):
        return {"n": body["n"] + 1}
step = ModelRunnerStep(name="runner")
for number in range(MODELS):
    step.add_model(f"m{number}", model_class="Count", execution_mechanism="naive")
graph.to(step).respond()
"""
)


@row("model-runner-1", RUNNER.replace("MODELS", "1"))
def model_runner_1(run):
    assert run.mock.test(body={"n": 1}) == {"n": 2}
    assert run.http.post({"n": 1}) == (200, {"n": 2})


@row("model-runner-2", RUNNER.replace("MODELS", "2"))
def model_runner_2(run):
    assert run.mock.test(body={"n": 1}) == {"m0": {"n": 2}, "m1": {"n": 2}}
    assert run.http.post({"n": 1}) == (200, {"m0": {"n": 2}, "m1": {"n": 2}})


# --- remote steps -----------------------------------------------------------------------------------------------


class Target(http.server.BaseHTTPRequestHandler):
    """Answers with the status in its path, and counts."""

    calls = 0

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        type(self).calls += 1
        self.send_response(int(self.path.strip("/")))
        self.send_header("Content-Length", "4")
        self.end_headers()
        self.wfile.write(b'"no"')

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def target():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Target)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


REMOTE = "graph.to('$remote', 'r', url='TARGET/STATUS', retries=1, backoff_factor=0.001)"


@row("remote-404-sync", SYNC + REMOTE.replace("STATUS", "404"))
def remote_404_sync(run):
    run.fails(502, "bad http response 404", body={"a": 1})
    run.http_fails(502, "bad http response 404", body={"a": 1})


@row("remote-404-async", FLOW + REMOTE.replace("STATUS", "404") + ".respond()")
def remote_404_async(run):
    run.fails(502, "bad http response 404", body={"a": 1})
    run.http_fails(502, "bad http response 404", body={"a": 1})


@row("remote-500", FLOW + REMOTE.replace("STATUS", "500") + ".respond()")
def remote_500(run):
    before = Target.calls
    run.fails(502, "bad http response 500", body={"a": 1})
    assert Target.calls == before + 2
    run.http_fails(502, "bad http response 500", body={"a": 1})
    assert Target.calls == before + 4


# --- the table --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("server", ["http", "nuclio"])
@pytest.mark.parametrize("name", ROWS)
def test_row(name, server, tmp_path, target):
    graph, test = ROWS[name]
    sys.modules.pop("golden", None)
    with contextlib.ExitStack() as stack:
        test(Run(graph.replace("TARGET", target), tmp_path, stack, server))


def test_every_row_of_the_table_has_a_test_and_every_test_a_row():
    lines = TABLE.read_text(encoding="utf-8").splitlines()
    named = [line.split("|")[1].strip(" `") for line in lines if line.startswith("| `")]
    assert named == list(dict.fromkeys(named))
    assert sorted(named) == sorted(ROWS)


def test_every_row_says_what_each_server_does():
    rows = [line for line in TABLE.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    for line in rows:
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        assert len(cells) == 6, line
        assert all(cells), line
