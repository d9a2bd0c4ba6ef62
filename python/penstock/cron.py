"""Events by the clock: a trigger of the kind cron, outside Nuclio."""

from __future__ import annotations

import datetime
import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from penstock.errors import GraphClosed, GraphError, QueueFull

if TYPE_CHECKING:
    from penstock._core import Event

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_FIELDS = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
_HORIZON = datetime.timedelta(days=9 * 366)  # a schedule may name the 29th of February, which 2100 has not
_logger = logging.getLogger("penstock")


def seconds_of(interval: str) -> float:
    """Read an interval as Nuclio writes it.

    Examples
    --------
    >>> seconds_of("30s"), seconds_of("1h30m"), seconds_of("500ms")
    (30.0, 5400.0, 0.5)
    """
    total, number = 0.0, ""
    rest = interval.strip()
    while rest:
        unit = next((unit for unit in ("ms", "s", "m", "h") if number and rest.startswith(unit)), None)
        if unit is None:
            number, rest = number + rest[0], rest[1:]
            continue
        try:
            total += float(number) * _UNITS[unit]
        except ValueError:
            break
        number, rest = "", rest[len(unit) :]
    if number or rest or total <= 0:
        raise GraphError(f"an interval is a number with ms, s, m or h ('30s', '1h30m'), not {interval!r}")
    return total


class Schedule:
    """A cron schedule: minute, hour, day of the month, month, day of the week.

    Examples
    --------
    >>> at = datetime.datetime(2024, 1, 1, 12, 3)
    >>> Schedule("*/5 * * * *").after(at)
    datetime.datetime(2024, 1, 1, 12, 5)
    >>> Schedule("0 9 * * 1-5").after(at)
    datetime.datetime(2024, 1, 2, 9, 0)
    """

    def __init__(self, text: str) -> None:
        words = text.split()
        if len(words) == 6:  # Nuclio's may begin with seconds
            words = words[1:]
        if len(words) != 5:
            raise GraphError(f"a schedule has five fields ('*/5 * * * *'), not {text!r}")
        try:
            self._allowed = [_values(word, *bounds) for word, bounds in zip(words, _FIELDS, strict=True)]
        except ValueError:
            raise GraphError(f"the schedule {text!r} cannot be read") from None
        self._days_both = words[2] != "*" and words[4] != "*"

    def after(self, moment: datetime.datetime) -> datetime.datetime:
        """Return the first minute after a moment that it names."""
        at = moment.replace(second=0, microsecond=0)
        end = at + _HORIZON
        while at < end:
            at += datetime.timedelta(minutes=1)
            if not self._is_day(at):
                at = at.replace(hour=23, minute=59)
            elif at.hour not in self._allowed[1]:
                at = at.replace(minute=59)
            elif at.minute in self._allowed[0]:
                return at
        raise GraphError("the schedule names no time")

    def _is_day(self, at: datetime.datetime) -> bool:
        _, _, days, months, weekdays = self._allowed
        weekday = at.isoweekday() % 7 in {day % 7 for day in weekdays}
        day = at.day in days
        return at.month in months and (day or weekday if self._days_both else day and weekday)


def _values(word: str, low: int, high: int) -> set[int]:
    found: set[int] = set()
    for part in word.split(","):
        span, _, step = part.partition("/")
        first, dash, last = span.partition("-")
        start = low if span == "*" else int(first)
        end = high if span == "*" or (step and not dash) else int(last or first)
        if not low <= start <= end <= high or (step and int(step) < 1):
            raise ValueError(part)
        found.update(range(start, end + 1, int(step or 1)))
    return found


class CronSource:
    """Submits an event at each time that a trigger names.

    Parameters
    ----------
    name : str
        The trigger's name.
    trigger : dict
        The trigger: `attributes` with a `schedule` or an `interval`, and an `event` with `body` and `headers`.
    submit : callable
        Takes the events.
    """

    def __init__(self, name: str, trigger: Mapping[str, Any], submit: Callable[[Event], None]) -> None:
        attributes = trigger.get("attributes") or {}
        event = attributes.get("event") or {}
        self._name = name
        self._body, self._headers = event.get("body"), dict(event.get("headers") or {})
        self._interval = seconds_of(str(attributes["interval"])) if attributes.get("interval") else None
        self._schedule = None if self._interval is not None else Schedule(str(attributes.get("schedule", "")))
        self._submit = submit
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"penstock-cron-{name}", daemon=True)

    def start(self) -> None:
        """Begin; the first event comes at the first time, not before."""
        self._thread.start()

    def halt(self) -> None:
        """Submit nothing more."""
        self._ended.set()

    def close(self) -> None:
        """Wait for the event that is just being submitted."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join(1.0)

    def _run(self) -> None:
        while not self._ended.wait(self._pause()) and self._fire():
            pass

    def _fire(self) -> bool:
        """Submit one event; tell whether the graph still takes any."""
        from penstock._core import Event

        try:
            self._submit(Event(self._body, headers=self._headers, method="POST", trigger=self._name))
        except QueueFull:
            _logger.warning("trigger '%s': the graph is full, this time is left out", self._name)
        except GraphClosed:
            return False
        return True

    def _pause(self) -> float:
        """Return the seconds until the next time."""
        if self._interval is not None:
            now = time.monotonic()
            return self._interval - now % self._interval
        assert self._schedule is not None  # noqa: S101  # one of the two is set
        now_utc = datetime.datetime.now(datetime.timezone.utc)
        return max(0.0, (self._schedule.after(now_utc) - now_utc).total_seconds())
