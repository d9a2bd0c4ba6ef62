"""Answers on the wire: what a graph returns, as status, content type, headers and bytes."""

from __future__ import annotations

from typing import Any

import orjson

from penstock.tensors import in_json

_OPTIONS = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS
Rendered = tuple[int, str, dict[str, str] | None, bytes]


def render(body: Any) -> Rendered:
    """Render an answer: text and bytes as they are, a `Response` as it says, everything else as JSON.

    Raises
    ------
    TypeError
        The body, or something in it, has no JSON form.
    ValueError
        A `Response` has a status that is no end of a request.

    Examples
    --------
    >>> render({"a": [1, 2.5, None]})
    (200, 'application/json', None, b'{"a":[1,2.5,null]}')
    >>> render("hello")
    (200, 'text/plain', None, b'hello')
    """
    if isinstance(body, str):
        return 200, "text/plain", None, body.encode("utf-8", "surrogateescape")
    if isinstance(body, (bytes, bytearray)):
        return 200, "application/octet-stream", None, bytes(body)
    if hasattr(body, "status_code") and hasattr(body, "body"):  # penstock's, MLRun's or Nuclio's Response
        return _render_response(body)
    if type(body) is dict and "outputs" in body:
        body = in_json(body)
    return 200, "application/json", None, orjson.dumps(body, default=_plain, option=_OPTIONS)


def _render_response(response: Any) -> Rendered:
    content = response.body
    content_type = getattr(response, "content_type", None) or "text/plain"
    if content is None:
        data = b""
    elif isinstance(content, (str, bytes, bytearray)):
        data = content.encode("utf-8", "surrogateescape") if isinstance(content, str) else bytes(content)
    else:
        data = orjson.dumps(content, default=_plain, option=_OPTIONS)
        content_type = "application/json" if content_type == "text/plain" else content_type
    headers = getattr(response, "headers", None) or {}
    status = int(response.status_code)
    if not 200 <= status <= 599:
        raise ValueError(f"a Response has a status of 200 to 599, not {status}")
    return status, str(content_type), {str(key): str(value) for key, value in headers.items()}, data


def _plain(value: Any) -> Any:
    """Make JSON of what is not: arrays that orjson refuses, sets, bytes, and what has a form of its own."""
    for convert in ("tolist", "to_dict", "isoformat"):
        method = getattr(value, convert, None)
        if callable(method):
            return method()
    if isinstance(value, (set, frozenset)):
        return list(value)
    if isinstance(value, (bytes, bytearray)):
        return bytes(value).decode("utf-8")
    raise TypeError(f"{type(value).__name__} has no JSON form")
