"""A graph behind HTTP and gRPC, until the process is told to stop; SIGHUP has it made anew."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

from penstock.http_server import HttpServer
from penstock.renewal import Renewal, has_terminal, hears_hangups
from penstock.serve_options import ServeOptions
from penstock.watchdog import Watchdog

if TYPE_CHECKING:
    from types import FrameType

    from penstock.server import GraphServer
    from penstock.worker import Worker

_HURRY_SECONDS = 0.5  # what is left of the drain after a second signal
EXIT_UNSETTLED = 75
_DONE = 0  # among the numbers of signals: the drain is over


def serve(
    server: GraphServer,
    *,
    host: str,
    port: int,
    grpc_port: int | None = None,
    options: ServeOptions | None = None,
    worker: Worker | None = None,
    renew: Callable[[], GraphServer] | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT, then drain; a second signal ends the process within a second.

    At SIGHUP `renew` makes the graph anew, and what it makes takes the graph's place. One of several workers leaves
    it to their supervisor to hear of that, and to say that the server is there.

    Raises
    ------
    PortInUse
        Another process listens there.
    SystemExit
        With 75, if something was left unsettled; 70 is the watchdog's.
    """
    wake, waker = socket.socketpair()
    waker.setblocking(False)
    signals = (signal.SIGTERM, signal.SIGINT)
    heard = (*signals, signal.SIGHUP) if renew is not None and hears_hangups() else signals
    terminal = has_terminal()
    before = [signal.signal(number, _ignore) for number in heard]
    # The C-level handler writes the number, so that no signal is missed between a look and a wait.
    before_fd = signal.set_wakeup_fd(waker.fileno())
    try:
        http = HttpServer(server, host=host, port=port, grpc_port=grpc_port, options=options, worker=worker)
        renewal = None if renew is None else Renewal(http, renew, server.name)
        if worker is not None and renewal is not None:
            worker.renews(renewal.now)
        if worker is None:
            beside = "" if http.grpc_port is None else f", gRPC on port {http.grpc_port}"
            _say(f"penstock: '{server.name}' answers on {http.url}{beside} (Ctrl-C or SIGTERM to stop)")
        else:
            worker.ready(server.name)
        with Watchdog((options or ServeOptions()).hang_timeout):
            while _wait(wake, heard) == signal.SIGHUP and not (terminal and not has_terminal()):
                if renewal is not None and worker is None:
                    renewal.ask()
            if worker is None:
                _say("penstock: draining")
            settled = _drained(http, wake, waker, signals)
    finally:
        signal.set_wakeup_fd(before_fd)
        for number, handler in zip(heard, before, strict=True):
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
