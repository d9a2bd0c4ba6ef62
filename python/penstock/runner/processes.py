"""Models in processes of their own, as the parent sees them.

Processes are spawned, as forking a process with threads is unsafe. One thread looks after one call in one process; a
process that dies fails that call and is replaced. None outlives this one: it ends with its pipe, with its parent, or
is killed at exit.
"""

from __future__ import annotations

import atexit
import contextlib
import multiprocessing
import pickle
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future
from multiprocessing import connection, util
from typing import TYPE_CHECKING, Any

from penstock.errors import GraphClosed, GraphError, ModelRunnerError, StepNotReady
from penstock.runner.shared_memory import Packed, Segment, pack, pack_for_trip, unpack
from penstock.runner.threads import CLOSED, ThreadPool

if TYPE_CHECKING:
    from penstock.runner.model import Model

_GUARD = "; a script that starts processes keeps what it runs under `if __name__ == '__main__':`, as they import it"
_GRACE = 2.0  # seconds that an idle process gets to close its models
_pools: weakref.WeakSet[ProcessPool] = weakref.WeakSet()


class WorkerDied(ModelRunnerError):
    """The process of a model ended in the middle of a call."""


class ProcessPool:
    """At most `count` processes, each with all of the models.

    Parameters
    ----------
    models : mapping of str to Model
        The models, not loaded yet: each process loads its own.
    count : int
        How many processes there may be; they are started as they are needed.
    name : str
        For the names of processes and threads.

    Raises
    ------
    StepNotReady
        The models cannot be sent to a process, or loading one failed there.
    """

    def __init__(self, models: Mapping[str, Model], count: int, name: str) -> None:
        self._name = name
        self._payload = _pickled(models)
        self._threads = ThreadPool(count, f"{name}-caller")
        self._lock = threading.Lock()  # guards what follows
        self._idle: deque[_Worker] = deque()
        self._workers: set[_Worker] = set()
        self._closed = False
        _pools.add(self)
        try:
            self._idle.append(self._start())
        except BaseException:
            self.close()
            raise

    @property
    def pids(self) -> list[int]:
        """The ids of the processes that run."""
        with self._lock:
            return [worker.process.pid for worker in self._workers if worker.process.pid is not None]

    def submit(self, model: str, body: Any, path: str, origin: str) -> Future[Any]:
        """Have a process run a model on a body."""
        return self._threads.submit(self._call, model, body, path, origin)

    def close(self) -> None:
        """End the processes. One that computes is killed: nobody waits for its answer any more."""
        self._threads.close()
        with self._lock:
            self._closed = True
            idle = set(self._idle)
            self._idle.clear()
            busy = self._workers - idle
            self._workers = set()
        for worker in busy:
            worker.process.kill()  # the thread of its call lets go of the rest
        for worker in idle:
            worker.dismiss()
        end = time.monotonic() + _GRACE
        for worker in idle:
            worker.end(max(0.0, end - time.monotonic()))

    def _call(self, model: str, body: Any, path: str, origin: str) -> Any:
        packed = pack_for_trip(body, "the body")
        worker = self._take()
        try:
            done, outcome = worker.run(model, body, packed, path, origin)
        except BaseException:  # not the model's: the two sides may be out of step
            self._discard(worker)
            raise
        self._give_back(worker)
        if not done:
            raise outcome
        return outcome

    def _take(self) -> _Worker:
        while True:
            with self._lock:
                worker = self._idle.pop() if self._idle else None
            if worker is None:
                return self._start()
            if worker.process.is_alive():
                return worker
            self._discard(worker, replace=False)  # it died while nobody needed it

    def _give_back(self, worker: _Worker) -> None:
        with self._lock:
            if not self._closed:
                self._idle.append(worker)
                return
        worker.dismiss()
        worker.end(_GRACE)

    def _discard(self, worker: _Worker, *, replace: bool = True) -> None:
        with self._lock:
            self._workers.discard(worker)
        worker.end(0.0)
        if replace:
            with contextlib.suppress(GraphClosed):
                self._threads.submit(self._replace)

    def _replace(self) -> None:
        """Start a process ahead of the next call, so that no caller waits for it."""
        with self._lock:
            if self._idle or self._closed:
                return
        self._give_back(self._start())

    def _start(self) -> _Worker:
        with self._lock:  # around the start, so that `close` ends every process there is
            if self._closed:
                raise GraphClosed(CLOSED)
            worker = _Worker(self._payload, self._name)
            self._workers.add(worker)
        try:
            worker.wait_until_ready()
        except BaseException:
            self._discard(worker, replace=False)
            raise
        return worker


class _Worker:
    """One process, and the memory shared with it."""

    def __init__(self, payload: tuple[Any, ...], name: str) -> None:
        from penstock.runner.worker import serve

        context = multiprocessing.get_context("spawn")
        self._pipe, far = context.Pipe()
        self._lock = threading.Lock()  # guards the sending of the last message
        self._asked: Segment | None = None
        self._answered: Segment | None = None
        try:
            # Not a "daemon" in multiprocessing's sense: models may start processes of their own.
            self.process = context.Process(target=serve, args=(far, payload), name=name, daemon=False)
            self.process.start()
        except BaseException:
            self._pipe.close()
            raise
        finally:
            far.close()

    def wait_until_ready(self) -> None:
        """Wait until the process has loaded its models."""
        try:
            kind, *facts = self._receive()
        except WorkerDied as error:
            raise StepNotReady(f"{error} while it started{_GUARD}") from None
        if kind == "broken":
            raise StepNotReady(facts[0])

    def run(self, model: str, body: Any, packed: Packed, path: str, origin: str) -> tuple[bool, Any]:
        """Run a model; return whether it succeeded, and its result or exception."""
        try:
            name = self._lay_out(packed)
        except OSError:  # there is no such memory left: many containers have little
            packed, name = pack(body, inline=True), ""
        self._send(("run", model, path, origin, packed.head, packed.spans, name, self._answered is not None))
        if name and self._asked is not None:
            self._receive()  # the process has found it
            self._asked.forget_name()
        reply = self._receive()
        if reply[0] == "room":
            self._send(("room", self._make_room(reply[1])))
            reply = self._receive()
            if self._answered is not None:
                self._answered.forget_name()
        done, let_go, *facts = reply
        if self._asked is not None and (self._asked.once or not let_go):
            self._asked.close()
            self._asked = None
        if not done:
            return False, _rebuilt(*facts)
        head, spans = facts
        result = unpack(head, self._answered.copies(spans) if self._answered is not None else ())
        if self._answered is not None and self._answered.once:
            self._answered.close()
            self._answered = None
        return True, result

    def dismiss(self) -> None:
        """Have the process end when it is free."""
        with self._lock, contextlib.suppress(OSError):
            self._pipe.send(("end",))

    def end(self, grace: float) -> None:
        """End the process for good, and let go of the memory."""
        self.process.join(grace)
        self.process.kill()
        self.process.join()
        with self._lock, contextlib.suppress(OSError):
            self._pipe.close()
        for segment in (self._asked, self._answered):
            if segment is not None:
                segment.close()

    def _make_room(self, size: int) -> str:
        """Make memory for an answer, and return its name; "" if there is none to be had."""
        if self._answered is not None:
            self._answered.close()
            self._answered = None
        with contextlib.suppress(OSError):
            self._answered = Segment(size)
            return self._answered.name
        return ""

    def _lay_out(self, packed: Packed) -> str:
        """Put the large parts where the process sees them; return the memory's name if it is new to it."""
        if not packed.size:
            return ""
        if self._asked is not None and self._asked.size >= packed.size:
            self._asked.write(packed)
            return ""
        if self._asked is not None:
            self._asked.close()
            self._asked = None
        self._asked = Segment(packed.size)
        self._asked.write(packed)
        return self._asked.name

    def _send(self, message: tuple[Any, ...]) -> None:
        try:
            with self._lock:
                self._pipe.send(message)
        except OSError:
            raise self._died() from None

    def _receive(self) -> Any:
        try:
            ready = connection.wait([self._pipe, self.process.sentinel])
            if self._pipe in ready:
                return self._pipe.recv()
        except (EOFError, OSError):
            pass
        raise self._died()

    def _died(self) -> WorkerDied:
        self.process.join(_GRACE)
        code = self.process.exitcode
        how = "" if code is None else f" by signal {-code}" if code < 0 else f" with exit code {code}"
        return WorkerDied(f"the worker process '{self.process.name}' ended{how}")


def _rebuilt(pickled: bytes | None, kind: str, text: str) -> BaseException:
    """Return the exception that a model raised in its process, or the like of it if it could not travel."""
    if pickled is not None:
        try:
            error = pickle.loads(pickled)  # noqa: S301  # from a process of our own
        except Exception:
            error = None
        if isinstance(error, BaseException):
            return error
    stand_in: BaseException = type(kind, (RuntimeError,), {})(text)
    return stand_in


def _pickled(models: Mapping[str, Model]) -> tuple[Any, ...]:
    """Pickle models for their processes, with the files of modules that are not found by name there."""
    modules: dict[str, str] = {}
    pieces: dict[str, tuple[bytes, list[bytes]]] = {}
    for name, model in models.items():
        home = type(model).__module__
        file = getattr(sys.modules.get(home), "__file__", None)
        if home != "__main__" and file:
            modules[home] = file
        try:
            packed = pack(model, _by_value if home == "__main__" and not file else None)
        except GraphError:
            raise
        except Exception as error:
            raise StepNotReady(
                f"model '{name}' cannot be sent to a process, {type(error).__name__}: {error}; keep what cannot be"
                " pickled out of its constructor (load() runs in the process), or use thread_pool"
            ) from error
        pieces[name] = (packed.head, [bytes(buffer) for buffer in packed.buffers])
    return modules, pieces


def _by_value(model: Any, apart: Any) -> bytes:
    """Pickle an object of a notebook or a prompt, where no process could import its class."""
    try:
        import cloudpickle
    except ImportError:
        raise GraphError(
            f"model '{model.name}': a process cannot import {type(model).__name__} from a notebook or prompt;"
            " put it into a module, or pip install cloudpickle"
        ) from None
    dumped: bytes = cloudpickle.dumps(model, protocol=5, buffer_callback=apart)
    return dumped


def _close_all() -> None:
    for pool in list(_pools):
        pool.close()


util.get_logger()  # multiprocessing's own exit, which waits for processes, is registered by now: ours runs before it
atexit.register(_close_all)
