"""Streams: where records go that leave a graph, by the scheme of a path.

| path | where its records go |
|---|---|
| ``""``, ``None``, ``memory://name`` | a list in this process; the name makes it one list for all who open it |
| ``dummy://`` | a list of its own, for tests |
| ``file://...``, a path that ends in ``.jsonl``, ``.ndjson`` or ``.json`` | a file of JSON lines |
| ``http://...``, ``https://...`` | a POST of JSON for each record |
| ``kafka://host:port/topic`` | a Kafka topic, through confluent-kafka |
| ``v3io://...``, any other path | a V3IO stream, through the v3io package |

Further kinds are added with `register`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, Protocol

from penstock.errors import GraphError
from penstock.resolve import nearest

__all__ = ["OutputStream", "open_stream", "register", "scheme_of", "schemes"]

Factory = Callable[..., "OutputStream"]

_LINES = (".jsonl", ".ndjson", ".json")
_factories: dict[str, Factory | str] = {  # "module:class" until it is first needed
    "dummy": "penstock.streams.memory:open_dummy",
    "file": "penstock.streams.lines:FileStream",
    "http": "penstock.streams.http:HTTPStream",
    "https": "penstock.streams.http:HTTPStream",
    "kafka": "penstock.streams.kafka:KafkaStream",
    "memory": "penstock.streams.memory:open_memory",
    "v3io": "penstock.streams.v3io:V3IOStream",
}


class OutputStream(Protocol):
    """Takes records; every call may come from any thread."""

    def push(self, records: Any, key: Any = None) -> None:
        """Put records at the end; return when they are there, raise if they are not.

        Parameters
        ----------
        records : list or object
            A list of records, or one that is no list. A record is what JSON can say, or bytes.
        key : str or bytes, optional
            Records of one key stay in order, where the stream has partitions.
        """

    def close(self) -> None:
        """Let go of files and connections."""


def scheme_of(path: str | None) -> str:
    """Say which kind of stream a path names.

    Examples
    --------
    >>> [scheme_of(path) for path in (None, "kafka://host/topic", "out/rows.jsonl", "users/me/stream")]
    ['memory', 'kafka', 'file', 'v3io']
    """
    if not path:
        return "memory"
    scheme, separator, _ = path.partition("://")
    if separator:
        return scheme.lower()
    return "file" if path.lower().endswith(_LINES) else "v3io"


def schemes() -> list[str]:
    """List the kinds of streams that there are."""
    return sorted(_factories)


def register(scheme: str, factory: Factory) -> None:
    """Add a kind of stream, or replace one: `factory(path, **options)` opens it.

    Examples
    --------
    >>> from penstock.streams.memory import MemoryStream
    >>> register("docs", lambda path, **options: MemoryStream())
    >>> stream = open_stream("docs://anything")
    >>> stream.push([1, 2])
    >>> stream.event_list
    [1, 2]
    """
    _factories[scheme.lower()] = factory


def open_stream(path: str | None, **options: Any) -> OutputStream:
    """Open the stream that a path names.

    Parameters
    ----------
    path : str or None
        The path; its scheme decides the kind.
    **options
        What the kind of stream takes beside its path.

    Raises
    ------
    GraphError
        There is no such kind of stream, or it cannot be opened.

    Examples
    --------
    >>> stream = open_stream("dummy://")
    >>> stream.push({"n": 1})
    >>> stream.event_list
    [{'n': 1}]
    """
    scheme = scheme_of(path)
    factory = _factories.get(scheme)
    if factory is None:
        known = ", ".join(f"{name}://" for name in sorted(_factories))
        raise GraphError(
            f"there is no kind of stream '{scheme}://'; there are {known}{nearest(scheme, _factories)}; "
            "penstock.streams.register adds one"
        )
    if isinstance(factory, str):
        module, _, name = factory.partition(":")
        loaded: Factory = getattr(importlib.import_module(module), name)
        factory = _factories[scheme] = loaded
    return factory(path or "", **options)
