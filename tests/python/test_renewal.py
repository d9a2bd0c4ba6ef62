"""A graph that is read anew at SIGHUP, in one process and in several, while clients ask."""

import json
import pathlib
import queue
import signal
import subprocess
import sys
import threading
import time

import pytest
from served import Served

GRAPH = """
import numpy as np
import penstock

VERSION = {version}

def first(body):
    return body | {{"parameters": {{"first": VERSION}}}}

class Stamps(penstock.serving.V2ModelServer):
    def load(self):
        self.loaded = VERSION

    def predict(self, body):
        return {{"stamps": np.array([[body["parameters"]["first"], self.loaded]], dtype=np.int32)}}

def last(reply):
    output = reply["outputs"][0]
    output["data"] = [*np.ravel(output["data"]).tolist(), VERSION]
    output["shape"] = [1, 3]
    return reply

fn = penstock.new_function("stamps")
graph = fn.set_topology("flow")
router = graph.to(first).to("*", name="router")
router.add_route("m", class_name="Stamps")
router.to(last).respond()
"""
HERE = pathlib.Path(__file__).parent


class Renewed(Served):
    """A server whose target is written anew, and what it says."""

    def __init__(self, folder, *options, graph=GRAPH):
        self.graph = graph
        self.path = folder / "stamps.py"
        self.write(1)
        super().__init__(self.path, "--grpc-port", "0", *options)
        self.said = queue.Queue()
        self.listening = threading.Thread(target=self._listen)
        self.listening.start()

    def _listen(self):
        for line in self.process.stderr:
            self.said.put(line.rstrip())

    def write(self, version):
        self.path.write_text(self.graph.format(version=version))

    def hang_up(self):
        """Send the signal; return what is said then."""
        self.process.send_signal(signal.SIGHUP)
        return self.said.get(timeout=30)

    def stamps(self):
        body = {"inputs": [{"name": "x", "shape": [1, 1], "datatype": "INT32", "data": [0]}]}
        status, answer = self.post(body, "/v2/models/m/infer")
        assert status == 200, answer
        return answer["outputs"][0]["data"]

    def counted(self, name):
        text = self.request("/metrics")[2].decode()
        return sum(float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(name))


@pytest.fixture
def serve(tmp_path):
    started = []

    def start(*options, **more):
        started.append(Renewed(tmp_path, *options, **more))
        return started[-1]

    yield start
    for server in started:
        server.process.kill()
        server.process.wait()
        server.listening.join()
        server.process.stderr.close()


class Clients:
    """The clients of `swap_clients.py`, in a process of their own."""

    def __init__(self, server, rate=500):
        command = [sys.executable, str(HERE / "swap_clients.py"), str(server.port), str(server.grpc_port), str(rate)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout.readline() == "begun\n"

    def confirm(self, version):
        self.process.stdin.write(f"{version}\n")
        self.process.stdin.flush()

    def end(self):
        return json.loads(self.process.communicate(timeout=30)[0])


@pytest.mark.parametrize("options", [[], ["--workers", "2"]], ids=["one process", "two processes"])
def test_a_graph_is_replaced_under_500_requests_a_second(serve, options):
    server = serve(*options)
    clients = Clients(server)
    for version in range(2, 6):
        time.sleep(0.4)  # of load between the changes
        server.write(version)
        assert server.hang_up() == "penstock: 'stamps' is served anew"
        clients.confirm(version)
    time.sleep(0.4)
    found = clients.end()
    assert found["wrong"] == []
    assert set(found["answers"]) == {"1", "2", "3", "4", "5"}
    assert sum(found["answers"].values()) > 200 * found["seconds"]
    assert server.stamps() == [5, 5, 5]


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("fn = penstock", "stamps.py failed to load (line 1 of stamps.py): NameError: name 'penstock' is not defined"),
        (
            GRAPH.format(version=2).replace("self.loaded = VERSION", "open('/none')"),
            "model 'm': failed to load model m: FileNotFoundError: [Errno 2] No such file or directory: '/none'",
        ),
        (GRAPH.format(version=2).replace('"Stamps"', '"Stomps"'), "step 'router/m': "),
        ("import sys; sys.exit(3)", "SystemExit: 3"),
    ],
    ids=["source", "model", "graph", "exit"],
)
def test_a_graph_that_is_wrong_is_a_line_and_the_old_one_goes_on(serve, source, said):
    server = serve()
    server.path.write_text(source)
    line = server.hang_up()
    assert line.startswith("penstock: 'stamps' goes on as it was: ")
    assert said in line
    assert server.stamps() == [1, 1, 1]
    server.write(3)
    assert server.hang_up() == "penstock: 'stamps' is served anew"
    assert server.stamps() == [3, 3, 3]
    assert server.stop()[0] == 0


def test_of_several_processes_none_follows_one_that_cannot(serve):
    server = serve("--workers", "2")
    server.path.write_text("fn = 1")
    line = server.hang_up()
    assert "goes on as it was: worker 0: " in line
    assert line.endswith("; so do the 1 that come after it")
    assert server.stamps() == [1, 1, 1]


def test_what_lies_beside_the_target_is_read_anew_too(serve, tmp_path):
    beside = tmp_path / "beside.py"
    beside.write_text("NUMBER = 7")
    server = serve(
        graph=GRAPH.replace("import penstock", "import penstock, beside").replace("{version}", "beside.NUMBER")
    )
    beside.write_text("NUMBER = 8")
    assert server.hang_up() == "penstock: 'stamps' is served anew"
    assert server.stamps() == [8, 8, 8]


def test_a_source_that_changes_is_read_anew_if_it_is_watched(serve):
    server = serve("--watch")
    server.write(2)
    assert server.said.get(timeout=20) == "penstock: 'stamps' is served anew"
    assert server.stamps() == [2, 2, 2]


def test_counts_go_on_over_a_change(serve):
    server = serve()
    for _ in range(5):
        server.stamps()
    before = server.counted("penstock_step_events_total")
    statistics = server.get("/v2/models/m/stats")[1]["model_stats"][0]["inference_count"]
    began = server.counted("penstock_process_start_time_seconds")
    server.write(2)
    server.hang_up()
    server.stamps()
    assert server.counted("penstock_step_events_total") == before + 4  # the four steps of one more request
    assert server.get("/v2/models/m/stats")[1]["model_stats"][0]["inference_count"] == statistics + 1
    assert server.counted("penstock_process_start_time_seconds") == began


SLOW = GRAPH.replace("def first(body):", "import time\ndef first(body):\n    time.sleep(body.get('nap', 0))")


def test_a_signal_to_stop_during_a_change_answers_what_has_come(serve):
    server = serve(graph=SLOW)
    answers = []

    def ask():
        body = {"inputs": [{"name": "x", "shape": [1, 1], "datatype": "INT32", "data": [0]}], "nap": 1.0}
        answers.append(server.post(body, "/v2/models/m/infer"))

    slow = threading.Thread(target=ask)
    slow.start()
    while server.counted("penstock_in_flight") < 2:  # the one that naps, and the one that asks
        pass
    server.write(2)
    server.process.send_signal(signal.SIGHUP)
    while server.stamps() != [2, 2, 2]:
        pass
    server.process.send_signal(signal.SIGTERM)
    slow.join()
    assert server.process.wait(timeout=20) == 0
    status, answer = answers[0]
    assert (status, answer["outputs"][0]["data"]) == (200, [1, 1, 1])


def test_changes_that_are_asked_for_during_a_change_become_one_more(serve):
    server = serve(
        graph=SLOW.replace("VERSION = {version}", "VERSION = {version}\ntime_ = __import__('time').sleep(0.3)")
    )
    server.write(2)
    server.process.send_signal(signal.SIGHUP)
    time.sleep(0.1)
    server.write(3)
    for _ in range(5):
        server.process.send_signal(signal.SIGHUP)
    assert [server.said.get(timeout=20) for _ in range(2)] == ["penstock: 'stamps' is served anew"] * 2
    assert server.stamps() == [3, 3, 3]
    code, _ = server.process.send_signal(signal.SIGTERM), server.process.wait(timeout=20)
    assert code is None
    assert server.process.returncode == 0
