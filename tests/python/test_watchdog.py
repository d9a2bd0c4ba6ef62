"""A handler that does not let go of the GIL ends its process, and another takes its place; others are let be."""

import contextlib
import http.client
import textwrap
import threading
import time

import pytest
from penstock.watchdog import Watchdog
from served import Served

GRAPHS = """
import os, re, time
import penstock

def work(body):
    if body == "hold":
        re.match("(a+)+$", "a" * 64 + "b")  # for ever, in C
    if body == "wait":
        time.sleep(2)
    if body == "spin":
        end = time.monotonic() + 2
        while time.monotonic() < end:
            pass
    return os.getpid()

fn = penstock.new_function("f")
fn.set_topology("flow").to(work).respond()
"""


@pytest.fixture
def serve(tmp_path):
    file = tmp_path / "graphs.py"
    file.write_text(textwrap.dedent(GRAPHS))
    started = []

    def start(*options):
        started.append(Served(file, *options))
        return started[-1]

    yield start
    for server in started:
        server.end()


def test_a_handler_that_holds_the_gil_ends_the_process_with_70_and_its_stack(serve):
    server = serve("--hang-timeout", "1")
    with pytest.raises((http.client.HTTPException, ConnectionError)):
        server.post("hold")
    _, said = server.process.communicate(timeout=20)
    assert server.process.returncode == 70
    assert "a handler holds the interpreter" in said
    assert 'graphs.py", line 7 in work' in said


def test_handlers_that_wait_or_compute_in_python_may_take_their_time(serve):
    server = serve("--hang-timeout", "0.5")
    assert server.post("wait")[0] == 200
    assert server.post("spin")[0] == 200
    assert server.stop() == (0, "penstock: draining\n")


def test_without_a_limit_nothing_is_watched():
    before = threading.active_count()
    with Watchdog(0):
        assert threading.active_count() == before
    with Watchdog(60):
        assert threading.active_count() == before + 1
    assert threading.active_count() == before


def test_a_worker_that_was_ended_is_replaced(serve):
    server = serve("--hang-timeout", "1", "--workers", "2")
    pids = set()
    with pytest.raises((http.client.HTTPException, ConnectionError)):
        server.post("hold")
    end = time.monotonic() + 30
    while len(pids) < 2 and time.monotonic() < end:
        with contextlib.suppress(ConnectionError):  # it waited for the one that ends to accept it
            pids.add(server.post("")[1])
    assert len(pids) == 2
    code, said = server.stop()
    assert code == 0
    assert "ended with exit code 70; another takes its place" in said
