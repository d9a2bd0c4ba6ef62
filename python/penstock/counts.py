"""What the processes of a server have counted: plain dicts that add up.

Kept free of everything that takes time to load, for the process that only watches the others.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any

Counts = dict[str, Any]

_GAUGES = ("in_flight", "connections")  # what ends with its process, unlike what it has done


def added(first: Any, second: Any) -> Any:
    """Add two counts: numbers are added, lists element by element, dicts key by key; of texts the first counts.

    Examples
    --------
    >>> added({"a": 1, "b": [1, 2]}, {"a": 2, "b": [3, 4], "c": 5})
    {'a': 3, 'b': [4, 6], 'c': 5}
    """
    if isinstance(first, dict):
        return {key: _either(key, first, second) for key in [*first, *(key for key in second if key not in first)]}
    if isinstance(first, list):
        return [added(one, other) for one, other in zip(first, second, strict=True)]
    return first if isinstance(first, str) else first + second


def total(parts: Iterable[Counts]) -> Counts:
    """Add up the counts of several processes.

    Examples
    --------
    >>> total([{"refused": 1}, {"refused": 2}, {}])
    {'refused': 3}
    """
    whole: Counts = {}
    for part in parts:
        whole = added(whole, part)
    return whole


def remains(counts: Counts) -> Counts:
    """Return what counts of a process that has ended: what it has done, but not what it had at hand.

    Examples
    --------
    >>> remains({"refused": 3, "in_flight": 2, "steps": {"s": {"events": 5, "waiting": 1}}, "models": {"m": 1}})
    {'refused': 3, 'in_flight': 0, 'steps': {'s': {'events': 5, 'waiting': 0}}}
    """
    kept = {key: value for key, value in counts.items() if key not in ("processes", "models")}
    kept |= dict.fromkeys((name for name in _GAUGES if name in kept), 0)
    kept["steps"] = {name: {**step, "waiting": 0} for name, step in counts.get("steps", {}).items()}
    return kept


class History:
    """What all graphs of a server have counted, one after the other, so that no count ever falls. Thread-safe.

    Examples
    --------
    >>> history = History()
    >>> def first(): return {"refused": 2, "in_flight": 1, "steps": {}}
    >>> def second(): return {"refused": 3, "in_flight": 0, "steps": {}}
    >>> history.enters(first)
    >>> history.enters(second)
    >>> history.counts()
    {'refused': 5, 'in_flight': 1, 'steps': {}}
    >>> history.ended(first)
    >>> history.counts()
    {'refused': 5, 'in_flight': 0, 'steps': {}}
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards the next two
        self._ended: Counts = {}
        self._counting: list[Callable[[], Counts]] = []

    def enters(self, counts: Callable[[], Counts]) -> None:
        """Count what another graph does, too; those before it still count what they have to finish."""
        with self._lock:
            self._counting.append(counts)

    def ended(self, counts: Callable[[], Counts]) -> None:
        """Keep what a graph has counted in all."""
        with self._lock:
            self._counting.remove(counts)
            self._ended = total([self._ended, remains(counts())])

    def counts(self) -> Counts:
        """Return what all of them have counted."""
        with self._lock:
            return total([self._ended, *(counts() for counts in self._counting)])


def _either(key: str, first: dict[str, Any], second: dict[str, Any]) -> Any:
    if key not in second:
        return first[key]
    return added(first[key], second[key]) if key in first else second[key]
