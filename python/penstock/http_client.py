"""The HTTP client of remote steps and streams."""

from __future__ import annotations

from typing import Any

from penstock.extras import load_extra


def load_httpx(what: str) -> Any:
    """Import httpx; `what` says in the error who needs it."""
    return load_extra("httpx", "remote", what)


def limits_of(connections: int, what: str) -> Any:
    """Say how many connections a pool may have, all of which are kept for the next request."""
    return load_httpx(what).Limits(max_connections=connections, max_keepalive_connections=connections)
