"""All functions of a target as processes of this machine: started, watched, stopped in order."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from types import FrameType

from penstock.errors import GraphError
from penstock.function import ServingFunction
from penstock.graph import RootFlowStep
from penstock.partition import part_of
from penstock.renewal import hears_hangups
from penstock.starting import PARENT
from penstock.steps import QueueStep

_AGAIN_SECONDS = 0.5
_AGAIN_AT_MOST = 30.0
_LONG_SECONDS = 60.0  # a process that ran as long begins with a short pause again
_STOP_SECONDS = 45.0  # more than a process takes to drain
_HURRY_SECONDS = 0.8  # from a second signal to the end of all
_LOOK_SECONDS = 0.1
_UNSETTLED = 75


def functions_of(fn: ServingFunction) -> list[str]:
    """List the functions in the order in which events reach them, the root first.

    Raises
    ------
    GraphError
        Two of them are joined by a queue in memory, which ends with its process.
    """
    from penstock.streams import scheme_of

    children = list(fn.spec.function_refs)
    graph = fn.spec.graph
    if not isinstance(graph, RootFlowStep):
        return [fn.metadata.name]
    writers: dict[str, set[str]] = {}
    for name in ("", *children):
        try:
            part = part_of(graph, name)
        except GraphError:
            if name:
                raise
            continue  # all steps are those of children
        for queue_name, step in part.graph.steps.items():
            if isinstance(step, QueueStep) and queue_name in part.to_others:
                writers.setdefault(queue_name, set()).add(name)
                if scheme_of(step.path) in ("memory", "dummy"):
                    raise GraphError(
                        f"queue '{queue_name}' leads to a function in a process of its own, so it cannot be in "
                        'memory: give it a path, .to(">>", ..., path="kafka://host:port/topic")'
                    )
    order = [""]
    while left := [name for name in children if name not in order]:
        read = {name: part_of(graph, name).reads for name in left}
        ready = [name for name in left if all(writers.get(each, set()) <= set(order) for each in read[name])]
        order += ready or left
    return [name or fn.metadata.name for name in order]


class Process:
    """One function as a process that is started again when it dies.

    Attributes
    ----------
    state : str
        "starting", "running", "waiting" (to be started again), or "ended", once it is told to.
    starts : int
        How often it was started.
    """

    def __init__(self, name: str, command: Sequence[str], lifeline: int, tell: Callable[[str, str], None]) -> None:
        self.name = name
        self.state = "starting"
        self.starts = 0
        self.code: int | None = None
        self._command = list(command)
        self._lifeline = lifeline
        self._tell = tell
        self._process: subprocess.Popen[str] | None = None
        self._ending = threading.Event()
        self._lock = threading.Lock()  # guards _process against a stop while it is started
        self._thread = threading.Thread(target=self._run, name=f"penstock-{name}", daemon=True)

    def start(self, environment: Mapping[str, str]) -> None:
        """Start it; further starts are its own."""
        self._environment = {**environment, PARENT: str(self._lifeline)}
        self._thread.start()

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Have it drain and end; it is not started again."""
        self._ending.set()
        with self._lock:
            if self._process is not None and self._process.poll() is None:
                self._process.send_signal(number)

    def wait(self, timeout: float) -> bool:
        """Wait for its end; tell whether it has ended."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        pause = _AGAIN_SECONDS
        while not self._ending.is_set():
            began = time.monotonic()
            self.code = self._run_once()
            if self._ending.is_set():
                break
            if time.monotonic() - began > _LONG_SECONDS:
                pause = _AGAIN_SECONDS
            self.state = "waiting"
            self._tell(self.name, f"ended with {self.code}, is started again in {pause:g} s")
            self._ending.wait(pause)
            pause = min(2 * pause, _AGAIN_AT_MOST)
        self.state = "ended"
        self._tell(self.name, f"ended with {self.code}")

    def _run_once(self) -> int:
        with self._lock:
            if self._ending.is_set():
                return self.code or 0
            self._process = subprocess.Popen(  # noqa: S603  # this interpreter, with the user's own target
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",  # what a function prints need not be text
                env=self._environment,
                pass_fds=[self._lifeline],
                start_new_session=True,  # Ctrl-C reaches them through us, in order
            )
        self.starts += 1
        self.state = "running"
        self._tell(self.name, f"started as process {self._process.pid}")
        assert self._process.stdout is not None  # noqa: S101  # it is a pipe
        with self._process.stdout as lines:
            for line in lines:
                self._tell(self.name, line.rstrip("\n"))
        return self._process.wait()


def up(fn: ServingFunction, target: str, *, host: str, port: int, kafka: str | None) -> int:
    """Run all functions of a target until SIGTERM or SIGINT; return the exit code.

    The root function listens on `port`, the others on the ports after it. They stop in the order in which events
    reach them, so that what one has sent the next still handles or leaves to its next start; a second signal ends all
    within a second.

    Raises
    ------
    GraphError
        The functions cannot run in several processes.
    """
    names = functions_of(fn)
    if not kafka:
        _check_brokers(fn)
    width = max(map(len, names))
    printing = threading.Lock()

    def tell(name: str, line: str) -> None:
        with printing, contextlib.suppress(OSError):  # whoever has read it may have gone
            print(f"{name:{width}} | {line}", file=sys.stderr, flush=True)

    # Else Python keeps what is printed to a pipe for a while.
    environment = os.environ | {"PYTHONUNBUFFERED": "1"} | ({"PENSTOCK_KAFKA": kafka} if kafka else {})
    lifeline, ours = os.pipe()  # the processes hear when our end is closed, however that came about
    processes = []
    for place, name in enumerate(names):
        listens = ["--host", host, "--port", str(port + place if port else 0)]
        command = [sys.executable, "-m", "penstock", "serve", target, "--function", name, *listens]
        processes.append(Process(name, command, lifeline, tell))
    signals: queue.SimpleQueue[int] = queue.SimpleQueue()

    def heard(number: int, _frame: FrameType | None) -> None:
        signals.put(number)

    numbers = (signal.SIGTERM, signal.SIGINT, *([signal.SIGHUP] if hears_hangups() else []))
    before = {number: signal.signal(number, heard) for number in numbers}
    try:
        for process in reversed(processes):  # who reads first, so that the first event finds all in place
            process.start(environment)
        signals.get()
        if not _stop(processes, signals):
            return _UNSETTLED
    finally:
        for process in processes:
            process.stop(signal.SIGKILL)
        os.close(ours)
        os.close(lifeline)
        for number, handler in before.items():
            signal.signal(number, handler)
    return _UNSETTLED if any(process.code for process in processes) else 0


def _stop(processes: Sequence[Process], signals: queue.SimpleQueue[int]) -> bool:
    """Have them end one after the other; False if a second signal came, and all had to end at once."""
    for process in processes:
        process.stop()
        end = time.monotonic() + _STOP_SECONDS
        while not process.wait(_LOOK_SECONDS):
            if not signals.empty():
                _hurry(processes)
                return False
            if time.monotonic() > end:
                process.stop(signal.SIGKILL)
    return True


def _hurry(processes: Sequence[Process]) -> None:
    """End all of them now: two signals, which differ so that the kernel does not make them one."""
    for process in processes:
        process.stop(signal.SIGTERM)
        process.stop(signal.SIGINT)
    end = time.monotonic() + _HURRY_SECONDS
    for process in processes:
        if not process.wait(max(0.0, end - time.monotonic())):
            process.stop(signal.SIGKILL)


def _check_brokers(fn: ServingFunction) -> None:
    """Raise if a queue names no brokers, and nobody else does: no process could start, however often it is tried."""
    from penstock.kafka.settings import address_of, brokers_of
    from penstock.streams import scheme_of

    for step in fn.spec.graph.get_children() if isinstance(fn.spec.graph, RootFlowStep) else ():
        if isinstance(step, QueueStep) and scheme_of(step.path) == "kafka":
            address_of(step.path or "", brokers_of(step.queue_options))
