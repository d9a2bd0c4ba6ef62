"""What a record looks like: the wrapper that keeps an event's key and id, and how bytes are written as JSON."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from penstock._core import Event

_MARK = "full_event_wrapper"
_BYTES = "base64"
OPTIONS = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS


def as_list(records: Any) -> list[Any]:
    """Return the records of a push; a tuple is one record, a list is several.

    Examples
    --------
    >>> as_list({"n": 1}), as_list([1, 2])
    ([{'n': 1}], [1, 2])
    """
    return records if isinstance(records, list) else [records]


def wrap(event: Event) -> dict[str, Any]:
    """Make the record that keeps an event's key and id beside its body, as MLRun writes it.

    Examples
    --------
    >>> from penstock import Event
    >>> wrap(Event(7, event_id="x9", key="k"))
    {'full_event_wrapper': True, 'body': 7, 'key': 'k', 'id': 'x9'}
    """
    return {_MARK: True, "body": event.body, "key": event.key, "id": event.id}


def unwrap(event: Event) -> bool:
    """Take an event out of the record that `wrap` made of it; tell whether it was one.

    Examples
    --------
    >>> from penstock import Event
    >>> event = Event({"full_event_wrapper": True, "body": 7, "id": "x9"})
    >>> unwrap(event), event.body, event.id
    (True, 7, 'x9')
    """
    record = event.body
    if not isinstance(record, dict) or not record.get(_MARK):
        return False
    event.body = _restored(record.get("body"))
    if record.get("key"):
        event.key = record["key"]
    if record.get("id"):
        event.id = record["id"]
    return True


def to_json(record: Any) -> bytes:
    """Write a record as JSON on one line; bytes, which JSON has not, as ``{"base64": "..."}``.

    Examples
    --------
    >>> to_json({"body": b"ab"})
    b'{"body":{"base64":"YWI="}}'
    """
    return orjson.dumps(record, plain, OPTIONS)


def as_bytes(record: Any) -> bytes:
    """Write a record for a stream of bytes: bytes and text as they are, everything else as JSON.

    Examples
    --------
    >>> as_bytes("text"), as_bytes({"n": 1})
    (b'text', b'{"n":1}')
    """
    if isinstance(record, bytes):
        return record
    return record.encode() if isinstance(record, str) else to_json(record)


def plain(value: Any) -> Any:
    """Return what JSON takes in place of a value that it does not take."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        return {_BYTES: base64.b64encode(value).decode()}
    if isinstance(value, (set, frozenset)):
        return list(value)
    if hasattr(value, "tolist"):  # a NumPy value of a kind that orjson does not write
        return value.tolist()
    raise TypeError(f"a {type(value).__name__} cannot be written as JSON")


def _restored(body: Any) -> Any:
    if isinstance(body, dict) and body.keys() == {_BYTES}:
        try:
            return base64.b64decode(body[_BYTES], validate=True)
        except (TypeError, ValueError, binascii.Error):
            return body  # somebody's own field of that name
    return body
