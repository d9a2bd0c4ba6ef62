"""The running side of a graph: threads for the core, the loop for coroutines, the server, a clean end.

The core owns no Python threads. It is lent some here: one that is always free to be woken, and further ones as
handlers turn out to be slow. Coroutines of all graphs of a process run on one asyncio loop, on a thread of its own.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Iterable
from typing import TYPE_CHECKING, Any

from penstock import _core
from penstock.errors import GraphClosed, StepError, StreamingError, describe, make_error
from penstock.event import clone, decode_body
from penstock.pace import Pace
from penstock.render import render

if TYPE_CHECKING:
    from penstock._core import Chunks, ChunkSource, Continuation, Event, Plan
    from penstock.counts import Counts, History

_CLOSE_SECONDS = 3.0  # how long the interpreter's exit waits for handlers that are still running
_logger = logging.getLogger("penstock")
_engines: weakref.WeakSet[Engine] = weakref.WeakSet()


class Engine:
    """One running graph.

    Parameters
    ----------
    plan : Plan
        What to run; an engine takes it for itself.
    name : str
        For the names of its threads.
    on_failure : callable, optional
        Hears of each failure that no error handler took: ``(step, text, event_id, cause, body)``.
    results : list, optional
        Where steps put what they give when the graph ends.
    closers : sequence of callables, optional
        Called when the graph has ended.
    """

    event = _core.Event  # what `run` and `submit` take

    def __init__(
        self,
        plan: Plan,
        name: str = "",
        *,
        on_failure: Callable[[str, str, str, BaseException | None, Any], None] | None = None,
        results: list[Any] | None = None,
        closers: Iterable[Callable[[], None]] = (),
    ) -> None:
        self._name = name or "graph"
        # Emptied at the end: who hears of failures refers to this, and the collector does not see that in the core.
        self._hearers = [] if on_failure is None else [on_failure]
        self.core = _core.Core(plan, functools.partial(_tell, self._hearers))
        self._results = results if results is not None else []
        self._closers = list(closers)
        self._threads: list[threading.Thread] = []
        self.history: History | None = None  # of the server in front
        self.inferences: Callable[[], Counts] = dict  # what the models have done
        self._started = False
        self._lock = threading.Lock()  # guards _started and _threads
        _engines.add(self)

    def start(self) -> None:
        """Lend the core its first thread; called at the first event."""
        with self._lock:
            if self._started:
                return
            self._started = True
        self._lend()

    def run(self, event: Event, timeout: float | None = None, nothing: Any = None) -> Any:
        """Send an event through the graph on this thread; return the answer's body, `nothing` if nothing answers."""
        if not self._started:
            self.start()
        return self.core.run(event, timeout, nothing)

    def submit(self, event: Event) -> None:
        """Send an event into the graph; return when it is admitted."""
        if not self._started:
            self.start()
        self.core.submit(event)

    def drain(self, timeout: float) -> bool:
        """Take no more events, and wait for those under way; tell whether all are settled."""
        return self.core.drain(timeout)

    def finish(self, timeout: float) -> Any:
        """Drain, have the steps send on what they hold, and return what they give at the end: the first such value."""
        if not self._started:
            self.start()
        self.drain(timeout)
        return next(iter(self._results), None)

    def close(self, timeout: float = _CLOSE_SECONDS) -> None:
        """End the graph; wait for its threads as far as no handler holds them."""
        self.core.close()
        self._join(timeout)
        while self._closers:
            closer = self._closers.pop()
            try:
                closer()
            except Exception:
                _logger.exception("'%s' could not be closed cleanly", self._name)
        self._hearers.clear()

    def _join(self, timeout: float) -> None:
        while True:  # a thread that ends may just have started one more
            with self._lock:
                if not self._threads:
                    return
                thread = self._threads.pop(0)
            if thread is not threading.current_thread():
                thread.join(timeout)

    def own_counts(self) -> Counts:
        """Return what this graph has counted."""
        counts = {"steps": self.core.stats(), "in_flight": self.core.in_flight, "refused": self.core.refused}
        return counts | {"inferences": self.inferences()}

    def counts(self) -> Counts:
        """Return what this graph has counted; behind a server, with the graphs whose place it has taken."""
        return self.own_counts() if self.history is None else self.history.counts()

    def stats(self) -> dict[str, dict[str, Any]]:
        """Return what each step has done so far."""
        return self.core.stats()

    def _lend(self) -> bool:
        """Lend the core one more thread; tell whether there is one to be had."""
        core = self.core
        thread = threading.Thread(
            target=core.lend, args=(self._lend,), name=f"penstock-{self._name}-{len(self._threads)}", daemon=True
        )
        with self._lock:  # around both, so that `close` waits for every thread that runs
            try:
                thread.start()
            except RuntimeError:  # the system has no more, or Python (from 3.12) is on its way out
                return False
            self._threads.append(thread)
        return True


class _Loop:
    """The thread on which coroutine handlers run."""

    def __init__(self) -> None:
        self._new: deque[tuple[Coroutine[Any, Any, Any], Continuation]] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._tasks: dict[Continuation, asyncio.Task[None]] = {}  # touched on the loop's thread only
        self._lock = threading.Lock()  # guards the start; _new is guarded by its own atomic operations
        self._woken = False
        self._closing = False

    def spawn(self, coroutine: Coroutine[Any, Any, Any], continuation: Continuation) -> None:
        """Run a coroutine; any thread."""
        self._new.append((coroutine, continuation))
        loop = self._loop or self.start()
        if not self._woken:
            self._woken = True
            loop.call_soon_threadsafe(self._take_new)

    def cancel(self, continuation: Continuation) -> None:
        """End a coroutine that nobody waits for any more; any thread."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._end, continuation)

    def close(self) -> None:
        """Cancel what runs and end the thread."""
        loop, thread = self._loop, self._thread
        if loop is None or thread is None or not thread.is_alive():
            return
        loop.call_soon_threadsafe(self._cancel)
        thread.join(_CLOSE_SECONDS)

    def start(self) -> asyncio.AbstractEventLoop:
        """Start the thread, unless it runs; from Python 3.12 that is too late when the interpreter exits."""
        with self._lock:
            if self._loop is None:
                loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=self._run, args=(loop,), name="penstock-asyncio", daemon=True)
                self._thread.start()
                self._loop = loop
            return self._loop

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        _core.forbid_waiting("an async handler cannot wait for a graph: it would hold up all others; use a plain def")
        try:
            while not self._closing:  # a handler that stops its loop stops it for nobody else
                loop.run_forever()
            if pending := asyncio.all_tasks(loop):  # cancelled: they get to clean up
                loop.run_until_complete(asyncio.wait(pending, timeout=1.0))
        finally:
            loop.close()

    def _take_new(self) -> None:
        self._woken = False  # before the look, so that what is added meanwhile wakes again
        while self._new:
            coroutine, continuation = self._new.popleft()
            self._tasks[continuation] = asyncio.get_running_loop().create_task(self._drive(coroutine, continuation))

    def _cancel(self) -> None:
        for task in self._tasks.values():
            task.cancel()
        self._closing = True
        asyncio.get_running_loop().stop()

    async def _drive(self, coroutine: Coroutine[Any, Any, Any], continuation: Continuation) -> None:
        try:
            result = await coroutine
        except BaseException as error:
            continuation.reject(error)
        else:
            continuation.resolve(result)
        finally:
            self._tasks.pop(continuation, None)

    def _end(self, continuation: Continuation) -> None:
        task = self._tasks.get(continuation)
        if task is not None:
            # Not at once: a task that is cancelled ahead of its first step runs no line, and would tell nobody.
            asyncio.get_running_loop().call_soon(task.cancel)


async def _drive(generator: AsyncGenerator[Any, None], source: ChunkSource) -> bool:
    """Send an async generator's chunks, each when it is wanted; tell whether that was to the end."""
    running = asyncio.get_running_loop()
    try:
        async for item in generator:
            wanted = asyncio.Event()
            source.send(item, lambda wanted=wanted: running.call_soon_threadsafe(wanted.set))
            await wanted.wait()
            if source.over:
                return False
    finally:
        await generator.aclose()
    return True


def _read(chunks: Chunks) -> Generator[Any, None, None]:
    """Make a generator of an answer that comes in chunks."""
    try:
        yield from chunks
    except StepError as error:
        raise StreamingError(error.reason, step=error.step, status_code=error.status_code) from error.__cause__


def _fields(message: Any) -> dict[str, Any]:
    from penstock.kafka.records import fields_of

    return fields_of(message)


def _tell(hearers: list[Callable[..., None]], *failure: Any) -> None:
    for hear in hearers:
        hear(*failure)


def _log_failure(step: str, text: str, event_id: str, cause: BaseException | None) -> None:
    if isinstance(cause, asyncio.CancelledError):  # its stack says nothing: it is where the coroutine waited
        text, cause = "its coroutine was cancelled", None
    exc_info = cause if _stacks.lets_one() else None
    _logger.error("step '%s' failed on event %s: %s", step, event_id or "-", text, exc_info=exc_info)


_stacks = Pace(20)  # to write one takes longer than most steps do


def _after_fork() -> None:
    """Start afresh in a forked process: it has none of the threads, so nothing would ever be answered.

    What was is kept, not freed: others may have held its locks.
    """
    for engine in _engines:
        for method in ("start", "run", "submit"):
            setattr(engine, method, _refuse)
        vars(engine).update(drain=lambda _timeout: True, finish=lambda _timeout: None, close=lambda *_: None)
        _before_fork.append(engine)
    _engines.clear()
    _before_fork.append(vars(loop).copy())
    loop.__init__()  # type: ignore[misc]  # in place: the core has its methods


def _refuse(*_: Any) -> Any:
    raise GraphClosed("the graph runs in the process that this one was forked from: make a server of its own here")


def _close_all() -> None:
    """End every graph before the interpreter goes: a thread that asks for the GIL later would hang or die."""
    end = time.monotonic() + _CLOSE_SECONDS
    for engine in list(_engines):
        engine.drain(max(0.0, end - time.monotonic()))
        engine.close(max(0.1, end - time.monotonic()))
    loop.close()


loop = _Loop()
_before_fork: list[Any] = []
os.register_at_fork(after_in_child=_after_fork)
_core.set_main_thread(threading.main_thread().ident or 0)
_core.set_hooks(
    describe=describe,
    make_error=make_error,
    clone=clone,
    loads=decode_body,
    fields=_fields,
    dumps=render,
    spawn=loop.spawn,
    drive=_drive,
    read=_read,
    cancel=loop.cancel,
    log_failure=_log_failure,
)
# Ahead of atexit's own functions and of the wait for threads, which is where concurrent.futures ends its pools, too.
threading._register_atexit(_close_all)  # type: ignore[attr-defined]  # no public name
