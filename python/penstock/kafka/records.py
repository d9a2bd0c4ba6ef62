"""From Kafka messages to what a graph takes."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from penstock.errors import BadBody

if TYPE_CHECKING:
    from penstock._core import Offsets

_NO_TIME = 0


class Reader:
    """Makes of messages the records that `_core.Source.admit` takes. For one thread."""

    def __init__(self) -> None:
        import orjson

        self._loads, self._mistake = orjson.loads, orjson.JSONDecodeError
        self._milliseconds = -1
        self._time: datetime | None = None

    def record_of(self, message: Any, offsets: Offsets) -> tuple[Any, ...]:
        """Make a record of a message.

        Raises
        ------
        BadBody
            A header says that the value is JSON, and it is not.
        """
        # This runs for each record of a stream, so it makes few objects and calls.
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
        if headers:
            fields["headers"] = {name: _text(part) for name, part in headers}
        kind, milliseconds = message.timestamp()
        if kind != _NO_TIME:
            if milliseconds != self._milliseconds:  # many have come in the same millisecond
                self._milliseconds = milliseconds
                self._time = datetime.fromtimestamp(milliseconds / 1000, timezone.utc)
            fields["time"] = self._time
        if not value:
            return offsets, offset, value, fields, key, message, 0
        try:
            body = self._loads(value)
        except self._mistake as error:
            if headers and _says_json(fields["headers"]):
                raise BadBody(f"the record's value is not JSON: {error}") from None
            body = value
        return offsets, offset, body, fields, key, message, len(value)


def _says_json(headers: Mapping[str, Any]) -> bool:
    return "json" in str(headers.get("content-type", ""))


def _text(value: Any) -> Any:
    """Return text for bytes that are text."""
    if not isinstance(value, bytes):
        return value
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value
