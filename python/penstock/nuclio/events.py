"""From Nuclio's events to those of a graph."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timezone
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from penstock.errors import BadRequest
from penstock.event import decode_body, is_json

if TYPE_CHECKING:
    from penstock._core import Event

_FORM = "application/x-www-form-urlencoded"  # what a plain `curl -d` says
_TIMEOUT = "X-Penstock-Timeout-Ms"
_LONGEST = 24 * 60 * 60 * 1000
_CALLED = ("http", "cron", "")  # the kinds of triggers that are no streams


def kind_of(event: Any) -> str:
    """Return the kind of an event's trigger."""
    return event.trigger.kind or ""


def is_stream(kind: str) -> bool:
    """Tell whether a trigger's events are a stream's: nobody waits for answers.

    Examples
    --------
    >>> is_stream("kafka-cluster"), is_stream("http"), is_stream("cron")
    (True, False, False)
    """
    return kind not in _CALLED


def text(value: Any) -> Any:
    """Make text of what Nuclio gives as bytes when it decodes no strings, or as the value of a Kafka header."""
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value


def is_raw(event: Any) -> bool:
    """Tell whether an event has bytes for strings; an empty path is a string even then."""
    return type(event.path) is bytes or type(event.trigger.kind) is bytes


def decode(event: Any) -> None:
    """Make texts of an event's bytes, as they are where NUCLIO_PYTHON_DECODE_EVENT_STRINGS is "disabled"."""
    for name in ("content_type", "id", "method", "path", "url", "type", "type_version", "version", "topic"):
        setattr(event, name, text(getattr(event, name)))
    event.trigger.kind, event.trigger.name = text(event.trigger.kind), text(event.trigger.name)
    event.headers, event.fields = headers_of(event), {text(key): text(value) for key, value in event.fields.items()}


def headers_of(event: Any) -> dict[str, str]:
    """Return an event's headers as text."""
    headers: Mapping[Any, Any] = event.headers or {}
    for key, value in headers.items():
        if type(key) is not str or type(value) is not str:
            return {str(text(name)): str(text(content)) for name, content in headers.items()}
    return dict(headers)


def body_of(body: Any, content_type: str) -> Any:
    """Read a body: bytes that are, or may be, JSON; what Nuclio has read before stays, as does any other type.

    Raises
    ------
    BadBody
        It was declared to be JSON, and is not.

    Examples
    --------
    >>> body_of(b'{"a": 1}', ""), body_of(b"[1]", "text/plain"), body_of({"a": 1}, "application/json"), body_of(b"", "")
    ({'a': 1}, b'[1]', {'a': 1}, None)
    """
    if not isinstance(body, (bytes, bytearray, memoryview)):
        return body
    if not body:
        return None
    raw = bytes(body)
    declared = is_json(content_type)
    if declared or not content_type or content_type.partition(";")[0] == _FORM:
        return decode_body(raw, declared)
    return raw


def path_of(event: Any) -> str:
    """Return the path with its query, which Nuclio takes apart."""
    path: str = event.path or "/"
    return f"{path}?{urlencode(event.fields)}" if event.fields else path


def timeout_of(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that a caller is ready to wait, if it says so.

    Raises
    ------
    BadRequest
        What it says is no number of milliseconds.
    """
    given = headers.get(_TIMEOUT)
    if given is None:
        return None
    if not (given.isascii() and given.isdigit() and 1 <= int(given) <= _LONGEST):
        raise BadRequest(f"{_TIMEOUT} is a whole number of milliseconds, 1 to {_LONGEST}")
    return int(given) / 1000


def called(make: type[Event], event: Any, kind: str, headers: dict[str, str], default_type: str | None) -> Event:
    """Make the graph's event of a request, or of the clock's.

    It gets an id of its own: Nuclio's is the same for all requests of a worker.
    """
    content_type = event.content_type or default_type or ""
    if kind == "cron" and not content_type:
        content_type = headers.get("Content-Type") or headers.get("content-type") or ""
    made = make(
        body_of(event.body, content_type),
        content_type=content_type,
        headers=headers,
        method=event.method,
        path=path_of(event),
        trigger=event.trigger,
    )
    made.fields = event.fields
    return made


def time_of(event: Any) -> dict[str, Any]:
    """Return when a record was written, as a field of an event; Nuclio's times are UTC and do not say so."""
    written = event.timestamp
    return {"time": written.replace(tzinfo=timezone.utc)} if hasattr(written, "tzinfo") else {}
