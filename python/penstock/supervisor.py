"""Several processes that serve on one port: started, replaced when they die, asked what they have counted, ended.

The supervisor runs none of the graph and loads nothing of it. It starts the command it was started with once more for
each process; the kernel spreads the connections over them. A socket pair joins it to each: lines of JSON.
"""

from __future__ import annotations

import dataclasses
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

from penstock.certificates import load
from penstock.counts import Counts, remains, total
from penstock.errors import GraphError
from penstock.ports import hold_port
from penstock.renewal import has_terminal, hears_hangups
from penstock.rounds import Everywhere, InTurn
from penstock.serve_options import ServeOptions
from penstock.worker import VARIABLE

EXIT_UNSETTLED = 75
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 10.0  # before a process is replaced; doubles while it dies at once
_TRIES = 5  # starts in a row that fail before it gives up, if no process serves
_HEALTHY = 10.0  # seconds after which a death is not taken for one at the start
_PATIENCE = 1.0  # seconds for the counts of one process
_HURRY = 0.8  # seconds from the second signal to the end of all


@dataclasses.dataclass
class _Child:
    """A place among the processes, and who has it."""

    index: int
    process: subprocess.Popen[bytes] | None = None
    channel: socket.socket | None = None
    unread: bytes = b""
    ready: bool = False
    started: float = 0.0
    failures: int = 0
    start_at: float | None = None
    counts: Counts = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class _Question:
    """A process wants the total; the others are asked."""

    asker: _Child
    number: int
    due: float
    waiting: set[int]


class Supervisor:
    """Keeps processes of one command serving.

    Parameters
    ----------
    command : sequence of str
        What each of them runs; it calls ``penstock.worker.worker_of(os.environ)``.
    workers : int
        How many.
    host, port, grpc_port
        Where they listen; port 0 takes a free one.

    Raises
    ------
    PortInUse
        Another process listens there.
    """

    def __init__(
        self, command: Sequence[str], *, workers: int, host: str, port: int, grpc_port: int | None = None
    ) -> None:
        self._command = list(command)
        self.scheme = "http"  # of the URL that is said
        self._host = host
        self._held: list[socket.socket] = []
        try:
            self.port = self._hold(port)
            self.grpc_port = None if grpc_port is None else self._hold(grpc_port)
        except BaseException:
            self._let_go()
            raise
        self._children = [_Child(index) for index in range(workers)]
        self._questions: dict[int, _Question] = {}
        self._asked = 0
        self._renewal = InTurn(lambda index: _send(self._children[index], {"renew": True}))
        self._everywhere = Everywhere(lambda index, message: _send(self._children[index], message))
        self._terminal = has_terminal()
        self._name = ""
        self._ended: Counts = {}  # what processes that are gone have counted
        self._restarts = 0
        self._announced = False
        self._signals = 0
        self._exit = 0
        self._hurry: float | None = None

    def run(self) -> int:
        """Serve until told to stop; return the exit code."""
        wake, waker = socket.socketpair()
        waker.setblocking(False)
        numbers = [signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, *([signal.SIGHUP] if hears_hangups() else [])]
        before = [signal.signal(number, lambda *_: None) for number in numbers]
        before_fd = signal.set_wakeup_fd(waker.fileno())
        self._selector = selectors.DefaultSelector()
        self._selector.register(wake, selectors.EVENT_READ)
        try:
            self._start(self._children[0])
            while any(child.process is not None or child.start_at is not None for child in self._children):
                self._turn(wake)
            return self._exit
        finally:
            self._kill_all()
            signal.set_wakeup_fd(before_fd)
            for number, handler in zip(numbers, before, strict=True):
                signal.signal(number, handler)
            self._selector.close()
            wake.close()
            waker.close()
            self._let_go()

    def _hold(self, port: int) -> int:
        self._held.append(hold_port(self._host, port))
        number: int = self._held[-1].getsockname()[1]
        return number

    def _let_go(self) -> None:
        for holder in self._held:
            holder.close()

    # ---- processes

    def _start(self, child: _Child) -> None:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        told = {
            "index": child.index,
            "port": self.port,
            "grpc_port": self.grpc_port,
            "channel": theirs.fileno(),
            "changes": self._everywhere.changes,
        }
        with theirs:
            child.process = subprocess.Popen(  # noqa: S603  # the command is our own
                self._command,
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env={**os.environ, VARIABLE: json.dumps(told)},
                start_new_session=True,  # Ctrl-C reaches them through us, once
            )
        child.channel, child.unread, child.ready = ours, b"", False
        child.started, child.start_at, child.counts = time.monotonic(), None, {}
        self._selector.register(ours, selectors.EVENT_READ, child)

    def _turn(self, wake: socket.socket) -> None:
        """Wait for the next thing to happen and see to it."""
        for key, _ in self._selector.select(self._until_due()):
            if key.fileobj is not wake:
                self._read(key.data)
                continue
            for number in wake.recv(64):
                gone = number == signal.SIGHUP and self._terminal and not has_terminal()
                if number in (signal.SIGTERM, signal.SIGINT) or gone:
                    self._stop()
                elif number == signal.SIGHUP and not self._signals:
                    self._everywhere.forget()
                    self._renewal.begin(self._name, self._ready())
        for child in self._children:
            if child.process is not None and child.process.poll() is not None:
                self._died(child)
        self._see_to_what_is_due()

    def _until_due(self) -> float | None:
        due = [question.due for question in self._questions.values()]
        due += [child.start_at for child in self._children if child.start_at is not None]
        if self._hurry is not None:
            due.append(self._hurry)
        return max(0.0, min(due) - time.monotonic()) if due else None

    def _see_to_what_is_due(self) -> None:
        now = time.monotonic()
        for child in self._children:
            if child.start_at is not None and child.start_at <= now:
                self._start(child)
        for number, question in list(self._questions.items()):
            if question.due <= now:
                self._answer(number)
        if self._hurry is not None and self._hurry <= now:
            self._hurry = None
            self._kill_all()

    def _stop(self) -> None:
        self._signals += 1
        if self._signals == 1:
            _say("penstock: draining")
        elif self._hurry is None:
            self._hurry = time.monotonic() + _HURRY
        for child in self._children:
            child.start_at = None
            if child.process is not None:
                child.process.send_signal(signal.SIGTERM)

    def _died(self, child: _Child) -> None:
        process, child.process = child.process, None
        assert process is not None  # noqa: S101  # the caller has looked
        self._read(child)  # what it said last
        self._drop(child)
        was_ready, child.ready = child.ready, False
        self._renewal.gone(child.index)
        self._everywhere.gone(child.index)
        self._ended = total([self._ended, remains(child.counts)])
        child.counts = {}
        for number, question in list(self._questions.items()):
            self._heard(number, child.index)
            if question.asker is child:
                self._questions.pop(number, None)
        code = process.returncode
        if self._signals:
            if code != 0 and self._exit == 0 and not (code == -signal.SIGTERM and not was_ready):
                self._exit = EXIT_UNSETTLED
            return
        healthy = was_ready and time.monotonic() - child.started >= _HEALTHY
        child.failures = 0 if healthy else child.failures + 1
        if not was_ready and (not self._announced or self._hopeless()):
            self._give_up(child, code)
            return
        pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** max(0, child.failures - 1))
        _say(f"penstock: worker {child.index} {_how(code)}; another takes its place")
        self._restarts += 1
        child.start_at = time.monotonic() + pause

    def _hopeless(self) -> bool:
        return not any(child.ready for child in self._children) and all(
            child.failures >= _TRIES for child in self._children if child.process is None
        )

    def _give_up(self, child: _Child, code: int) -> None:
        """End it all: what is wrong with one at its start is wrong with each, and it has said so itself."""
        if code not in (1, 2):
            _say(f"penstock: worker {child.index} {_how(code)} before it could answer; giving up")
        self._exit = code if code in (1, 2) else 1
        self._signals = 1
        for other in self._children:
            other.start_at = None
            if other.process is not None:
                other.process.send_signal(signal.SIGTERM)

    def _kill_all(self) -> None:
        for child in self._children:
            if child.process is not None:
                child.process.kill()
                child.process.wait()
                self._drop(child)

    # ---- what they say

    def _read(self, child: _Child) -> None:
        if child.channel is None:
            return
        try:
            while chunk := child.channel.recv(1 << 16):
                child.unread += chunk
            self._drop(child)  # it has closed its end, so it is ending
        except BlockingIOError:
            pass
        except OSError:
            self._drop(child)
        *lines, child.unread = child.unread.split(b"\n")
        for line in lines:
            self._hear(child, json.loads(line))

    def _drop(self, child: _Child) -> None:
        if child.channel is not None:
            self._selector.unregister(child.channel)
            child.channel.close()
            child.channel = None

    def _hear(self, child: _Child, message: dict[str, Any]) -> None:
        if "ready" in message:
            child.ready, self._name = True, message["ready"]
            self._announce(message["ready"])
        elif "renewed" in message:
            self._renewal.heard(child.index, message["wrong"])
        elif "all" in message:
            self._everywhere.ask(child.index, message["all"], message["do"], self._ready())
        elif "did" in message:
            self._everywhere.heard(message["did"], child.index, message["wrong"])
        elif "total" in message:
            child.counts = message["of"]
            self._ask(child, message["total"])
        else:
            child.counts = message["of"]
            self._heard(message["counts"], child.index)

    def _ready(self) -> list[int]:
        return [child.index for child in self._children if child.ready]

    def _announce(self, name: str) -> None:
        if self._announced or self._signals:
            return
        for child in self._children:
            if child.process is None:  # the first one is ready, so there is nothing wrong with the graph
                self._start(child)
        if all(child.ready for child in self._children):
            self._announced = True
            host = f"[{self._host}]" if ":" in self._host else self._host
            beside = "" if self.grpc_port is None else f", gRPC on port {self.grpc_port}"
            processes = f"{len(self._children)} processes"
            url = f"{self.scheme}://{host}:{self.port}"
            _say(f"penstock: '{name}' answers on {url}{beside} with {processes} (Ctrl-C or SIGTERM to stop)")

    # ---- what they have counted

    def _ask(self, asker: _Child, number: int) -> None:
        self._asked += 1
        others = [child for child in self._children if child.ready and child is not asker]
        question = _Question(asker, number, time.monotonic() + _PATIENCE, {child.index for child in others})
        self._questions[self._asked] = question
        asked = self._asked
        for child in others:
            if not _send(child, {"counts": asked}):
                self._heard(asked, child.index)
        if not others:
            self._answer(asked)

    def _heard(self, number: int, index: int) -> None:
        question = self._questions.get(number)
        if question is None or index not in question.waiting:
            return
        question.waiting.discard(index)
        if not question.waiting:
            self._answer(number)

    def _answer(self, number: int) -> None:
        """Add up; of who has not answered in time counts what was last heard."""
        question = self._questions.pop(number)
        whole = total([self._ended, *(child.counts for child in self._children)])
        _send(question.asker, {"total": question.number, "of": {**whole, "restarts": self._restarts}})


def supervise(*, workers: int, host: str, port: int, grpc_port: int | None, options: ServeOptions) -> int:
    """Run this program once more for each of the processes, and keep them serving; return the exit code.

    Raises
    ------
    GraphError
        There is no program that could be run once more.
    PortInUse
        Another process listens there.
    CertificateError
        A file that TLS needs cannot be used.
    """
    if hasattr(sys, "ps1") or "ipykernel" in sys.modules:
        raise GraphError(
            f"workers={workers} runs the program once more for each: write it as a file, or use one worker"
        )
    command = [sys.executable, *sys.orig_argv[1:]]
    load(options)  # each of them would say the same
    supervisor = Supervisor(command, workers=workers, host=host, port=port, grpc_port=grpc_port)
    supervisor.scheme = options.scheme
    return supervisor.run()


def _send(child: _Child, message: dict[str, Any]) -> bool:
    if child.channel is None:
        return False
    try:
        child.channel.settimeout(_PATIENCE)
        child.channel.sendall(json.dumps(message).encode() + b"\n")
    except OSError:
        return False
    finally:
        child.channel.setblocking(False)
    return True


def _how(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
