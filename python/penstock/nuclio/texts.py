"""Bodies as texts: Nuclio sends those as they are."""

from __future__ import annotations

import orjson


def as_text(data: bytes) -> str | bytes:
    r"""Return a text, or the bytes if they are none; bytes cost twice, as base64.

    Examples
    --------
    >>> as_text(b"abc"), as_text(b"\xff")
    ('abc', b'\xff')
    """
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data


def error_text(said: str) -> str:
    """Return the body that says what is wrong.

    Examples
    --------
    >>> error_text("no")
    '{"error": "no"}'
    """
    return f'{{"error": {orjson.dumps(said).decode()}}}'
