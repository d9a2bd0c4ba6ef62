"""From a Kafka message to what a graph takes."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from penstock.errors import BadBody

if TYPE_CHECKING:
    from penstock._core import Offsets

_NO_TIME = 0


def record_of(message: Any, offsets: Offsets) -> tuple[Any, ...]:
    """Make the record that `_core.Source.admit` takes.

    Raises
    ------
    BadBody
        A header says that the value is JSON, and it is not.
    """
    value, key, headers = message.value(), message.key(), message.headers()
    offset = message.offset()
    fields: dict[str, Any] = {
        "offset": offset,
        "shard_id": message.partition(),
        "stream_path": message.topic(),
        "trigger": "kafka",
    }
    if key is not None:
        key = fields["key"] = _text(key)
    declared = False
    if headers:
        named = fields["headers"] = {name: _text(part) for name, part in headers}
        declared = "json" in str(named.get("content-type", ""))
    kind, milliseconds = message.timestamp()
    if kind != _NO_TIME:
        fields["time"] = datetime.fromtimestamp(milliseconds / 1000, timezone.utc)
    return offsets, offset, _body(value, declared=declared), fields, key, message, len(value or b"")


def _body(value: bytes | None, *, declared: bool) -> Any:
    import orjson

    if not value:
        return value
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError as error:
        if declared:
            raise BadBody(f"the record's value is not JSON: {error}") from None
        return value


def _text(value: Any) -> Any:
    """Return text for bytes that are text."""
    if not isinstance(value, bytes):
        return value
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value
