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
_TELLS_EVERY = 1.0  # seconds
_UNASKED = 0  # the number of no question
_LOAD_PATIENCE = 600.0  # seconds to wait until the others have loaded a model


@dataclasses.dataclass
class Worker:
    """One of several processes that serve on one port.

    Attributes
    ----------
    index : int
        Its number, from 0; the process that replaces it has the same.
    port, grpc_port : int
        Where to listen; the supervisor holds the ports.
    changes : list of dict
        What models were loaded and unloaded by requests before this process was started.
    """

    index: int
    port: int
    grpc_port: int | None
    channel: socket.socket
    changes: list[dict[str, Any]] = dataclasses.field(default_factory=list)

    def __post_init__(self) -> None:
        self._lock = threading.Lock()  # around what is sent, so that lines stay whole
        self._numbers = itertools.count()
        self._asked: dict[int, SimpleQueue[Any]] = {}
        self._counts: Callable[[], Counts] = dict
        self._gone = threading.Event()
        self._renew: Callable[[], str | None] | None = None
        self._do: Callable[[dict[str, Any]], None] | None = None

    def start(self, counts: Callable[[], Counts]) -> None:
        """Answer the supervisor's questions from now on; `counts` has what this process has counted."""
        self._counts = counts
        threading.Thread(target=self._listen, name="penstock-supervised", daemon=True).start()
        threading.Thread(target=self._tell, name="penstock-counts", daemon=True).start()

    def renews(self, renew: Callable[[], str | None]) -> None:
        """Say how the graph is made anew; what is called returns what is wrong, if it could not be."""
        self._renew = renew

    def does(self, do: Callable[[dict[str, Any]], None]) -> None:
        """Say how what another process has done is done here; what is called raises if it cannot be."""
        self._do = do

    def everywhere(self, what: dict[str, Any]) -> list[str]:
        """Have all other processes do it, and wait until they have; return what went wrong."""
        wrong: list[str] = self._ask("all", {"do": what}, _LOAD_PATIENCE, ["the other processes have not answered"])
        return wrong

    def ready(self, name: str) -> None:
        """Tell that requests are answered."""
        self._send({"ready": name})

    def total(self) -> Counts:
        """Return what all processes have counted; if the supervisor does not answer, what this one has."""
        own = self._counts()
        whole: Counts = self._ask("total", {"of": own}, _PATIENCE, own)
        return whole

    def _ask(self, what: str, message: dict[str, Any], patience: float, default: Any) -> Any:
        """Ask the supervisor and wait for the answer; `default` if none comes."""
        number = next(self._numbers)
        answer: SimpleQueue[Any] = SimpleQueue()
        self._asked[number] = answer
        try:
            self._send({what: number, **message})
            return answer.get(timeout=patience)
        except (Empty, OSError):
            return default
        finally:
            del self._asked[number]

    def _listen(self) -> None:
        try:
            with self.channel.makefile("r", encoding="utf-8") as lines:
                for line in lines:
                    self._hear(json.loads(line))
        except OSError:  # it has gone in the middle of a line
            pass
        self._gone.set()
        os.kill(os.getpid(), signal.SIGTERM)  # nobody is left who would end this process

    def _tell(self) -> None:
        """Say every second what has been counted, so that little of it is lost if this process is killed."""
        try:
            while not self._gone.wait(_TELLS_EVERY):
                self._send({"counts": _UNASKED, "of": self._counts()})
        except OSError:  # the supervisor is gone, and this process will be soon
            pass

    def _hear(self, message: dict[str, Any]) -> None:
        if "renew" in message:
            threading.Thread(target=self._renewed, name="penstock-renewal", daemon=True).start()
        elif "counts" in message:
            self._send({"counts": message["counts"], "of": self._counts()})
        elif "do" in message:
            name = "penstock-change"
            threading.Thread(target=self._done, args=(message["do"], message["what"]), name=name, daemon=True).start()
        else:
            number, said = (message["total"], "of") if "total" in message else (message["all"], "wrong")
            if (answer := self._asked.get(number)) is not None:
                answer.put(message[said])

    def _renewed(self) -> None:
        wrong = "its source is not known" if self._renew is None else self._renew()
        self._send({"renewed": self.index, "wrong": wrong})

    def _done(self, number: int, what: dict[str, Any]) -> None:
        wrong: str | None = "this process has no models"
        try:
            if self._do is not None:
                self._do(what)
                wrong = None
        except Exception as error:
            wrong = str(error)
        self._send({"did": number, "wrong": wrong})

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
