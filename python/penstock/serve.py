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
from penstock.serve_options import ServeOptions

if TYPE_CHECKING:
    from types import FrameType

    from typing_extensions import Self

    from penstock.counts import Counts
    from penstock.server import GraphServer
    from penstock.worker import Worker

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
    grpc_port : int, optional
        Where gRPC is served, too; 0 takes a free one; see the attribute `grpc_port`.
    options : ServeOptions, optional
        Deadlines, limits, and who may ask.
    worker : Worker, optional
        This process's place among several that listen there.

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
        grpc_port: int | None = None,
        options: ServeOptions | None = None,
        worker: Worker | None = None,
    ) -> None:
        options = options or ServeOptions()
        self._graph = server
        self._drain_timeout = options.drain_timeout
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
                deadline=options.deadline,
                grpc_port=grpc_port,
                reuse_port=worker is not None,
                limits=options.limits,
                tokens=list(options.token),
                origins=list(options.cors_origin),
            )
        except OSError as error:
            raise PortInUse(str(error)) from error
        self.host = host
        self.port = self._http.port
        self.grpc_port = self._http.grpc_port
        self._closing = False
        compiled.inspection.attach(server.graph, self._counts)
        if worker is not None:
            compiled.inspection.join(worker.index, worker.total)
            worker.start(compiled.inspection.counts)
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

    def close(self, timeout: float | None = None) -> bool:
        """Drain, then end it all; tell whether all was settled in time."""
        settled = self.drain(timeout)
        self.end()
        return settled

    def drain(self, timeout: float | None = None) -> bool:
        """Stop accepting, answer what has come, settle the graph; tell whether all was settled in time."""
        self._closing = True
        timeout = self._drain_timeout if timeout is None else timeout
        end = time.monotonic() + timeout
        answered = self._http.drain(timeout)
        self._inflow.halt()
        settled = self._graph.engine.drain(max(0.0, end - time.monotonic()))
        self._inflow.close()
        return answered and settled

    def end(self) -> None:
        """Close the server and the graph; waits for handlers that are still at work."""
        self._http.stop()
        self._graph.close()

    def _counts(self) -> Counts:
        core = self._graph.engine.core
        return {"steps": core.stats(), "in_flight": core.in_flight, "refused": core.refused, **self._http.stats()}

    def _set_ready(self, ready: bool) -> None:
        if not self._closing:
            self._http.set_ready(ready)


def serve(
    server: GraphServer,
    *,
    host: str,
    port: int,
    grpc_port: int | None = None,
    options: ServeOptions | None = None,
    worker: Worker | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT, then drain; a second signal ends the process within a second.

    One of several workers leaves it to their supervisor to say so.

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
        http = HttpServer(server, host=host, port=port, grpc_port=grpc_port, options=options, worker=worker)
        if worker is None:
            beside = "" if http.grpc_port is None else f", gRPC on port {http.grpc_port}"
            _say(f"penstock: '{server.name}' answers on {http.url}{beside} (Ctrl-C or SIGTERM to stop)")
        else:
            worker.ready(server.name)
        _wait(wake, signals)
        if worker is None:
            _say("penstock: draining")
        settled = _drained(http, wake, waker, signals)
    finally:
        signal.set_wakeup_fd(before_fd)
        for number, handler in zip(signals, before, strict=True):
            signal.signal(number, handler)
        wake.close()
        waker.close()
    if not settled:
        who = "" if worker is None else f"worker {worker.index} "
        _say(f"penstock: {who}stopped with work unsettled")
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
            settled.append(http.drain())
            if settled[0]:  # else some handler may be at it for ever
                http.end()
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
