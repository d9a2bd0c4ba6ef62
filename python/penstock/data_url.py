"""Inputs that a request names by a URL, for routers that allow it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import unquote

from penstock.errors import BadRequest

_LIMIT = 64 * 2**20  # bytes; a caller pays nothing for naming a URL, so what is behind it has to end
_LOCAL = ("file", "local", "memory")


def read_url(url: Any, allowed: bool | Sequence[str]) -> bytes:
    """Return what is behind the "data_url" of a request.

    Parameters
    ----------
    url : str
        What the request says.
    allowed : bool or list of str
        Which URLs may be read: none, all but those of local files, or those that start with one of the texts.

    Raises
    ------
    BadRequest
        It may not be read, or cannot.

    Examples
    --------
    >>> read_url("https://example.org/cat.png", False)
    Traceback (most recent call last):
        ...
    penstock.errors.BadRequest: data_url is not allowed here: make the router with allow_data_url=True, or send the data
    """
    if not allowed:
        raise BadRequest("data_url is not allowed here: make the router with allow_data_url=True, or send the data")
    if not isinstance(url, str) or "://" not in url or "::" in url or ".." in unquote(url).split("/"):
        raise BadRequest("data_url is a URL such as https://host/path")
    scheme = url.partition("://")[0].lower()
    if allowed is True:
        if scheme in _LOCAL:
            raise BadRequest("data_url names a local file, which needs a list in allow_data_url")
    elif not any(url.startswith(start) for start in ([allowed] if isinstance(allowed, str) else allowed)):
        raise BadRequest("data_url is not among those that allow_data_url lists")
    import fsspec

    try:
        with fsspec.open(url, "rb") as file:
            content: bytes = file.read(_LIMIT + 1)
    except ImportError as error:
        raise BadRequest(f"data_url: {scheme}:// is not installed here ({error})") from error
    except Exception as error:
        raise BadRequest(f"data_url could not be read: {type(error).__name__}") from error
    if len(content) > _LIMIT:
        raise BadRequest(f"data_url has more than {_LIMIT} bytes")
    return content
