"""Steps that work on several events at once and send them on in the order in which they came."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any

from penstock.errors import GraphError
from penstock.resolve import is_async, nearest
from penstock.storey_steps.base import Port, Step, function_of, seconds, whole

_IN_FLIGHT = 8
_LONGEST_WAIT = 120.0  # seconds between two attempts
_LONGEST_ANSWER = 300.0  # seconds without a byte
_THREADS = ("asyncio", "thread_pool", "threading")
_PROCESSES = ("process_pool", "multiprocessing", "dedicated_process")
_MECHANISMS = (*_THREADS, *_PROCESSES, "naive")


@dataclasses.dataclass
class _Job:
    token: int
    event: Any
    future: Future[Any] | None = None


class Concurrent(Step):
    """The base of steps that work on several events at once.

    Parameters
    ----------
    max_in_flight : int, optional
        How many events at a time, 8 by default.
    retries : int, optional
        How often an event is tried again.
    backoff_factor : float, optional
        Seconds before the first further attempt, 1 by default; each later one waits twice as long, 120 at most.
    """

    def __init__(
        self,
        max_in_flight: int | None = None,
        retries: int | None = None,
        backoff_factor: float | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self._most = _IN_FLIGHT if max_in_flight is None else whole(max_in_flight, "max_in_flight", 1)
        self._retries = 0 if retries is None else whole(retries, "retries", 0)
        self._backoff = 1.0 if backoff_factor is None else seconds(backoff_factor, "backoff_factor")
        self._room = threading.Semaphore(self._most)
        self._lock = threading.RLock()  # guards the jobs, and that they go on in order
        self._jobs: deque[_Job] = deque()
        self._closing = threading.Event()
        self._executor: Executor | None = None

    def attempt(self, event: Any) -> Future[Any]:
        """Begin to work on an event."""
        raise TypeError(f"{type(self).__name__} does not say how it works on {type(event).__name__}")

    def completed(self, event: Any, result: Any) -> Any:
        """Return what goes on, None for nothing."""
        return self.put(event, result)

    def take(self, port: Port, token: int, event: Any) -> None:
        """Begin with one event; waits while as many are worked on as may be."""
        self._room.acquire()
        job = _Job(token, event)
        with self._lock:
            self._jobs.append(job)
        self._begin(port, job, 0)

    def finish(self, port: Port) -> None:  # noqa: ARG002  # the jobs have it
        """Wait until all is done."""
        for _ in range(self._most):
            self._room.acquire()
        for _ in range(self._most):
            self._room.release()

    def close(self) -> None:
        """End the workers."""
        self._closing.set()
        if self._executor is not None:
            self._executor.shutdown(wait=False, cancel_futures=True)

    def _begin(self, port: Port, job: _Job, attempts: int) -> None:
        try:
            future = self.attempt(job.event)
        except Exception as error:
            future = Future()
            future.set_exception(error)
        future.add_done_callback(lambda done: self._attempted(port, job, done, attempts))

    def _attempted(self, port: Port, job: _Job, done: Future[Any], attempts: int) -> None:
        failed = done.cancelled() or done.exception() is not None
        if failed and attempts < self._retries and not self._closing.is_set():
            pause = min(_LONGEST_WAIT, self._backoff * 2**attempts)
            timer = threading.Timer(pause, self._begin, (port, job, attempts + 1))
            timer.daemon = True
            timer.start()
            return
        with self._lock:
            job.future = done
            while self._jobs and self._jobs[0].future is not None:
                self._settle(port, self._jobs.popleft())
                self._room.release()

    def _settle(self, port: Port, job: _Job) -> None:
        if job.future is None:
            return
        try:
            made = self.completed(job.event, job.future.result())
        except BaseException as error:
            port.fail([job.token], error if isinstance(error, Exception) else RuntimeError(repr(error)))
            return
        if made is None:
            port.drop([job.token])
        else:
            port.emit([job.token], made)


class ConcurrentExecution(Concurrent):
    """Calls a function for several events at once.

    Parameters
    ----------
    event_processor : callable
        Gets the body (or event) and returns the new one; an async function runs on a loop, a plain one on threads.
    concurrency_mechanism : str, optional
        "asyncio", "thread_pool" (or "threading"), "process_pool" (or "multiprocessing"), "dedicated_process" or
        "naive", which is one after the other.
    pass_context : bool, optional
        Whether the function gets the context as its second argument.
    max_in_flight, retries, backoff_factor
        As for `Concurrent`.
    """

    def __init__(
        self,
        event_processor: Callable[..., Any],
        concurrency_mechanism: str | None = None,
        pass_context: bool | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self._processor = function_of(event_processor, "event_processor", "ConcurrentExecution")
        self._more = (self.context,) if pass_context else ()
        mechanism = str(getattr(concurrency_mechanism, "value", concurrency_mechanism) or "asyncio")
        if mechanism not in _MECHANISMS:
            raise GraphError(
                f"concurrency_mechanism is one of {', '.join(_MECHANISMS)}, not '{mechanism}'"
                f"{nearest(mechanism, _MECHANISMS)}"
            )
        if mechanism in _PROCESSES and (self.full_event or pass_context):
            raise GraphError(f'concurrency_mechanism="{mechanism}" goes with neither full_event nor pass_context')
        if mechanism in _PROCESSES and is_async(event_processor):
            raise GraphError(f'concurrency_mechanism="{mechanism}" takes a plain function, this one is async')
        self._naive = mechanism == "naive"
        if mechanism in _PROCESSES:
            import multiprocessing

            workers = 1 if mechanism == "dedicated_process" else self._most
            self._executor = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))
        elif not self._naive and not is_async(event_processor):
            self._executor = ThreadPoolExecutor(self._most, thread_name_prefix=f"penstock-{self.name}")

    def attempt(self, event: Any) -> Future[Any]:
        """Call the function."""
        element = self.element(event)
        if self._executor is not None:
            return self._executor.submit(self._processor, element, *self._more)
        result = self._processor(element, *self._more)
        if asyncio.iscoroutine(result):
            from penstock.engine import loop

            return asyncio.run_coroutine_threadsafe(result, loop.start())
        done: Future[Any] = Future()
        done.set_result(result)
        return done

    def completed(self, event: Any, result: Any) -> Any:
        """Make the result the event's body; None is a body like any other."""
        return self.put(event, result)


@dataclasses.dataclass
class HttpRequest:
    """What `SendToHttp` sends.

    Examples
    --------
    >>> HttpRequest("GET", "http://localhost/").headers
    {}
    """

    method: str
    url: str
    body: bytes | str | None = None
    headers: dict[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class HttpResponse:
    """What came back."""

    status: int
    body: str


class SendToHttp(Concurrent):
    """Joins each event with what a web server says.

    Parameters
    ----------
    request_builder : callable
        Gets the event, returns an `HttpRequest`.
    join_from_response : callable
        Gets the body and an `HttpResponse`, of any status, and returns the new body; None filters the event out.
    """

    def __init__(
        self,
        request_builder: Callable[[Any], Any],
        join_from_response: Callable[[Any, HttpResponse], Any],
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self._builder = function_of(request_builder, "request_builder", "SendToHttp")
        self._join = function_of(join_from_response, "join_from_response", "SendToHttp")
        self._executor = self._threads = ThreadPoolExecutor(self._most, thread_name_prefix=f"penstock-{self.name}")

    def attempt(self, event: Any) -> Future[Any]:
        """Send the request."""
        return self._threads.submit(_send, self._builder(event))

    def completed(self, event: Any, result: Any) -> Any:
        """Join the event with the response."""
        joined = self._join(event.body, result)
        return None if joined is None else self.put(event, joined)


def _send(request: Any) -> HttpResponse:
    import urllib.error
    import urllib.request

    if not str(request.url).startswith(("http://", "https://")):
        raise ValueError(f"a request goes to http:// or https://, not to {str(request.url).partition(':')[0]}:")
    body = request.body.encode() if isinstance(request.body, str) else request.body
    asked = urllib.request.Request(request.url, body, request.headers or {}, method=request.method)  # noqa: S310  # checked above
    try:
        with urllib.request.urlopen(asked, timeout=_LONGEST_ANSWER) as answer:  # noqa: S310  # checked above
            return HttpResponse(answer.status, answer.read().decode())
    except urllib.error.HTTPError as error:  # a status like any other
        with error:
            return HttpResponse(error.code, error.read().decode())
