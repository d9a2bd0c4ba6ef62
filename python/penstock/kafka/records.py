"""From Kafka messages to what a graph takes."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

from penstock.errors import BadBody

_NO_TIME = 0


def fields_of(message: Any) -> dict[str, Any]:
    """Return what an event has of its message beside the body."""
    fields: dict[str, Any] = {
        "offset": message.offset(),
        "shard_id": message.partition(),
        "stream_path": message.topic(),
        "trigger": "kafka",
    }
    if (key := message.key()) is not None:
        fields["key"] = _text(key)
    if headers := message.headers():
        fields["headers"] = {name: _text(part) for name, part in headers}
    kind, milliseconds = message.timestamp()
    if kind != _NO_TIME:
        fields["time"] = datetime.fromtimestamp(milliseconds / 1000, timezone.utc)
    return fields


def unread(message: Any, error: Exception) -> bytes:
    """Take a value that is not JSON as it is.

    Raises
    ------
    BadBody
        A header says that it is JSON.
    """
    if _says_json(dict(message.headers() or ())):
        raise BadBody(f"the record's value is not JSON: {error}") from None
    value: bytes = message.value()
    return value


def _says_json(headers: Mapping[str, Any]) -> bool:
    return "json" in str(_text(headers.get("content-type", "")))


def _text(value: Any) -> Any:
    """Return text for bytes that are text."""
    if not isinstance(value, bytes):
        return value
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value
