"""Events and responses: what goes through a graph and what may come out.

`Event` itself is the core's type; it is loaded the first time somebody asks for it.
"""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any

from penstock.errors import BadBody

if TYPE_CHECKING:
    from penstock._core import DROPPED, Event

    MockEvent = Event

__all__ = ["DROPPED", "Event", "MockEvent", "Response", "clone", "decode_body"]

_ATOMS = frozenset({type(None), bool, int, float, complex, str, bytes})


def __getattr__(name: str) -> Any:
    if name in ("Event", "MockEvent"):
        from penstock._core import Event

        return Event
    if name == "DROPPED":  # what a handler returns to have its event filtered out
        from penstock._core import DROPPED

        return DROPPED
    raise AttributeError(f"module 'penstock.event' has no attribute '{name}'")


class Response:
    """An answer with its own status, headers and content type.

    A step that returns one decides what the caller gets.

    Examples
    --------
    >>> Response(body="made", status_code=201).status_code
    201
    """

    __slots__ = ("body", "content_type", "headers", "status_code")

    def __init__(
        self,
        headers: dict[str, str] | None = None,
        body: Any = None,
        content_type: str = "text/plain",
        status_code: int = 200,
    ) -> None:
        self.headers = headers or {}
        self.body = body
        self.content_type = content_type
        self.status_code = status_code

    def __repr__(self) -> str:
        return (
            f"Response(headers={self.headers!r}, body={self.body!r}, "
            f"content_type={self.content_type!r}, status_code={self.status_code!r})"
        )


def decode_body(raw: bytes | str, declared_json: bool) -> Any:
    """Read a body as JSON; one that was not declared to be JSON stays as it came if it is not.

    Raises
    ------
    BadBody
        The body was declared to be JSON and is not.

    Examples
    --------
    >>> decode_body(b'{"a": 1}', True)
    {'a': 1}
    >>> decode_body(b"plain text", False)
    b'plain text'
    """
    import orjson  # here, not above: a graph that is being built needs no JSON

    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        if not declared_json:
            return raw
        fault = str(error)
    try:
        json.loads(raw)  # its texts say where and why in words that people know
    except ValueError as error:
        fault = str(error)
    except RecursionError:
        pass  # what orjson says will do
    raise BadBody(f"failed to json decode event, {fault}")


def is_json(content_type: str | None) -> bool:
    """Tell whether a content type declares JSON.

    Examples
    --------
    >>> is_json("application/json; charset=utf-8"), is_json("text/plain"), is_json(None)
    (True, False, False)
    """
    if not content_type:
        return False
    media_type = content_type.partition(";")[0].strip().lower()
    return media_type in ("application/json", "json") or media_type.endswith("+json")


def clone(body: Any) -> Any:
    """Copy a body for one more branch: all that can be changed is new.

    Examples
    --------
    >>> body = {"rows": [[1, 2]]}
    >>> copied = clone(body)
    >>> copied == body, copied["rows"][0] is body["rows"][0]
    (True, False)
    """
    kind = type(body)
    if kind in _ATOMS:
        return body
    if kind is dict:
        return {key: value if type(value) in _ATOMS else clone(value) for key, value in body.items()}
    if kind is list:
        return [value if type(value) in _ATOMS else clone(value) for value in body]
    return copy.deepcopy(body)
