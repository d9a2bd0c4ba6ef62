"""The HTTP client of remote steps and streams: one pool of connections a step, attempts, and how they fail."""

from __future__ import annotations

import asyncio
import dataclasses
import email.utils
import logging
import random
import threading
import time
import urllib.parse
from collections.abc import Awaitable, Callable
from datetime import datetime, timezone
from typing import Any

from penstock.breaker import THRESHOLD, Breaker, RetryBudget
from penstock.errors import RemoteCut, RemoteError, RemoteTimeout, RemoteUnreachable
from penstock.extras import load_extra

_LONGEST_WAIT = 120.0  # seconds between two attempts
_LONGEST_EXCERPT = 500  # characters of a wrong answer that go into the error
_CLOSE_SECONDS = 1.0
_AGAIN = frozenset({408, 425, 429})  # these, and all from 500, may be answered otherwise the next time
_OUTAGE = _AGAIN | {502, 503, 504}  # these say nothing about what was sent
_LOOK_SECONDS = 1.0  # the longest that a call waits for a target before it looks again
_LEAST_WAIT = 0.05
_logger = logging.getLogger("penstock.remote")


def load_httpx(what: str) -> Any:
    """Import httpx; `what` says in the error who needs it."""
    return load_extra("httpx", "remote", what)


@dataclasses.dataclass
class Backoff:
    """How often and when to try again: the wait doubles from `factor` seconds to two minutes, with full jitter.

    Examples
    --------
    >>> backoff = Backoff(retries=3, factor=1.0, draw=lambda: 1.0)
    >>> [backoff.wait(attempt) for attempt in (0, 1, 2, 20)]
    [1.0, 2.0, 4.0, 120.0]
    """

    retries: int = 6
    factor: float = 1.0
    sleep: Callable[[float], Awaitable[Any]] = asyncio.sleep
    draw: Callable[[], float] = random.random

    def wait(self, attempt: int, asked: float = 0.0) -> float:
        """Return the seconds to wait after an attempt, counted from 0; the target may have asked for more."""
        longest = min(_LONGEST_WAIT, self.factor * 2.0 ** min(attempt, 32))
        return min(_LONGEST_WAIT, max(asked, longest * self.draw()))


@dataclasses.dataclass
class Request:
    """What is sent.

    Attributes
    ----------
    is_patient : bool
        Whether it waits for a target that is out, as there is a log that keeps what comes behind it.
    """

    method: str
    url: str
    headers: dict[str, str]
    content: bytes | None = None
    is_patient: bool = False


class HTTPClient:
    """Sends requests for a step, on the event loop, at most `max_in_flight` at once.

    Parameters
    ----------
    step : str
        The step's name, for errors.
    max_in_flight : int
        How many requests may run at once; as many connections are kept.
    timeout : float, optional
        Seconds for an attempt as a whole, from the connection to the last byte of the answer.
    backoff : Backoff
        When to try again.
    """

    def __init__(self, step: str, *, max_in_flight: int, timeout: float | None, backoff: Backoff) -> None:
        self._httpx = load_httpx(f"step '{step}'")
        self._step = step
        self._timeout = timeout
        self.backoff = backoff
        self.clock = time.monotonic
        self._targets: dict[str, tuple[Breaker, RetryBudget]] = {}
        self._room = asyncio.Semaphore(max_in_flight)
        self._limits = self._httpx.Limits(max_connections=max_in_flight, max_keepalive_connections=max_in_flight)
        self._lock = threading.Lock()  # guards _client and _loop: they are closed from another thread
        self._client: Any = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def send(self, request: Request) -> Any:
        """Send a request until it is answered well, or can no longer be; return the answer, read in full.

        Raises
        ------
        RemoteError
            What went wrong at the last attempt, or that the target is out.
        """
        breaker, budget = self._known_of(request.url)
        budget.calls += 1
        try:
            return await self._send(request, breaker, budget)
        finally:
            budget.calls -= 1

    async def _send(self, request: Request, breaker: Breaker, budget: RetryBudget) -> Any:
        attempt = 0
        while True:
            if request.is_patient or attempt == 0:
                await self._enter(request, breaker)
            try:
                answer, failure, asked = await self._judged(request, breaker)
            finally:
                if attempt > 0:
                    budget.give_back()
            if failure is None:
                return answer
            if not _may_pass(failure):
                raise failure
            is_borne = request.is_patient and (failure.answered is None or failure.answered in _OUTAGE)
            if is_borne and breaker.is_open:
                attempt = 0  # it is not the event's fault
                continue
            if attempt >= max(self.backoff.retries, THRESHOLD if is_borne else 0):
                raise failure
            await self._rest(attempt, asked, budget)
            attempt += 1

    async def _judged(self, request: Request, breaker: Breaker) -> tuple[Any, RemoteError | None, float]:
        """Make an attempt, and tell the breaker; return the answer, what is wrong, and the pause it asks for."""
        answer, failure, asked = None, None, 0.0
        try:
            answer = await self._attempt(request)
        except RemoteError as error:
            failure = error
        except BaseException:
            breaker.give_up()
            raise
        else:
            if not answer.is_success:
                said = f"bad http response {answer.status_code}: {answer.text[:_LONGEST_EXCERPT]}"
                failure = RemoteError(said, answered=answer.status_code)
                asked = _seconds_asked(answer.headers.get("retry-after"))
        if isinstance(failure, (RemoteTimeout, RemoteUnreachable)) or (
            answer is not None and answer.status_code >= 500
        ):
            breaker.fail(asked)
        elif answer is None:
            breaker.give_up()  # it could not even be sent
        else:
            breaker.succeed()
        return answer, failure, asked

    async def _enter(self, request: Request, breaker: Breaker) -> None:
        """Wait until the target may be asked; who does not wait is told when to come again."""
        while wait := breaker.admit():
            if not request.is_patient:
                raise RemoteCut(
                    f"{shown(request.url)} has failed {breaker.threshold} times in a row: it is not asked for now",
                    retry_after=wait,
                )
            await self.backoff.sleep(min(wait, _LOOK_SECONDS))

    async def _rest(self, attempt: int, asked: float, budget: RetryBudget) -> None:
        wait = self.backoff.wait(attempt, asked)
        _logger.debug("step '%s': attempt %d failed, the next is in %.2f s", self._step, attempt + 1, wait)
        await self.backoff.sleep(wait)
        while not budget.take():
            await self.backoff.sleep(max(wait, _LEAST_WAIT))

    def _known_of(self, url: str) -> tuple[Breaker, RetryBudget]:
        parts = urllib.parse.urlsplit(url)
        target = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
        if target not in self._targets:
            self._targets[target] = (Breaker(f"step '{self._step}': {target}", clock=self.clock), RetryBudget())
        return self._targets[target]

    async def _attempt(self, request: Request) -> Any:
        async with self._room:
            client = self._open()
            sending = client.request(request.method, request.url, headers=request.headers, content=request.content)
            try:
                return await asyncio.wait_for(sending, self._timeout)
            except (asyncio.TimeoutError, self._httpx.TimeoutException):
                raise RemoteTimeout(
                    f"http request to {shown(request.url)} timed out in RemoteStep {self._step} after {self._timeout} s"
                ) from None
            except (self._httpx.InvalidURL, self._httpx.LocalProtocolError) as error:
                raise RemoteError(f"cannot invoke url: {shown(request.url)}, {error}") from error
            except self._httpx.HTTPError as error:
                raise RemoteUnreachable(
                    f"cannot invoke url: {shown(request.url)}, {type(error).__name__}: {error}"
                ) from error

    def _open(self) -> Any:
        loop = asyncio.get_running_loop()
        with self._lock:
            if self._client is None or self._loop is not loop:
                self._client = self._httpx.AsyncClient(timeout=None, limits=self._limits, follow_redirects=False)
                self._loop = loop
            return self._client

    def close(self) -> None:
        """Close the connections; any thread, and more than once. A later request opens new ones."""
        with self._lock:
            client, loop, self._client, self._loop = self._client, self._loop, None, None
        if client is None or loop is None or loop.is_closed() or not loop.is_running():
            return
        closing = asyncio.run_coroutine_threadsafe(client.aclose(), loop)
        if _running_loop() is loop:
            return  # it is closed when this returns to the loop
        try:
            closing.result(_CLOSE_SECONDS)
        except Exception as error:  # the connections go with the process
            _logger.debug("step '%s': its connections did not close: %r", self._step, error)


def _may_pass(failure: RemoteError) -> bool:
    """Tell whether the next attempt may end otherwise."""
    if isinstance(failure, (RemoteTimeout, RemoteUnreachable)):
        return True
    return failure.answered is not None and (failure.answered >= 500 or failure.answered in _AGAIN)


def shown(url: str) -> str:
    """Leave out what may be secret in a URL: user, password and query.

    Examples
    --------
    >>> shown("https://user:password@host:8443/a?token=x")
    'https://host:8443/a'
    """
    scheme, separator, rest = url.partition("?")[0].partition("#")[0].rpartition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}{separator}{host.rpartition('@')[2]}{slash}{path}"


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _seconds_asked(value: str | None) -> float:
    """Read Retry-After: seconds, or a date."""
    if not value:
        return 0.0
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        when = email.utils.parsedate_to_datetime(value)
    except (TypeError, ValueError):
        return 0.0
    if when.tzinfo is None:
        when = when.replace(tzinfo=timezone.utc)
    return max(0.0, (when - datetime.now(timezone.utc)).total_seconds())
