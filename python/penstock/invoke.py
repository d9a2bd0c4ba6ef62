"""Calling a function that runs somewhere, over HTTP."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any

from penstock.errors import FunctionUnreachable, GraphError, MLRunRuntimeError

_SCHEMES = ("http://", "https://")


def is_url(text: str) -> bool:
    """Tell whether this is an address that HTTP reaches."""
    return text.startswith(_SCHEMES)


def url_of(address: str, path: str) -> str:
    """Join a function's address and the path of a call.

    Examples
    --------
    >>> url_of("127.0.0.1:8080", "v2/health"), url_of("http://a/b/", "/c"), url_of("", "http://x/y")
    ('http://127.0.0.1:8080/v2/health', 'http://a/b/c', 'http://x/y')
    """
    if is_url(path):
        return path
    base = address if is_url(address) else f"http://{address}"
    return f"{base.rstrip('/')}/{path.lstrip('/')}"


def call(url: str, body: Any, *, method: str | None, headers: Mapping[str, str] | None, timeout: float | None) -> Any:
    """Send one request; return the answer's body, read if it is JSON or text.

    Raises
    ------
    MLRunRuntimeError
        The answer is an error; the text has its status and body.
    FunctionUnreachable
        Nobody answers there.
    """
    if not is_url(url):
        raise GraphError(f"a function is called over http or https, not at {url!r}")
    sent = dict(headers or {})
    data = body
    if body is not None and not isinstance(body, (bytes, bytearray)):
        data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        if not isinstance(body, str) and not any(key.lower() == "content-type" for key in sent):
            sent["Content-Type"] = "application/json"
    request = urllib.request.Request(url, data, sent, method=method or ("GET" if body is None else "POST"))  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:  # noqa: S310  # checked above
            content: bytes = answer.read()
            content_type = answer.headers.get_content_type()
            charset = answer.headers.get_content_charset("utf-8")
    except urllib.error.HTTPError as error:
        with error:
            text = error.read().decode("utf-8", "replace")
        raise MLRunRuntimeError(f"bad function response {error.code}: {text}") from None
    except OSError as error:
        reason = getattr(error, "reason", error)
        raise FunctionUnreachable(f"cannot run function at url {url}: {reason}") from error
    if content_type == "application/json":
        return json.loads(content) if content else None
    return content.decode(charset, "replace") if content_type.startswith("text/") else content
