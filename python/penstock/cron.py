"""Events by the clock: a trigger of the kind cron, outside Nuclio."""

from __future__ import annotations

import datetime
import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from penstock.errors import BadBody, GraphClosed, GraphError, QueueFull
from penstock.event import clone, decode_body, is_json

if TYPE_CHECKING:
    from penstock._core import Event

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_FIELDS = ((0, 59), (0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
_NAMES = {
    4: ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"],
    5: ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"],
}  # of months and of days of the week, by the place of the field
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
    """A cron schedule: minute, hour, day of the month, month, day of the week; Nuclio's may begin with seconds.

    Examples
    --------
    >>> at = datetime.datetime(2024, 1, 1, 12, 3)
    >>> Schedule("*/5 * * * *").after(at)
    datetime.datetime(2024, 1, 1, 12, 5)
    >>> Schedule("0 9 * * TUE-FRI").after(at)
    datetime.datetime(2024, 1, 2, 9, 0)
    >>> Schedule("*/10 * * * * *").after(at)
    datetime.datetime(2024, 1, 1, 12, 3, 10)
    """

    def __init__(self, text: str) -> None:
        words = text.split()
        if len(words) == 5:
            words = ["0", *words]
        if len(words) != 6:
            raise GraphError(
                f"a schedule has five fields ('*/5 * * * *'), or six that begin with seconds, not {text!r}"
            )
        try:
            self._allowed = [_values(word, place) for place, word in enumerate(words)]
        except ValueError:
            raise GraphError(f"the schedule {text!r} cannot be read") from None
        self._days_both = words[3] != "*" and words[5] != "*"

    def after(self, moment: datetime.datetime) -> datetime.datetime:
        """Return the first time after a moment that it names."""
        seconds = sorted(self._allowed[0])
        at = moment.replace(second=0, microsecond=0)
        later = [second for second in seconds if second > moment.second]
        if later and self._is_day(at) and at.hour in self._allowed[2] and at.minute in self._allowed[1]:
            return at.replace(second=later[0])
        end = at + _HORIZON
        while at < end:
            at += datetime.timedelta(minutes=1)
            if not self._is_day(at):
                at = at.replace(hour=23, minute=59)
            elif at.hour not in self._allowed[2]:
                at = at.replace(minute=59)
            elif at.minute in self._allowed[1]:
                return at.replace(second=seconds[0])
        raise GraphError("the schedule names no time")

    def _is_day(self, at: datetime.datetime) -> bool:
        days, months, weekdays = self._allowed[3:]
        weekday = at.isoweekday() % 7 in {day % 7 for day in weekdays}
        day = at.day in days
        return at.month in months and (day or weekday if self._days_both else day and weekday)


def _values(word: str, place: int) -> set[int]:
    low, high = _FIELDS[place]
    found: set[int] = set()
    for part in word.split(","):
        span, _, step = part.partition("/")
        first, dash, last = span.partition("-")
        start = low if span == "*" else _value(first, place)
        end = high if span == "*" or (step and not dash) else _value(last or first, place)
        if not low <= start <= end <= high or (step and int(step) < 1):
            raise ValueError(part)
        found.update(range(start, end + 1, int(step or 1)))
    return found


def _value(text: str, place: int) -> int:
    names = _NAMES.get(place, [])
    return names.index(text.upper()) + _FIELDS[place][0] if text.upper() in names else int(text)


class CronSource:
    """Submits an event at each time that a trigger names.

    Parameters
    ----------
    name : str
        The trigger's name.
    trigger : dict
        The trigger: `attributes` with a `schedule` or an `interval`, and an `event` with `body`, `headers`, `path` and
        `method`.
    submit : callable
        Takes the events.

    Raises
    ------
    GraphError
        Its times cannot be read, or its event's body is not the JSON that a header says it is.
    """

    def __init__(self, name: str, trigger: Mapping[str, Any], submit: Callable[[Event], None]) -> None:
        attributes = trigger.get("attributes") or {}
        event = attributes.get("event") or {}
        self._name = name
        self._headers = dict(event.get("headers") or {})
        self._path, self._method = str(event.get("path") or "/"), str(event.get("method") or "POST")
        try:
            self._body = _body(event.get("body"), self._headers)
            self._interval = seconds_of(str(attributes["interval"])) if attributes.get("interval") else None
            self._schedule = None if self._interval is not None else Schedule(str(attributes.get("schedule", "")))
        except (BadBody, GraphError) as error:
            raise GraphError(f"trigger '{name}': {error}") from None
        self._last: Any = None  # the time, or the number of the interval, that had its event
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

        event = Event(
            clone(self._body), headers=dict(self._headers), path=self._path, method=self._method, trigger=self._name
        )
        try:
            self._submit(event)
        except QueueFull:
            _logger.warning("trigger '%s': the graph is full, this time is left out", self._name)
        except GraphClosed:
            return False
        return True

    def _pause(self) -> float:
        """Return the seconds until the next time; a wait that ended a little early does not make one come twice."""
        if self._interval is not None:
            now = time.monotonic()
            self._last = max(int(now // self._interval), self._last or 0) + 1
            return max(0.0, float(self._last * self._interval - now))
        assert self._schedule is not None  # noqa: S101  # one of the two is set
        now_utc = datetime.datetime.now(datetime.timezone.utc)
        self._last = self._schedule.after(max(now_utc, self._last or now_utc))
        return max(0.0, float((self._last - now_utc).total_seconds()))


def _body(given: Any, headers: Mapping[str, Any]) -> Any:
    """Read the body of a trigger's event, as that of an HTTP request is read."""
    if not isinstance(given, (str, bytes)):
        return given
    raw = given.encode() if isinstance(given, str) else given
    content_type = next((str(value) for name, value in headers.items() if name.lower() == "content-type"), "")
    declared = is_json(content_type)
    if not raw:
        return None
    return decode_body(raw, declared) if declared or not content_type else raw
