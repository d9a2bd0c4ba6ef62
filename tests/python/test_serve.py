"""A graph behind HTTP, in a process of its own: answers, statuses, signals, exit codes."""

import json
import re
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from served import JSON, Served

GRAPHS = """
import asyncio
import pathlib
import time
import penstock
from penstock import errors

def function(called, handler, **arguments):
    made = penstock.new_function(called)
    made.set_topology("flow").to(handler, **arguments).respond()
    return made

def double(body):
    return {"x": 2 * body["x"]}

doubles = function("doubles", double)

def choose(body):
    if body == "forbidden":
        raise errors.MLRunAccessDeniedError("not for you")
    if body == "made":
        return penstock.Response(body={"made": True}, status_code=201, headers={"X-Made": "yes"})
    if body == "nothing":
        return penstock.Response(status_code=1000)
    return {"a set": {1}, "an object": object(), "text": "plain", "bytes": b"\\x00\\x01", "none": None}[body]

chooses = function("chooses", choose)

filters = penstock.new_function("filters")
filters.set_topology("flow").to("storey.Filter", name="filter", _fn="(event > 1)").to("(event)", name="all").respond()

taken = []
takes = penstock.new_function("takes")
takes.set_topology("flow").to(taken.append, name="take")

def tell(event):
    event.body = {"path": event.path, "method": event.method}
    return event

tells = function("tells", tell, full_event=True)

async def rest(body):
    await asyncio.sleep(0.2)
    return body

rests = function("rests", rest)

def nap(body):
    time.sleep(body)

naps = penstock.new_function("naps")
naps.set_topology("flow").to(nap).timeout(0.05).respond()

def hang(body):
    pathlib.Path(body["entered"]).touch()
    while not pathlib.Path(body["until"]).exists():
        time.sleep(0.01)
    return "done"

hangs = function("hangs", hang)

class Sums(penstock.serving.V2ModelServer):
    def load(self): pass
    def predict(self, body):
        rows = body["inputs"]
        return rows.sum(axis=1) if hasattr(rows, "sum") else [sum(row) for row in rows]

models = penstock.new_function("models")
models.add_model("m1", class_name="Sums")
models.add_model("m2", class_name="Sums")

broken = penstock.new_function("broken")
broken.add_model("m1", class_name="Sims")
"""


@pytest.fixture(scope="module")
def graphs(tmp_path_factory):
    path = tmp_path_factory.mktemp("served") / "graphs.py"
    path.write_text(textwrap.dedent(GRAPHS))
    return path


@pytest.fixture(scope="module")
def shared(graphs):
    """The server of a function, one for all tests that leave it as it is."""
    started = {}

    def get(name):
        if name not in started:
            started[name] = Served(f"{graphs}:{name}")
        return started[name]

    yield get
    for server in started.values():
        server.end()


@pytest.fixture
def serve(graphs):
    """A server for one test, that may stop it."""
    started = []

    def start(name, *options):
        started.append(Served(f"{graphs}:{name}", *options))
        return started[-1]

    yield start
    for server in started:
        server.end()


@pytest.fixture
def hanging(serve, tmp_path):
    """A server whose handler is at work; make the file `until` to let it finish."""
    server = serve("hangs")
    entered, until = tmp_path / "entered", tmp_path / "until"
    pool = ThreadPoolExecutor(1)
    answer = pool.submit(server.post, {"entered": str(entered), "until": str(until)})
    wait_for(entered.exists)
    yield server, until, answer
    server.end()
    pool.shutdown()


def wait_for(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def penstock(*arguments):
    command = [sys.executable, "-m", "penstock", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


# --- answers -----------------------------------------------------------------------------------------------------


def test_it_says_where_it_answers_and_answers_there(shared):
    assert shared("doubles").name == "doubles"
    assert shared("doubles").post({"x": 21}) == (200, {"x": 42})


@pytest.mark.parametrize("headers", [{}, {"Content-Type": "application/x-www-form-urlencoded"}])
def test_json_is_read_without_its_content_type_as_curl_sends_it(shared, headers):
    assert shared("doubles").request("/", {"x": 1}, headers=headers)[2] == {"x": 2}


def test_a_body_that_is_not_json_is_400_and_says_where(shared):
    status, _, answer = shared("doubles").request("/", '{"x": 1', headers=JSON)
    assert status == 400
    assert re.search("failed to json decode event, .* line 1 column 8", answer["error"])


def test_an_exception_names_the_step_and_the_next_event_is_fine(shared):
    server = shared("doubles")
    assert server.post({"y": 1}) == (500, {"error": "step 'double': KeyError: 'x'"})
    assert server.post({"x": 1}) == (200, {"x": 2})
    assert server.process.poll() is None


def test_a_filtered_event_is_204_without_a_body(shared):
    server = shared("filters")
    assert server.post(2) == (200, 2)
    assert server.post(1) == (204, b"")


def test_a_graph_without_responder_answers_the_events_id(shared):
    status, answer = shared("takes").post({"x": 1})
    assert status == 200
    assert list(answer) == ["id"]


def test_a_handler_sees_path_and_method(shared):
    server = shared("tells")
    assert server.post(1, "/any/where") == (200, {"path": "/any/where", "method": "POST"})
    assert server.request("/some", method="DELETE")[2] == {"path": "/some", "method": "DELETE"}


def test_no_header_reroutes_an_event(shared):
    assert shared("tells").post(1, "/here", **{"MLRUN-EVENT-PATH": "/there"})[1]["path"] == "/here"


@pytest.mark.parametrize(
    ("body", "content_type", "content"),
    [
        ("text", "text/plain", b"plain"),
        ("bytes", "application/octet-stream", b"\x00\x01"),
        ("none", "application/json", None),
        ("a set", "application/json", [1]),
    ],
)
def test_what_a_handler_returns_decides_the_content_type(shared, body, content_type, content):
    status, headers, answer = shared("chooses").request("/", json.dumps(body), headers=JSON)
    assert (status, headers["Content-Type"], answer) == (200, content_type, content)


def test_a_step_chooses_status_and_headers(shared):
    server = shared("chooses")
    status, answer = server.post("forbidden")
    assert (status, list(answer)) == (403, ["error"])
    assert "not for you" in answer["error"]
    status, headers, answer = server.request("/", '"made"', headers=JSON)
    assert (status, headers["X-Made"], answer) == (201, "yes", {"made": True})


@pytest.mark.parametrize(
    ("body", "said"), [("an object", "object has no JSON form"), ("nothing", "status of 200 to 599, not 1000")]
)
def test_an_answer_that_cannot_be_sent_is_the_servers_fault(shared, body, said):
    status, answer = shared("chooses").post(body)
    assert status == 500
    assert answer["error"].startswith("the answer cannot be sent: ")
    assert said in answer["error"]


def test_five_requests_to_a_resting_async_handler_take_as_long_as_one(shared):
    server = shared("rests")
    assert server.post("first") == (200, b"first")
    ready = threading.Barrier(6)

    def ask(number):
        connection = server.connect()
        connection.connect()
        ready.wait(10)
        connection.request("POST", "/", str(number), JSON)
        answer = json.loads(connection.getresponse().read())
        connection.close()
        return answer

    with ThreadPoolExecutor(5) as pool:
        answers = [pool.submit(ask, number) for number in range(5)]
        ready.wait(10)
        start = time.perf_counter()
        assert [answer.result(10) for answer in answers] == [0, 1, 2, 3, 4]
        assert time.perf_counter() - start < 0.3


# --- models ------------------------------------------------------------------------------------------------------


def test_rows_are_answered_with_rows_and_tensors_with_tensors(shared):
    server = shared("models")
    status, answer = server.post({"inputs": [[1, 2], [3, 4]]}, "/v2/models/m2/infer")
    assert (status, answer["model_name"], answer["outputs"]) == (200, "m2", [3, 7])
    tensor = {"name": "x", "shape": [2, 2], "datatype": "FP32", "data": [1, 2, 3, 4]}
    status, answer = server.post({"id": "7", "inputs": [tensor]}, "/v2/models/m1/infer")
    assert (status, answer["id"], answer["model_name"]) == (200, "7", "m1")
    assert answer["outputs"] == [{"name": "output0", "shape": [2], "datatype": "FP32", "data": [3.0, 7.0]}]


def test_an_unknown_model_is_404_with_the_known_ones(shared):
    status, answer = shared("models").post({"inputs": [[1]]}, "/v2/models/m9/infer")
    assert status == 404
    assert "model m9 doesnt exist, available models: m1 | m2" in answer["error"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, 'Expected key "inputs"'),
        ({"inputs": 1}, 'Expected "inputs" to be a list'),
        ({"inputs": [{"name": "x", "shape": [2, 2], "datatype": "FP32", "data": [1]}]}, "x"),
    ],
)
def test_a_request_that_a_model_cannot_take_is_400(shared, body, said):
    status, answer = shared("models").post(body, "/v2/models/m1/infer")
    assert status == 400
    assert said in answer["error"]


def test_the_server_tells_what_it_serves_and_that_it_is_ready(shared):
    server = shared("models")
    assert server.get("/v2/health/live")[0] == 200
    assert server.get("/v2/health/ready")[0] == 200
    assert server.get("/v2/models/m1/ready")[0] == 200
    assert server.get("/v2/models/m9")[0] == 404
    status, answer = server.get("/v2/models/m1")
    assert (status, answer["name"]) == (200, "m1")


# --- deadlines ---------------------------------------------------------------------------------------------------


def test_a_step_that_takes_longer_than_its_timeout_is_504(shared):
    server = shared("naps")
    status, answer = server.post(0.4)
    assert status == 504
    assert "'nap'" in answer["error"]
    assert server.post(0)[0] == 200


def test_a_callers_deadline_is_a_header(shared):
    server = shared("rests")
    start = time.perf_counter()
    assert server.post(1, **{"X-Penstock-Timeout-Ms": "50"})[0] == 504
    assert time.perf_counter() - start < 0.19
    assert server.post(1, **{"X-Penstock-Timeout-Ms": "soon"})[0] == 400


# --- the end of it -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_and_exits_0(serve, number):
    server = serve("doubles")
    assert server.post({"x": 1}) == (200, {"x": 2})
    assert server.stop(number) == (0, "penstock: draining\n")


def test_a_drain_answers_what_is_under_way(hanging):
    server, until, answer = hanging
    server.process.send_signal(signal.SIGTERM)
    assert server.process.stderr.readline() == "penstock: draining\n"
    until.touch()
    assert answer.result(20) == (200, b"done")
    assert server.process.wait(20) == 0


@pytest.mark.parametrize("sent", [b"POST / HT", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab"])
def test_a_drain_does_not_wait_for_half_a_request(serve, sent):
    server = serve("doubles")
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as client:
        client.sendall(sent)
        assert server.post({"x": 1}) == (200, {"x": 2})
        start = time.monotonic()
        assert server.stop() == (0, "penstock: draining\n")
        assert time.monotonic() - start < 10
        assert b"HTTP/1.1 503 " in client.recv(1000)


def test_a_second_signal_ends_it_within_a_second_with_75(hanging):
    server, _, answer = hanging
    server.process.send_signal(signal.SIGTERM)
    assert server.process.stderr.readline() == "penstock: draining\n"
    start = time.monotonic()
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(20) == 75
    assert time.monotonic() - start < 1
    with pytest.raises(OSError, match=".*"):
        answer.result(20)
    assert server.process.stderr.read() == "penstock: stopped with work unsettled\n"


def test_a_signal_that_comes_twice_is_no_hurry_if_nothing_is_left_to_do(serve):
    server = serve("doubles")
    for _ in range(2):
        server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(20) == 0


def test_a_host_that_is_none_is_one_line_and_exit_1(graphs):
    done = penstock("serve", f"{graphs}:doubles", "--port", 0, "--host", "300.1.1.1")
    assert done.returncode == 1
    assert re.fullmatch(r"error: cannot listen on 300\.1\.1\.1:0: [^:]*\n", done.stderr)


def test_a_port_in_use_is_one_line_and_exit_1(graphs):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = penstock("serve", f"{graphs}:doubles", "--port", port)
    assert done.returncode == 1
    assert done.stderr == (f"error: cannot listen on 127.0.0.1:{port}: Address already in use; choose another port\n")


def test_a_graph_that_is_wrong_is_one_line_and_exit_1(graphs):
    done = penstock("serve", f"{graphs}:broken", "--port", 0)
    assert done.returncode == 1
    assert done.stderr == "error: step 'm1': there is no class 'Sims'; did you mean 'Sums'?\n"


EXITS = {
    "quick": "server.test(body=1)",
    "events that nobody waits for": "for number in range(100): server.test(body=number)",
    "nothing at all": "",
}


@pytest.mark.parametrize("events", EXITS.values(), ids=EXITS)
@pytest.mark.parametrize("handler", ["def step(body): return body", "async def step(body): return body"])
@pytest.mark.parametrize("end", [".respond()", ""])
def test_an_interpreter_may_exit_without_waiting(run_python, handler, end, events):
    program = [
        "import penstock",
        handler,
        'fn = penstock.new_function("f")',
        f'fn.set_topology("flow").to(step){end}',
        "server = fn.to_mock_server()",
        events,
    ]
    start = time.monotonic()
    assert run_python("\n".join(program)).stderr == ""
    assert time.monotonic() - start < 5


@pytest.mark.parametrize(
    ("handler", "said"),
    [
        ("def step(body): time.sleep(0.3)", ""),
        (
            "async def step(body): await asyncio.sleep(30)",
            r"step 'step' failed on event \w{32}: its coroutine was cancelled\n",
        ),
    ],
    ids=["sync", "async"],
)
def test_an_interpreter_may_exit_while_a_handler_sleeps(run_python, handler, said):
    program = [
        "import asyncio, time, penstock",
        handler,
        'fn = penstock.new_function("f")',
        'fn.set_topology("flow").to(step)',
        "server = fn.to_mock_server()",
        "server.test(body=1)",
    ]
    start = time.monotonic()
    assert re.fullmatch(said, run_python("\n".join(program)).stderr)
    assert time.monotonic() - start < 6
