"""What a client knows of a target that it calls: whether it is out, and how many retries it can bear."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable

THRESHOLD = 5  # failures in a row
_SECONDS = 30.0
_LONGEST = 120.0  # seconds that a target may ask for
_LOOK = 1.0  # seconds until those who wait for a probe look again
_LEAST_RETRIES = 3
_SHARE = 5  # one call of so many may be a retry
_logger = logging.getLogger("penstock.remote")


@dataclasses.dataclass
class Breaker:
    """Opens when a target has failed so many times in a row; then one call at a time probes it. For one thread.

    Examples
    --------
    >>> breaker = Breaker("host", threshold=2, seconds=30.0, clock=lambda: 0.0)
    >>> breaker.fail(), breaker.admit()
    (None, 0.0)
    >>> breaker.fail(), breaker.admit(), breaker.is_open
    (None, 30.0, True)
    >>> breaker.succeed(), breaker.admit()
    (None, 0.0)
    """

    target: str
    threshold: int = THRESHOLD
    seconds: float = _SECONDS
    clock: Callable[[], float] = time.monotonic
    _failures: int = 0
    _open_until: float | None = None
    _is_probed: bool = False

    @property
    def is_open(self) -> bool:
        """Whether the target counts as out."""
        return self._open_until is not None

    def admit(self) -> float:
        """Ask for a call: 0.0 if it may be made, else the seconds after which to ask again."""
        if self._open_until is None:
            return 0.0
        left = self._open_until - self.clock()
        if left > 0.0:
            return left
        if self._is_probed:
            return _LOOK
        self._is_probed = True
        return 0.0

    def succeed(self) -> None:
        """Hear of a call that the target has answered."""
        if self._open_until is not None:
            _logger.info("%s answers again", self.target)
        self._failures, self._open_until, self._is_probed = 0, None, False

    def fail(self, asked: float = 0.0) -> None:
        """Hear of a call that has failed; the target may have asked for a pause of so many seconds."""
        self._failures += 1
        if self._failures < self.threshold or (self._open_until is not None and not self._is_probed):
            return
        pause = min(_LONGEST, max(self.seconds, asked))
        if self._open_until is None:
            _logger.warning(
                "%s has failed %d times in a row: nothing is sent for %g s", self.target, self._failures, pause
            )
        self._open_until, self._is_probed = self.clock() + pause, False

    def give_up(self) -> None:
        """Hear of a call that nobody waited for to the end."""
        self._is_probed = False


@dataclasses.dataclass
class RetryBudget:
    """Keeps retries a small part of all calls, so that they do not keep down a target that is struggling.

    Examples
    --------
    >>> budget = RetryBudget(calls=10)
    >>> [budget.take() for _ in range(4)]
    [True, True, True, False]
    """

    calls: int = 0  # under way, those that wait for their next attempt, too
    retries: int = 0  # under way

    def take(self) -> bool:
        """Ask for a retry; one that was granted is to be given back."""
        if self.retries >= max(_LEAST_RETRIES, self.calls // _SHARE):
            return False
        self.retries += 1
        return True

    def give_back(self) -> None:
        """Hear of the end of a retry."""
        self.retries -= 1
