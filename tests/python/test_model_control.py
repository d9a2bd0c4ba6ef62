"""Models that are loaded, replaced and unloaded while they serve."""

import contextlib
import json
import pathlib
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from served import JSON, Served

HERE = pathlib.Path(__file__).parent
TOKEN = {"Authorization": "Bearer s3cret"}
INFER = "/v2/models/m/infer"


class Controlled(Served):
    """A server with its folder of models, and a token."""

    def __init__(self, folder, name, *options, control=True):
        self.folder = folder
        (folder / "models").mkdir(exist_ok=True)
        for file, factor in (("a.txt", 2), ("b.txt", 3), ("c.txt", 5)):
            self.write(file, factor)
        given = ["--token", "s3cret", "--model-control"] if control else ["--token", "s3cret"]
        super().__init__(f"{HERE / 'controlled.py'}:{name}", *given, *options, CONTROLLED=str(folder))

    def write(self, file, text):
        (self.folder / "models" / file).write_text(str(text))

    def request(self, path="/", body=None, *, method=None, headers=None):
        return super().request(path, body, method=method, headers=TOKEN | (headers or {}))

    def change(self, operation, model="m", body=None):
        status, _, answer = self.request(
            f"/v2/repository/models/{model}/{operation}", json.dumps(body or {}), headers=JSON
        )
        return status, answer

    def rows(self, rows=((1,),), path=INFER):
        status, answer = self.post({"inputs": [list(row) for row in rows]}, path)
        return answer["outputs"] if status == 200 else status

    def tensors(self, values=(1.0,), path=INFER):
        tensor = {"name": "x", "shape": [1, len(values)], "datatype": "FP32", "data": list(values)}
        status, answer = self.post({"inputs": [tensor]}, path)
        return answer["outputs"][0]["data"] if status == 200 else status

    def state(self, model="m"):
        listed = self.request("/v2/repository/index", "{}", headers=JSON)[2]
        return {entry["state"] for entry in listed if entry["name"] == model}

    def released(self):
        file = self.folder / "released"
        return file.read_text().splitlines() if file.exists() else []


@pytest.fixture
def serve(tmp_path):
    started = []

    def start(name, *options, **more):
        started.append(Controlled(tmp_path, name, *options, **more))
        return started[-1]

    yield start
    for server in started:
        (server.folder / "go").touch()
        server.end()


def wait_for(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


@pytest.mark.parametrize("name", ["router", "batched", "later", "flow", "step"])
def test_a_model_is_loaded_anew_unloaded_and_loaded_again(serve, name):
    server = serve(name)
    path = "/v2/models/m/infer"
    ask = (lambda: server.post({"inputs": [[1]]}, "/infer")) if name == "step" else None
    rows = (lambda: ask()[1]["outputs"] if ask()[0] == 200 else ask()[0]) if ask else (lambda: server.rows(path=path))
    assert rows() == [[2]]
    server.write("a.txt", 7)
    assert rows() == [[2]]
    assert server.change("load") == (200, {"name": "m", "load": True})
    assert rows() == [[7]]
    wait_for(lambda: server.released() == ["m 2 penstock-release"])
    assert server.change("unload") == (200, {"name": "m", "unload": True})
    assert rows() == 503
    assert server.state() == {"UNAVAILABLE"}
    assert server.get("/v2/models/m/ready")[0] == 503
    assert server.released()[1:] == ["m 7 penstock-release"]
    assert server.change("unload")[0] == 200  # it is
    assert server.change("load")[0] == 200
    assert rows() == [[7]]
    assert server.state() == {"READY"}


def test_tensors_reach_the_model_that_is_there(serve):
    server = serve("router")
    assert [server.tensors() for _ in range(3)] == [[2.0]] * 3  # the first teaches, then they pass Python by
    server.write("a.txt", 7)
    server.change("load")
    assert [server.tensors() for _ in range(3)] == [[7.0]] * 3


@pytest.mark.parametrize("name", ["voting", "voting_in_line"])
def test_a_model_of_an_ensemble_is_replaced(serve, name):
    server = serve(name)
    path = "/v2/models/infer"
    assert server.rows(path=path) == [[2.5]]
    server.write("a.txt", 7)
    assert server.change("load")[0] == 200
    assert server.rows(path=path) == [[5]]
    assert server.change("unload", "other")[0] == 200
    assert server.rows(path=path) == 503
    assert server.rows() == [[7]]
    assert server.change("load", "other")[0] == 200
    assert server.rows(path=path) == [[5]]


@pytest.mark.parametrize("name", ["router", "batched", "later"])
def test_calls_under_way_end_on_the_model_that_they_began_with(serve, name):
    server = serve(name)
    with ThreadPoolExecutor(2) as pool:
        slow = pool.submit(server.rows, [[-1]])
        wait_for((server.folder / "entered").exists)
        server.write("a.txt", 7)
        assert server.change("load")[0] == 200
        if name == "later":  # another call may begin meanwhile
            assert server.rows() == [[7]]
        assert server.released() == []
        (server.folder / "go").touch()
        assert slow.result(20) == [[-2]]
    wait_for(lambda: server.released() == ["m 2 penstock-release"])
    assert server.rows() == [[7]]


def test_an_unload_waits_for_calls_under_way(serve):
    server = serve("later")
    with ThreadPoolExecutor(2) as pool:
        slow = pool.submit(server.rows, [[-1]])
        wait_for((server.folder / "entered").exists)
        unloading = pool.submit(server.change, "unload")
        wait_for(lambda: server.state() == {"UNLOADING"})
        assert server.rows() == 503
        assert not unloading.done()
        (server.folder / "go").touch()
        assert slow.result(20) == [[-2]]
        assert unloading.result(20)[0] == 200
    assert server.released() == ["m 2 penstock-release"]
    assert server.state() == {"UNAVAILABLE"}


def test_an_answer_in_pieces_ends_on_the_model_that_it_began_with(serve):
    server = serve("pieces")
    with ThreadPoolExecutor(1) as pool:
        path = "/v2/models/m/generate_stream"
        slow = pool.submit(server.request, path, json.dumps({"text_input": "x"}), headers=JSON)
        wait_for((server.folder / "entered").exists)
        server.write("a.txt", 7)
        assert server.change("load")[0] == 200
        assert server.released() == []
        (server.folder / "go").touch()
        assert slow.result(20)[2].decode().count('"text_output":"2') == 2
    wait_for(lambda: server.released() == ["m 2 penstock-release"])


def test_a_load_that_fails_leaves_the_model_serving_and_says_why(serve):
    server = serve("router")
    server.write("a.txt", "seven")
    status, answer = server.change("load")
    assert status == 500
    assert "could not convert string to float: 'seven'" in answer["error"]
    assert server.rows() == [[2]]
    listed = server.request("/v2/repository/index", "{}", headers=JSON)[2]
    entry = next(entry for entry in listed if entry["name"] == "m")
    assert entry["state"] == "READY"
    assert "seven" in entry["reason"]
    server.write("a.txt", 7)
    assert server.change("load")[0] == 200
    assert server.rows() == [[7]]


def test_no_request_fails_while_a_model_is_replaced(serve):
    server = serve("router")
    done = threading.Event()
    found = []

    def ask():
        while not done.is_set():
            found.append((server.rows(), server.tensors()))

    with ThreadPoolExecutor(4) as pool:
        asking = [pool.submit(ask) for _ in range(4)]
        for factor in range(3, 23):
            server.write("a.txt", factor)
            assert server.change("load")[0] == 200
        done.set()
        for one in asking:
            one.result(20)
    assert {rows[0][0] for rows, _ in found} <= set(range(2, 23))
    assert {values[0] for _, values in found} <= set(range(2, 23))
    assert server.rows() == [[22]]
    wait_for(lambda: len(server.released()) == 20)


def config(**fields):
    return {"parameters": {"config": json.dumps(fields)}}


def test_a_load_may_give_arguments_that_the_graph_gives(serve):
    server = serve("router")
    path = str(server.folder / "models" / "c.txt")
    assert server.change("load", body=config(model_path=path, class_args={"scale": 10}))[0] == 200
    assert server.rows() == [[50]]
    assert server.change("load")[0] == 200  # as the graph says
    assert server.rows() == [[2]]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (config(model_path="/etc/passwd"), "/etc/passwd lies outside of the model_path"),
        (config(model_path="{models}/../secret.txt"), "lies outside"),
        (config(model_path="s3://bucket/model"), "lies outside"),
        (config(model_path="file:///etc/passwd"), "lies outside"),
        (config(class_args={"scale": "../../etc/passwd"}), "lies outside"),
        (config(class_args={"handler": "os.system"}), "the graph gives it no argument 'handler', it gives"),
        (config(class_args={"class_name": "os.system"}), "no argument 'class_name'"),
        (config(class_args={"_fn": "(1)"}), "no argument '_fn'"),
        (config(class_args=[1]), "class_args of a config is an object"),
        (config(backend="python"), "a config has no 'backend'"),
        ({"parameters": {"config": "{"}}, "config is no JSON"),
        ({"parameters": {"config": "[]"}}, "config is an object"),
        ({"parameters": {"file:1/model.py": "eA=="}}, "files of a model are not taken from a request"),
        ({"parameters": {"force": True}}, "a load has no parameter 'force'"),
        ({"parameters": []}, "parameters is an object"),
    ],
)
def test_what_a_request_may_not_choose_is_refused(serve_once, body, said):
    server = serve_once
    body = json.loads(json.dumps(body).replace("{models}", str(server.folder / "models")))
    status, answer = server.change("load", body=body)
    assert status == 400
    assert said in answer["error"]
    assert server.rows() == [[2]]


@pytest.fixture(scope="module")
def serve_once(tmp_path_factory):
    server = Controlled(tmp_path_factory.mktemp("controlled"), "router")
    yield server
    server.end()


def test_an_unknown_model_is_404_and_one_that_is_an_object_501(serve_once):
    assert serve_once.change("load", "none")[0] == 404
    assert "m | other | given" in serve_once.change("load", "none")[1]["error"]
    status, answer = serve_once.change("unload", "given")
    assert status == 501
    assert "an object that the graph was given" in answer["error"]
    assert serve_once.request("/v2/repository/models/m/load")[0] == 405


def test_without_a_token_it_is_not_offered_and_without_the_option_501(serve):
    server = serve("router")
    assert Served.request(server, "/v2/repository/models/m/load", "{}")[0] == 401
    other = serve("router", control=False)
    status, answer = other.change("load")
    assert status == 501
    assert "--model-control" in answer["error"]


def test_it_refuses_to_start_without_a_token():
    command = [sys.executable, "-m", "penstock", "serve", str(HERE / "controlled.py"), "--model-control"]
    said = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert said.returncode == 2
    assert "model_control needs a token" in said.stderr


def test_all_processes_do_what_one_is_asked_also_those_that_come_later(serve):
    server = serve("router", "--workers", "2")

    def answers():
        return {str(server.rows()) for _ in range(24)}  # each on a connection of its own: the kernel spreads them

    server.write("a.txt", 7)
    assert server.change("load")[0] == 200
    assert answers() == {"[[7.0]]"}
    assert server.change("unload")[0] == 200
    assert answers() == {"503"}
    text = server.request("/metrics")[2].decode()
    assert 'penstock_model_ready{model="m"} 0.0' in text
    children = subprocess.run(
        ["pgrep", "-P", str(server.process.pid)], capture_output=True, text=True, check=True
    ).stdout.split()
    subprocess.run(["kill", "-9", children[0]], check=True)

    def is_replaced():
        with contextlib.suppress(OSError):  # a connection that the one that died had accepted
            text = server.request("/metrics")[2].decode()
            return "penstock_worker_restarts_total 1.0" in text and "penstock_workers 2.0" in text
        return False

    wait_for(is_replaced)
    assert answers() == {"503"}
    path = str(server.folder / "models" / "c.txt")
    assert server.change("load", body=config(model_path=path))[0] == 200
    assert answers() == {"[[5.0]]"}


def test_a_process_that_cannot_load_says_so(serve):
    server = serve("router", "--workers", "2")
    server.write("a.txt", "x")
    status, answer = server.change("load")
    assert (status, server.rows()) == (500, [[2]])
    assert "could not convert" in answer["error"]


# --- versions ----------------------------------------------------------------------------------------------------


def test_versions_are_listed_and_asked_for(serve):
    server = serve("versions")
    assert server.get("/v2/models/m")[1]["versions"] == ["1", "2", "10"]
    assert server.get("/v2/models/m/versions/2/ready") == (200, {"name": "m", "ready": True})
    assert server.rows(path="/v2/models/m/versions/2/infer") == [[3]]
    assert server.rows() == [[5]]  # the newest
    assert server.tensors() == [5.0]
    assert server.get("/v2/models/m/versions/7/ready") == (
        404,
        {"error": "model m has no version 7, available versions: 1 | 2 | 10"},
    )
    status, answer = server.post({"inputs": [[1]]}, "/v2/models/m/versions/7/infer")
    assert (status, "available versions: 1 | 2 | 10" in answer["error"]) == (404, True)
    assert [entry["version"] for entry in server.get("/v2/models/m/stats")[1]["model_stats"]] == ["1", "2", "10"]
    assert len(server.get("/v2/models/m/versions/2/stats")[1]["model_stats"]) == 1


def test_the_newest_version_that_is_ready_answers(serve):
    server = serve("versions")
    assert server.change("unload", "m:10")[0] == 200
    assert server.rows() == [[3]]
    assert server.tensors() == [3.0]
    assert server.get("/v2/models/m/ready")[0] == 200
    assert server.get("/v2/models/m/versions/10/ready")[0] == 503
    assert server.rows(path="/v2/models/m/versions/10/infer") == 503
    assert server.change("load", "m", config(class_args={"scale": 2}))[0] == 400
    assert server.change("unload", "m")[0] == 200
    assert server.rows() == 503
    assert server.state() == {"UNAVAILABLE"}
    assert server.change("load", "m:10", config(class_args={"scale": 2}))[0] == 200
    assert server.rows() == [[10]]


def test_a_policy_leaves_versions_out_that_are_not_even_loaded(serve):
    server = serve("latest")  # the file of version 1 is not there
    assert server.get("/v2/models/m")[1]["versions"] == ["2", "10"]
    assert server.rows() == [[5]]
    assert server.get("/v2/models/m/versions/1/ready")[0] == 404
    assert server.get("/v2/models/m/config")[1]["version_policy"] == {"specific": {"versions": ["2", "10"]}}
    listed = server.request("/v2/repository/index", "{}", headers=JSON)[2]
    assert {(entry["version"], entry["state"]) for entry in listed} == {
        ("1", "UNAVAILABLE"),
        ("2", "READY"),
        ("10", "READY"),
    }


# --- gRPC --------------------------------------------------------------------------------------------------------


def test_a_client_over_grpc_loads_and_unloads(serve):
    server = serve("versions", "--grpc-port", "0")
    server.write("c.txt", 7)
    command = [sys.executable, str(HERE / "control_clients.py"), str(server.grpc_port)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["version 2"] == [3.0]
    assert "NOT_FOUND" in found["version 7"]
    assert "available versions: 1 | 2 | 10" in found["version 7"]
    assert "INVALID_ARGUMENT" in found["file"]
    assert "not taken from a request" in found["file"]
    assert found["unloaded"] == [False, [3.0], {"1": "READY", "2": "READY", "10": "UNAVAILABLE"}]
    assert found["loaded"] == [True, [7.0], {"1": "READY", "2": "READY", "10": "READY"}]
