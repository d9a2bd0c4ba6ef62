"""Which methods the protocol's paths take."""

from __future__ import annotations

from collections.abc import Sequence

_READ = "GET, HEAD"
_READ_ONLY = ("ready", "config", "stats")
POST_ONLY = ("infer", "generate", "generate_stream")


def verbs(parts: Sequence[str]) -> str | None:
    """Return the methods of a path that is cut at its slashes, as `Allow` has them; None if it is the graph's.

    Examples
    --------
    >>> verbs(["v2", "models", "m", "versions", "1", "infer"]), verbs(["v2"]), verbs(["v2", "models", "m", "own"])
    ('POST', 'GET, HEAD', None)
    """
    if parts in (["metrics"], ["openapi.json"], ["v2"], ["v2", "models", "stats"]):
        return _READ
    if parts[:2] == ["v2", "models"]:
        return _of_models(parts[3:])
    if parts[:2] == ["v2", "repository"] and parts[-1] == "index":
        return f"{_READ}, POST"
    return _READ if parts[:2] == ["v2", "health"] and len(parts) < 4 else None


def _of_models(rest: Sequence[str]) -> str | None:
    if rest[:1] == ["versions"] and len(rest) > 1:
        rest = rest[2:]
    if not rest:
        return f"{_READ}, POST"  # what is posted says in its body what is asked of which model
    if len(rest) > 1:
        return None
    return _READ if rest[0] in _READ_ONLY else "POST" if rest[0] in POST_ONLY else None
