"""The side of a served process that its supervisor talks to; see `penstock.supervisor`."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import signal
import socket
import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any

from penstock.counts import Counts

VARIABLE = "PENSTOCK_WORKER"
_PATIENCE = 3.0  # seconds to wait for the counts of the others


@dataclasses.dataclass
class Worker:
    """One of several processes that serve on one port.

    Attributes
    ----------
    index : int
        Its number, from 0; the process that replaces it has the same.
    port, grpc_port : int
        Where to listen; the supervisor holds the ports.
    """

    index: int
    port: int
    grpc_port: int | None
    channel: socket.socket

    def __post_init__(self) -> None:
        self._lock = threading.Lock()  # around what is sent, so that lines stay whole
        self._numbers = itertools.count()
        self._asked: dict[int, SimpleQueue[Counts]] = {}
        self._counts: Callable[[], Counts] = dict

    def start(self, counts: Callable[[], Counts]) -> None:
        """Answer the supervisor's questions from now on; `counts` has what this process has counted."""
        self._counts = counts
        threading.Thread(target=self._listen, name="penstock-supervised", daemon=True).start()

    def ready(self, name: str) -> None:
        """Tell that requests are answered."""
        self._send({"ready": name})

    def total(self) -> Counts:
        """Return what all processes have counted; if the supervisor does not answer, what this one has."""
        own = self._counts()
        number = next(self._numbers)
        answer: SimpleQueue[Counts] = SimpleQueue()
        self._asked[number] = answer
        try:
            self._send({"total": number, "of": own})
            return answer.get(timeout=_PATIENCE)
        except (Empty, OSError):
            return own
        finally:
            del self._asked[number]

    def _listen(self) -> None:
        try:
            with self.channel.makefile("r", encoding="utf-8") as lines:
                for line in lines:
                    self._hear(json.loads(line))
        except OSError:  # it has gone in the middle of a line
            pass
        os.kill(os.getpid(), signal.SIGTERM)  # nobody is left who would end this process

    def _hear(self, message: dict[str, Any]) -> None:
        if "counts" in message:
            self._send({"counts": message["counts"], "of": self._counts()})
        elif (answer := self._asked.get(message["total"])) is not None:
            answer.put(message["of"])

    def _send(self, message: dict[str, Any]) -> None:
        with self._lock:
            self.channel.sendall(json.dumps(message).encode() + b"\n")


def worker_of(environment: Any) -> Worker | None:
    """Return this process's place among others, which its supervisor has left in the environment; it is taken out.

    Examples
    --------
    >>> worker_of({}) is None
    True
    """
    told = environment.pop(VARIABLE, None)
    if told is None:
        return None
    fields = json.loads(told)
    channel = socket.socket(fileno=fields.pop("channel"))
    channel.set_inheritable(False)
    return Worker(channel=channel, **fields)
