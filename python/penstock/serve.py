"""A graph behind HTTP and gRPC, until the process is told to stop."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Collection
from typing import TYPE_CHECKING

from penstock._core import Server
from penstock.errors import PortInUse
from penstock.inflow import Inflow
from penstock.loading import watch

if TYPE_CHECKING:
    from types import FrameType

    from typing_extensions import Self

    from penstock.server import GraphServer

DRAIN_SECONDS = 30.0
_HURRY_SECONDS = 0.5  # what is left of the drain after a second signal
EXIT_UNSETTLED = 75
_IO_THREADS = 2
_DONE = 0  # among the numbers of signals: the drain is over


class HttpServer:
    """The HTTP server of a graph; a context manager that drains at the end.

    Parameters
    ----------
    server : GraphServer
        Its `init_states` has run.
    host : str
        Address to listen on.
    port : int
        0 takes a free one; see the attribute `port`.
    deadline : float
        Seconds that a request may take, unless it says otherwise.
    grpc_port : int, optional
        Where gRPC is served, too; 0 takes a free one; see the attribute `grpc_port`.

    Raises
    ------
    PortInUse
        Another process listens there.
    """

    def __init__(
        self,
        server: GraphServer,
        *,
        host: str = "127.0.0.1",
        port: int = 8080,
        deadline: float = 30.0,
        grpc_port: int | None = None,
    ) -> None:
        self._graph = server
        compiled = server.compiled
        assert compiled is not None  # noqa: S101  # init_states has run
        engine = server.engine
        try:
            self._http = Server(
                engine.core,
                host=host,
                port=port,
                io_threads=_IO_THREADS,
                responds=compiled.responds,
                deadline=deadline,
                grpc_port=grpc_port,
            )
        except OSError as error:
            raise PortInUse(str(error)) from error
        self.host = host
        self.port = self._http.port
        self.grpc_port = self._http.grpc_port
        self._closing = False
        watch(compiled.models.values(), self._set_ready)
        self._inflow = Inflow(server, self._set_ready)
        engine.start()
        self._http.start()
        self._inflow.start()

    @property
    def url(self) -> str:
        """Where it answers."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self, timeout: float = DRAIN_SECONDS) -> bool:
        """Stop accepting, answer what has come, settle the graph; tell whether all was settled in time."""
        self._closing = True
        end = time.monotonic() + timeout
        answered = self._http.drain(timeout)
        self._inflow.halt()
        settled = self._graph.engine.drain(max(0.0, end - time.monotonic()))
        self._inflow.close()
        self._http.stop()
        self._graph.close()
        return answered and settled

    def _set_ready(self, ready: bool) -> None:
        if not self._closing:
            self._http.set_ready(ready)


def serve(server: GraphServer, *, host: str, port: int, grpc_port: int | None = None) -> None:
    """Serve until SIGTERM or SIGINT, then drain; a second signal ends the process within a second.

    Raises
    ------
    PortInUse
        Another process listens there.
    SystemExit
        With 75, if something was left unsettled.
    """
    wake, waker = socket.socketpair()
    waker.setblocking(False)
    signals = (signal.SIGTERM, signal.SIGINT)
    before = [signal.signal(number, _ignore) for number in signals]
    # The C-level handler writes the number, so that no signal is missed between a look and a wait.
    before_fd = signal.set_wakeup_fd(waker.fileno())
    try:
        http = HttpServer(server, host=host, port=port, grpc_port=grpc_port)
        beside = "" if http.grpc_port is None else f", gRPC on port {http.grpc_port}"
        _say(f"penstock: '{server.name}' answers on {http.url}{beside} (Ctrl-C or SIGTERM to stop)")
        _wait(wake, signals)
        _say("penstock: draining")
        settled = _drained(http, wake, waker, signals)
    finally:
        signal.set_wakeup_fd(before_fd)
        for number, handler in zip(signals, before, strict=True):
            signal.signal(number, handler)
        wake.close()
        waker.close()
    if not settled:
        _say("penstock: stopped with work unsettled")
        os._exit(EXIT_UNSETTLED)  # a handler is still at it, and would keep the interpreter


def _wait(wake: socket.socket, numbers: Collection[int]) -> int:
    """Wait for one of these bytes; other signals that Python handles write theirs, too."""
    while (number := wake.recv(1)[0]) not in numbers:
        pass
    return number


def _drained(http: HttpServer, wake: socket.socket, waker: socket.socket, signals: Collection[int]) -> bool:
    """Drain on another thread, so that this one still hears signals; False if one more came before the end."""
    settled: list[bool] = []

    def drain() -> None:
        try:
            settled.append(http.close())
        finally:
            with contextlib.suppress(BlockingIOError):  # full of signals, which are answered first
                waker.send(bytes([_DONE]))

    threading.Thread(target=drain, name="penstock-drain", daemon=True).start()
    if _wait(wake, {_DONE, *signals}) != _DONE:
        # Who stops a group of processes may well send the signal twice: if nothing is left to do, that is no hurry.
        wake.settimeout(_HURRY_SECONDS)
        with contextlib.suppress(TimeoutError):
            _wait(wake, {_DONE})
    return settled == [True]


def _ignore(_number: int, _frame: FrameType | None) -> None:
    """Leave it to the waiting main thread."""


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
