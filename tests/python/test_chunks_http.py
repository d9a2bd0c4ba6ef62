"""Answers in chunks over HTTP: each goes out when it is there, as fast as the client takes them."""

import http.client
import socket

import pytest
from served import Served

GRAPH = """
import pathlib
import time
import penstock

HERE = pathlib.Path(__file__).parent

def rows(body):
    for number in range(3):
        yield {"row": number}

async def words(body):
    for word in ("one", "two"):
        yield word + " "

def breaks(body):
    yield {"row": 0}
    raise ValueError("mid")

def endless(body):
    (HERE / "begun").touch()
    made = 0
    try:
        while True:
            made += 1
            yield "x" * 65536
    finally:
        (HERE / "closing").write_text(str(made))
        (HERE / "closing").rename(HERE / "closed")

def waits(body):
    yield "first "
    while not (HERE / "go").exists():
        time.sleep(0.001)
    yield "second"

def pick(body):
    return globals()[body](body)

fn = penstock.new_function("chunks")
fn.set_topology("flow").to(pick, "make").to("(event)", name="next").respond()
"""
EVENTS = {"Accept": "text/event-stream"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("chunks")


@pytest.fixture(scope="module")
def served(folder):
    target = folder / "chunks.py"
    target.write_text(GRAPH)
    server = Served(target)
    yield server
    server.end()


def ask(served, body, headers=None):
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=20)
    connection.request("POST", "/", f'"{body}"', headers or {})
    return connection, connection.getresponse()


def test_objects_come_as_lines_of_json(served):
    connection, answer = ask(served, "rows")
    assert (answer.status, answer.getheader("Content-Type")) == (200, "application/x-ndjson")
    assert answer.getheader("Transfer-Encoding") == "chunked"
    assert answer.read() == b'{"row":0}\n{"row":1}\n{"row":2}\n'
    connection.request("POST", "/", '"words"')  # the connection lives on
    assert connection.getresponse().read() == b"one two "
    connection.close()


def test_a_client_that_asks_for_events_gets_them(served):
    connection, answer = ask(served, "rows", EVENTS)
    assert answer.getheader("Content-Type") == "text/event-stream; charset=utf-8"
    assert answer.read() == b'data: {"row":0}\n\ndata: {"row":1}\n\ndata: {"row":2}\n\n'
    connection.close()


def test_each_chunk_goes_out_when_it_is_made(served, folder):
    connection, answer = ask(served, "waits")
    assert answer.read(6) == b"first "
    (folder / "go").touch()
    assert answer.read() == b"second"
    connection.close()


def test_a_failure_in_the_middle_is_said_and_the_answer_stays_incomplete(served):
    connection, answer = ask(served, "breaks")
    with pytest.raises(http.client.IncompleteRead) as caught:
        answer.read()
    assert caught.value.partial == b'{"row":0}\n{"error": "step \'make\': ValueError: mid"}\n'
    connection.close()
    connection, answer = ask(served, "breaks", EVENTS)
    assert answer.read().endswith(b'\n\ndata: {"error": "step \'make\': ValueError: mid"}\n\n')
    connection.close()


def test_a_client_that_does_not_read_holds_the_generator_up_and_one_that_leaves_ends_it(served, folder):
    with socket.create_connection(("127.0.0.1", served.port), timeout=20) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        client.sendall(b'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n"endless"')
        assert client.recv(100).startswith(b"HTTP/1.1 200")
        for _ in range(50):  # others are served meanwhile
            assert served.post("rows")[0] == 200
    while not (folder / "closed").exists():
        served.post("rows")
    assert int((folder / "closed").read_text()) < 500


def test_a_client_that_knows_no_chunks_gets_all_at_once(served):
    with socket.create_connection(("127.0.0.1", served.port), timeout=20) as client:
        client.sendall(b'POST / HTTP/1.0\r\nContent-Length: 7\r\n\r\n"words"')
        received = b""
        while more := client.recv(4096):
            received += more
    assert received.startswith(b"HTTP/1.0 200 OK")
    assert b"Content-Length: 8\r\n" in received
    assert received.endswith(b"\r\n\r\none two ")
