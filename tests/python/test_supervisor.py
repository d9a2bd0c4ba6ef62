"""Several processes on one port: spread, replaced, counted together, drained."""

import http.client
import json
import os
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
from penstock.errors import PortInUse
from penstock.supervisor import Supervisor
from penstock.worker import VARIABLE, worker_of
from served import ADDRESS, JSON, Served
from test_metrics import samples

GRAPHS = """
import os
import pathlib
import time
import penstock

def pid(body):
    return os.getpid()

pids = penstock.new_function("pids")
pids.set_topology("flow").to(pid).respond()

def hang(body):
    pathlib.Path(body["entered"]).touch()
    while not pathlib.Path(body["until"]).exists():
        time.sleep(0.01)
    return "done"

hangs = penstock.new_function("hangs")
hangs.set_topology("flow").to(hang).respond()

def note(body):
    with open(os.environ["NOTED"], "a") as file:
        file.write(f"{os.getpid()}\\n")

ticks = penstock.new_function("ticks").add_cron_trigger(interval="20ms")
ticks.set_topology("flow").to(note)

broken = penstock.new_function("broken")
broken.set_topology("flow").to("dubble")

if __name__ == "__main__":
    pids.serve(port=0, workers=2)
    print("after it", flush=True)
"""


@pytest.fixture(scope="module")
def graphs(tmp_path_factory):
    path = tmp_path_factory.mktemp("supervised") / "graphs.py"
    path.write_text(textwrap.dedent(GRAPHS))
    return path


@pytest.fixture
def serve(graphs):
    """A server of several processes, for one test."""
    started = []

    def start(name, *options, workers=2):
        started.append(Served(f"{graphs}:{name}", "--workers", str(workers), *options))
        return started[-1]

    yield start
    for server in started:
        server.end()


def wait_for(condition, seconds=30):
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end
        time.sleep(0.005)
    return found


def is_alive(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def ask(connection):
    connection.request("POST", "/", "{}", JSON)
    return json.loads(connection.getresponse().read())


def connections_to_all(server, workers):
    """Connections, by the process at their other end; at least one to each."""
    found = {}
    while len(found) < workers or len(found) * 2 > sum(map(len, found.values())):
        connection = server.connect()
        found.setdefault(ask(connection), []).append(connection)
    return found


def close(connections):
    for some in connections.values():
        for connection in some:
            connection.close()


def counted(server):
    return samples(server.request("/metrics")[2].decode())


def test_all_processes_answer_on_the_one_port(serve):
    server = serve("pids", workers=3)
    connections = connections_to_all(server, 3)
    assert server.process.pid not in connections
    close(connections)
    assert server.stop() == (0, "penstock: draining\n")
    assert not any(is_alive(pid) for pid in connections)


def test_any_of_them_tells_what_all_have_counted(serve):
    server = serve("pids")
    connections = connections_to_all(server, 2)
    asked = sum(map(len, connections.values()))
    for some in connections.values():
        some[0].request("GET", "/metrics")
        found = samples(some[0].getresponse().read().decode())
        assert found["penstock_step_events_total{step=pid}"] == asked
        assert found["penstock_workers"] == 2
        assert {f"penstock_process_uptime_seconds{{worker={index}}}" for index in range(2)} <= set(found)
    close(connections)


def test_one_that_is_killed_is_replaced_while_the_others_go_on(serve):
    server = serve("pids")
    connections = connections_to_all(server, 2)
    asked = sum(map(len, connections.values()))
    assert counted(server)["penstock_step_events_total{step=pid}"] == asked
    killed, kept = connections
    os.kill(killed, signal.SIGKILL)
    wait_for(lambda: not is_alive(killed))
    for connection in connections[kept]:
        assert ask(connection) == kept
        asked += 1
    said = server.process.stderr.readline()
    assert said == f"penstock: worker {said.split()[2]} was ended by SIGKILL; another takes its place\n"
    close(connections)
    wait_for(lambda: counted(server)["penstock_workers"] == 2)
    connections = connections_to_all(server, 2)
    assert killed not in connections
    asked += sum(map(len, connections.values()))
    close(connections)
    found = counted(server)
    assert found["penstock_worker_restarts_total"] == 1
    assert found["penstock_step_events_total{step=pid}"] == asked  # what the dead one did still counts
    assert server.stop()[0] == 0


def test_a_graph_that_is_wrong_is_said_once(graphs):
    done = run("serve", f"{graphs}:broken", "--port", "0", "--workers", "3")
    assert done.returncode == 1
    assert done.stderr == "error: step 'dubble': there is no class 'dubble'\n"


def test_a_target_that_is_not_there_is_exit_2(tmp_path):
    done = run("serve", str(tmp_path / "none.py"), "--port", "0", "--workers", "2")
    assert done.returncode == 2
    assert done.stderr.count("there is no file") == 1


def test_one_that_dies_at_its_start_is_not_started_again(tmp_path):
    path = tmp_path / "dies.py"
    path.write_text("import os\nos._exit(3)\n")
    done = run("serve", str(path), "--port", "0", "--workers", "2")
    assert done.returncode == 1
    assert done.stderr == "penstock: worker 0 ended with exit code 3 before it could answer; giving up\n"


def test_it_gives_up_when_none_can_be_replaced(tmp_path):
    path, mark = tmp_path / "once.py", tmp_path / "mark"
    path.write_text(
        f"import os, penstock\n"
        f"if os.path.exists({str(mark)!r}): os._exit(4)\n"
        f"fn = penstock.new_function('once')\n"
        f"fn.set_topology('flow').to('(event)', name='s').respond()\n"
    )
    server = Served(str(path), "--workers", "2")
    try:
        mark.touch()
        for child in children_of(server.process.pid):
            os.kill(child, signal.SIGKILL)
        assert server.process.wait(40) == 1
        said = server.process.stderr.read().splitlines()
        assert re.fullmatch("penstock: worker . ended with exit code 4 before it could answer; giving up", said[-1])
        assert len(said) > 4
    finally:
        server.end()


def test_a_drain_answers_what_is_under_way(serve, tmp_path):
    server = serve("hangs")
    entered, until = tmp_path / "entered", tmp_path / "until"
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(server.post, {"entered": str(entered), "until": str(until)})
        wait_for(entered.exists)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.stderr.readline() == "penstock: draining\n"
        until.touch()
        assert answer.result(20) == (200, b"done")
        assert server.process.wait(20) == 0


def test_a_second_signal_ends_all_within_a_second_with_75(serve, tmp_path):
    server = serve("hangs")
    entered = tmp_path / "entered"
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(server.post, {"entered": str(entered), "until": str(tmp_path / "until")})
        wait_for(entered.exists)
        children = children_of(server.process.pid)
        server.process.send_signal(signal.SIGINT)
        assert server.process.stderr.readline() == "penstock: draining\n"
        start = time.monotonic()
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(20) == 75
        assert time.monotonic() - start < 1
        with pytest.raises((OSError, http.client.HTTPException)):
            answer.result(20)
    assert not any(is_alive(pid) for pid in children)


def test_no_process_outlives_its_supervisor(serve):
    server = serve("pids")
    children = children_of(server.process.pid)
    assert len(children) == 2
    server.process.kill()
    wait_for(lambda: not any(is_alive(pid) for pid in children))


def test_a_script_that_serves_is_run_once_more_for_each(graphs):
    process = subprocess.Popen([sys.executable, str(graphs)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        found = ADDRESS.match(process.stderr.readline())
        connection = http.client.HTTPConnection("127.0.0.1", int(found["port"]), timeout=20)
        assert ask(connection) in children_of(process.pid)
        connection.close()
        process.send_signal(signal.SIGTERM)
        printed, said = process.communicate(timeout=30)
        assert (process.returncode, printed, said) == (0, "after it\n", "penstock: draining\n")
    finally:
        process.kill()
        process.communicate()


def test_a_port_in_use_is_one_line_and_exit_1(graphs, serve):
    port = serve("pids").port
    done = run("serve", f"{graphs}:pids", "--port", str(port), "--workers", "2")
    assert (done.returncode, done.stderr) == (
        1,
        f"error: cannot listen on 127.0.0.1:{port}: Address already in use; choose another port\n",
    )


def test_of_several_processes_one_hears_the_clock(serve, tmp_path, monkeypatch):
    noted = tmp_path / "noted"
    monkeypatch.setenv("NOTED", str(noted))
    server = serve("ticks")
    wait_for(lambda: counted(server)["penstock_workers"] == 2)
    before = len(noted.read_text().split()) if noted.exists() else 0
    wait_for(lambda: noted.exists() and len(noted.read_text().split()) > before + 20)
    assert len(set(noted.read_text().split())) == 1


def test_ports_are_let_go_of_if_one_of_two_is_taken():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(PortInUse, match="cannot listen on"):
            Supervisor(["true"], workers=2, host="127.0.0.1", port=0, grpc_port=taken.getsockname()[1])


def test_a_worker_is_told_its_place_once():
    ours, theirs = socket.socketpair()
    with ours:
        environment = {VARIABLE: json.dumps({"index": 1, "port": 80, "grpc_port": None, "channel": theirs.detach()})}
        worker = worker_of(environment)
        assert (worker.index, worker.port, worker.grpc_port, environment) == (1, 80, None, {})
        assert worker_of(environment) is None
        worker.ready("f")
        assert json.loads(ours.recv(100)) == {"ready": "f"}
        worker.channel.close()


def test_what_a_worker_has_counted_is_told_unasked(monkeypatch):
    ended = threading.Event()
    monkeypatch.setattr("penstock.worker._TELLS_EVERY", 0.01)
    monkeypatch.setattr("penstock.worker.os.kill", lambda *_: ended.set())
    ours, theirs = socket.socketpair()
    told = {"index": 1, "port": 80, "grpc_port": None, "channel": theirs.detach()}
    with ours, ours.makefile() as lines:
        worker = worker_of({VARIABLE: json.dumps(told)})
        worker.start(lambda: {"requests": 7})
        assert json.loads(lines.readline()) == {"counts": 0, "of": {"requests": 7}}
        ours.shutdown(socket.SHUT_RDWR)
        assert ended.wait(20), "a process without a supervisor ends"
    worker.channel.close()


def children_of(pid):
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        return [int(child) for child in file.read().split()]


def run(*arguments):
    command = [sys.executable, "-m", "penstock", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
