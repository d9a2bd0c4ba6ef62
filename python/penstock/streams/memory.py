"""Streams in this process."""

from __future__ import annotations

import threading
from typing import Any

from penstock.errors import GraphError, QueueFull
from penstock.streams.records import as_list

_CAPACITY = 1_000_000  # records
_lock = threading.Lock()  # guards _named
_named: dict[str, MemoryStream] = {}


class MemoryStream:
    """A list that keeps what is pushed, until `take` takes it away.

    Parameters
    ----------
    capacity : int
        How many records it holds; a push of more raises `QueueFull` and takes none of them.

    Examples
    --------
    >>> stream = MemoryStream()
    >>> stream.push(["a", "b"])
    >>> stream.take(1), stream.event_list
    (['a'], ['b'])
    """

    def __init__(self, capacity: int = _CAPACITY) -> None:
        if capacity < 1:
            raise GraphError(f"a stream in memory holds at least one record, not {capacity}")
        self.event_list: list[Any] = []
        self.capacity = capacity
        self._lock = threading.Lock()  # guards event_list

    def push(self, records: Any, key: Any = None) -> None:  # noqa: ARG002  # it has no partitions
        """Put records at the end."""
        added = as_list(records)
        with self._lock:
            if len(self.event_list) + len(added) > self.capacity:
                raise QueueFull(f"the stream in memory is full, it holds {self.capacity} records")
            self.event_list.extend(added)

    def take(self, limit: int | None = None) -> list[Any]:
        """Remove the oldest records, at most `limit`, and return them."""
        with self._lock:
            taken = self.event_list[:limit]
            del self.event_list[: len(taken)]
        return taken

    def close(self) -> None:
        """Keep the records: they are read after the graph has ended."""


def open_memory(path: str = "", *, capacity: int = _CAPACITY, **_: Any) -> MemoryStream:
    """Open the stream of that name: the same one for all; a path without a name opens a new one.

    Examples
    --------
    >>> open_memory("memory://orders") is open_memory("memory://orders"), open_memory() is open_memory()
    (True, False)
    """
    name = path.partition("://")[2]
    if not name:
        return MemoryStream(capacity)
    with _lock:
        return _named.setdefault(name, MemoryStream(capacity))


def open_dummy(path: str = "", **_: Any) -> MemoryStream:  # noqa: ARG001  # each one is for itself
    """Open a new stream, whatever the path."""
    return MemoryStream()
