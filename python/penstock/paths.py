"""Places in a body: "a.b" is ``body["a"]["b"]``, for steps that apply `input_path` and `result_path` themselves."""

from __future__ import annotations

from typing import Any


def get_in(body: Any, path: str | None) -> Any:
    """Return what is at a place; None if there is nothing, the body itself without a path.

    Examples
    --------
    >>> get_in({"a": {"b": 1}}, "a.b"), get_in({"a": 1}, "x.y"), get_in(5, None)
    (1, None, 5)
    """
    for key in path.split(".") if path else ():
        body = body.get(key) if isinstance(body, dict) else None
    return body


def put_in(body: Any, path: str | None, value: Any) -> Any:
    """Put a value at a place, and return the body; without a path the value is the body.

    Examples
    --------
    >>> put_in({"a": 1}, "b.c", 2), put_in({"a": 1}, None, 2)
    ({'a': 1, 'b': {'c': 2}}, 2)
    """
    if not path:
        return value
    if not isinstance(body, dict):
        raise TypeError(f"result_path={path} needs a dict as the body, not {type(body).__name__}")
    place = body
    *ahead, last = path.split(".")
    for key in ahead:
        if not isinstance(place.get(key), dict):
            place[key] = {}
        place = place[key]
    place[last] = value
    return body
