"""Rows into a graph: in order and with bounded memory, or several at once with their answers."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from penstock.errors import GraphClosed, GraphError, StepError

if TYPE_CHECKING:
    from penstock._core import Event
    from penstock.server import GraphServer


@dataclasses.dataclass
class Fed:
    """What came of feeding a graph.

    Attributes
    ----------
    rows : int
        Events that the graph took.
    skipped : int
        Rows without a key, where the source has one; they were logged.
    failed : int, optional
        Events whose answer was an error; None if answers were not waited for.
    first_error : StepError, optional
        The first of these errors.
    result : object
        What the graph gave at its end, for example a reduction's value.
    """

    rows: int = 0
    skipped: int = 0
    failed: int | None = None
    first_error: StepError | None = None
    result: Any = None


def feed(
    server: GraphServer,
    source: Iterable[Event],
    *,
    max_in_flight: int | None = None,
    on_answer: Callable[[Event, Any], None] | None = None,
) -> Fed:
    """Send the events of a source into a graph.

    Parameters
    ----------
    server : GraphServer
        The graph.
    source : iterable of Event
        A source of `penstock.sources`, or any events.
    max_in_flight : int, optional
        Wait for answers, of this many events at once; 1 keeps their order. Without it events enter in order, as
        fast as the graph takes them, nobody waits for answers, and failures only go to the log and the error stream.
    on_answer : callable, optional
        Called with each event and its answer, on any thread; waits for answers, one at a time by default.

    Returns
    -------
    Fed
        How many there were. Without `max_in_flight` the last of them may still be under way.

    Examples
    --------
    >>> import penstock
    >>> fn = penstock.new_function("count")
    >>> _ = fn.set_topology("flow").to("(event * 2)").respond()
    >>> answers = []
    >>> with fn.to_mock_server() as server:
    ...     events = [penstock.Event(1), penstock.Event(2)]
    ...     fed = feed(server, events, on_answer=lambda event, body: answers.append(body))
    >>> fed.rows, fed.failed, answers
    (2, 0, [2, 4])
    """
    if max_in_flight is not None and max_in_flight < 1:
        raise GraphError(f"max_in_flight is at least 1, not {max_in_flight!r}")
    if max_in_flight is None and on_answer is None:
        fed = Fed()
        engine = server.engine
        for event in source:
            engine.submit(event)
            fed.rows += 1
    else:
        fed = _Asker(server, iter(source), on_answer).ask(max_in_flight or 1)
    fed.skipped = getattr(source, "skipped", 0)
    return fed


class _Asker:
    """Several threads that take events from one source and wait for the answers."""

    def __init__(self, server: GraphServer, events: Iterator[Event], on_answer: Callable[[Event, Any], None] | None):
        self._server = server
        self._events = events
        self._on_answer = on_answer
        self._fed = Fed(failed=0)
        self._lock = threading.Lock()  # guards _events, _fed and _stopped
        self._stopped = False

    def ask(self, threads: int) -> Fed:
        if threads == 1:
            self._work()
            return self._fed
        with ThreadPoolExecutor(threads, thread_name_prefix="penstock-feed") as pool:
            workers = [pool.submit(self._work) for _ in range(threads)]
            try:
                for worker in workers:
                    worker.result()
            finally:
                self._stopped = True
        return self._fed

    def _work(self) -> None:
        try:
            while (event := self._next()) is not None:
                self._run(event)
        except BaseException:
            self._stopped = True
            raise

    def _next(self) -> Event | None:
        with self._lock:
            if self._stopped:
                return None
            event = next(self._events, None)
            self._fed.rows += event is not None
            return event

    def _run(self, event: Event) -> None:
        try:
            answer = self._server.run(event)
        except StepError as error:
            with self._lock:
                self._fed.failed = (self._fed.failed or 0) + 1
                self._fed.first_error = self._fed.first_error or error
        except GraphClosed:
            with self._lock:
                self._fed.rows -= 1
            raise
        else:
            if self._on_answer is not None:
                self._on_answer(event, answer)
