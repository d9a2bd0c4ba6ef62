"""Threads for models: started as they are needed, and never in the way of the interpreter's exit."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any

from penstock.errors import GraphClosed

CLOSED = "the graph was closed"
_Job = tuple["Future[Any]", Callable[..., Any], tuple[Any, ...]]


class ThreadPool:
    """At most `count` threads that run functions.

    `concurrent.futures` has one, too, but the interpreter's exit waits for its threads, whatever they do.

    Examples
    --------
    >>> pool = ThreadPool(2, "docs")
    >>> pool.submit(lambda a, b: a + b, 1, 2).result()
    3
    >>> pool.close()
    """

    def __init__(self, count: int, name: str) -> None:
        self._count = count
        self._name = name
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._lock = threading.Lock()  # guards what follows
        self._threads: list[threading.Thread] = []
        self._free = 0  # threads without a job, less the jobs that no thread has taken
        self._closed = False
        self._number = itertools.count()

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """Have a thread call a function."""
        future: Future[Any] = Future()
        with self._lock:
            if self._closed:
                raise GraphClosed(CLOSED)
            if self._free <= 0 and len(self._threads) < self._count:
                self._start()
            self._free -= 1
            self._jobs.put((future, function, arguments))
        return future

    def close(self) -> None:
        """End the threads as they get free; what waits fails."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            waiting = []
            while not self._jobs.empty():
                waiting.append(self._jobs.get())
            for _ in self._threads:
                self._jobs.put(None)
        for job in waiting:
            if job is not None and job[0].set_running_or_notify_cancel():
                job[0].set_exception(GraphClosed(CLOSED))

    def _start(self) -> None:
        thread = threading.Thread(target=self._work, name=f"{self._name}-{next(self._number)}", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the system has no more, or Python (from 3.12) is on its way out
            if not self._threads:
                raise
            return
        self._threads.append(thread)
        self._free += 1

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            future, function, arguments = job
            if future.set_running_or_notify_cancel():
                try:
                    result = function(*arguments)
                except BaseException as error:
                    settle(future, error=error)
                else:
                    settle(future, result)
                    result = None
            del job, future, function, arguments  # nothing is kept while it waits
            with self._lock:
                self._free += 1


def settle(future: Future[Any], result: Any = None, *, error: BaseException | None = None) -> None:
    """Give a future its result or exception."""
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)
