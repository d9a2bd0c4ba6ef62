"""Answers that come in chunks, in the forms that the HTTP server gives them: text, JSON lines, server-sent events."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import orjson
from nuclio_sdk import Response

from penstock.errors import StepError
from penstock.nuclio.texts import as_text, error_text
from penstock.render import render

_JSON, _LINES, _EVENTS = "application/json", "application/x-ndjson", "text/event-stream; charset=utf-8"
_NO_CACHE = {"Cache-Control": "no-cache"}


def wants_events(path: str, headers: dict[str, str]) -> bool:
    """Tell whether a caller asks for server-sent events.

    Examples
    --------
    >>> wants_events("/", {"Accept": "text/event-stream"}), wants_events("/v2/models/m/generate_stream", {})
    (True, True)
    """
    return "text/event-stream" in headers.get("Accept", "") or path.partition("?")[0].endswith("/generate_stream")


def encoded(chunks: Iterator[Any], *, events: bool) -> Iterator[tuple[str, bytes]]:
    r"""Give each chunk's type and bytes.

    Examples
    --------
    >>> list(encoded(iter(["a", {"b": 1}]), events=False))
    [('text/plain', b'a'), ('application/x-ndjson', b'{"b":1}\n')]
    >>> list(encoded(iter(["a", {"b": 1}]), events=True))[0]
    ('text/event-stream; charset=utf-8', b'data: "a"\n\n')
    """
    for chunk in chunks:
        _, content_type, _, data = render(chunk)
        is_json = content_type == _JSON
        if events:
            said = data if is_json else orjson.dumps(data.decode("utf-8", "replace"))
            yield _EVENTS, b"data: " + said + b"\n\n"
        else:
            yield (_LINES, data + b"\n") if is_json else (content_type, data)


def joined(chunks: Iterator[Any], *, events: bool) -> Response:
    """Make one answer of all, for a processor that cannot send them one by one."""
    parts = list(encoded(chunks, events=events))
    kind = parts[0][0] if parts else _EVENTS if events else "text/plain"
    return Response(dict(_NO_CACHE) if events else None, as_text(b"".join(data for _, data in parts)), kind)


def streaming(chunks: Iterator[Any], *, events: bool) -> Response:
    """Make an answer whose chunks are sent as they come; what fails then is said in it, where there is a way."""
    parts = encoded(chunks, events=events)
    first = next(parts, None)
    kind = first[0] if first is not None else _EVENTS if events else "text/plain"

    def texts() -> Iterator[Any]:
        try:
            for _, data in itertools.chain([first] if first is not None else [], parts):
                yield as_text(data)
        except StepError as error:
            said = error_text(f"step '{error.step}': {error.reason}" if error.step else error.reason)
            if kind == _EVENTS:
                yield f"data: {said}\n\n"
            elif kind == _LINES:
                yield f"{said}\n"
            else:
                raise

    return Response(dict(_NO_CACHE) if events else None, texts(), kind)
