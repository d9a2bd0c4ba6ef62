"""Requests that no client would send, over sockets: each gets its status, and the next good request its answer."""

import contextlib
import os
import pathlib
import re
import socket
import time

import pytest
from abuse_requests import GOOD, INCOMPLETE, REQUESTS, get, post
from served import Served

HERE = pathlib.Path(__file__).parent
STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})")
GROWTH = 32 << 20  # bytes of memory that all of them together may leave in use, once they have been there


@pytest.fixture(scope="module")
def server():
    served = Served(f"{HERE / 'protocol_models.py'}:described")
    yield served
    assert served.process.poll() is None
    served.end()


def resident(server):
    fields = pathlib.Path(f"/proc/{server.process.pid}/statm").read_text().split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")


def exchange(server, *requests, answers=1, ends=False):
    """Send bytes on one connection; return the statuses of so many answers, or of those up to the end, and all bytes.

    `ends`: the client sends nothing more, and says so.
    """
    with socket.create_connection(("127.0.0.1", server.port), timeout=8) as connection:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it was refused before all of it was sent
            for request in requests:
                connection.sendall(request)
            if ends:
                connection.shutdown(socket.SHUT_WR)
        received, found = b"", []
        with contextlib.suppress(ConnectionResetError):
            while len(found) < answers and (more := connection.recv(65536)):
                received += more
                found = [int(status) for status in STATUS.findall(received) if status != b"100"]
    return found, received


@pytest.mark.parametrize("name", REQUESTS)
def test_it_is_refused_at_once_and_the_next_one_is_served(server, name):
    request, right = REQUESTS[name]
    begun = time.monotonic()
    statuses, received = exchange(server, request, ends=name in INCOMPLETE)
    taken = time.monotonic() - begun
    assert statuses, received[:200]
    assert statuses[0] in right, received[:300]
    if statuses[0] >= 400 and not request.startswith((b"HEAD", b"POST /any/where")):
        assert b"Content-Type: application/json\r\n" in received
        assert b'{"error"' in received
    assert taken < 5
    assert exchange(server, post(GOOD))[0] == [200]


def test_none_of_it_stays_in_memory(server):
    after = []
    for _ in range(3):
        for name, (request, _) in REQUESTS.items():
            exchange(server, request, ends=name in INCOMPLETE)
        after.append(resident(server))
    assert after[-1] - after[0] < GROWTH
    assert after[-1] < 512 << 20


def test_what_follows_a_refused_request_is_no_request(server):
    smuggled = b"GET /v2/models/echo HTTP/1.1\r\nHost: x\r\n\r\n"
    for name in ("length and chunks", "two lengths", "a chunk of letters", "a folded header", "lines that end with LF"):
        statuses, _ = exchange(server, REQUESTS[name][0] + smuggled, answers=9)
        assert statuses == [400], name


def test_pipelined_requests_are_answered_in_order_up_to_a_bad_one(server):
    good = post(GOOD)
    assert exchange(server, good * 5, answers=5)[0] == [200] * 5
    mixed = good + get("/v2/models/nobody") + good + b"nonsense\r\n\r\n" + good
    assert exchange(server, mixed, answers=9)[0] == [
        200,
        404,
        200,
        400,
    ]
    closing = good.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1)
    assert exchange(server, good + closing + good, answers=9)[0] == [200, 200]


def test_a_request_byte_by_byte_is_understood(server):
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in post(GOOD):
            connection.sendall(bytes([byte]))
        assert connection.recv(100).startswith(b"HTTP/1.1 200")


def test_clients_that_leave_in_the_middle_leave_nothing_behind(server):
    descriptors = pathlib.Path(f"/proc/{server.process.pid}/fd")
    exchange(server, post(GOOD))
    before = len(list(descriptors.iterdir()))
    request = post(GOOD)
    for end in range(0, len(request), 7):
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
            connection.sendall(request[:end])
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # a reset
    until = time.monotonic() + 10
    while len(list(descriptors.iterdir())) > before + 1 and time.monotonic() < until:
        assert exchange(server, request)[0] == [200]
    assert len(list(descriptors.iterdir())) <= before + 1
