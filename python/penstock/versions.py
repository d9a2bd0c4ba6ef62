"""Several versions of a model: which of them are served, and which one a request without a version is for."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from penstock.errors import GraphError

Selected = Callable[[list[str]], list[str]]
_FORMS = "'all', 'latest', {'latest': 2} or {'specific': ['1', '3']}"


def order(version: str) -> list[tuple[int, int, str]]:
    """Return what versions are sorted by: numbers count as such, wherever in the text they are.

    Examples
    --------
    >>> sorted(["10", "9", "v2", "v10", "beta"], key=order)
    ['beta', 'v2', 'v10', '9', '10']
    """
    parts = re.findall(r"\d+|\D+", version)
    return [(1, int(part), "") if part.isdecimal() else (0, 0, part) for part in parts]


def split(key: str) -> tuple[str, str]:
    """Split "name:version"; the version is "" if there is none."""
    name, _, version = key.partition(":")
    return name, version


def versions_of(name: str, keys: Iterable[str]) -> list[str]:
    """Return the versions of a model, from the oldest on.

    Examples
    --------
    >>> versions_of("m", ["m:10", "n:1", "m:2", "m"])
    ['2', '10']
    """
    return sorted((version for base, version in map(split, keys) if base == name and version), key=order)


def find(name: str, keys: Mapping[str, Any], ready: Callable[[Any], bool]) -> str | None:
    """Return the key of a model that is asked for: its own, else that of its newest version that is ready.

    Examples
    --------
    >>> models = {"m:1": True, "m:2": False, "n": True}
    >>> [find(name, models, bool) for name in ("m", "m:2", "n", "m:7")]
    ['m:1', 'm:2', 'n', None]
    """
    if name in keys or ":" in name:
        return name if name in keys else None
    versions = [f"{name}:{version}" for version in reversed(versions_of(name, keys))]
    return next((key for key in versions if ready(keys[key])), versions[0] if versions else None)


def unknown(name: str, keys: Iterable[str], further: str = "") -> str:
    """Say that there is no such model, or no such version, and which there are.

    Examples
    --------
    >>> unknown("m:3", ["m:1", "m:2", "n"])
    'model m has no version 3, available versions: 1 | 2'
    >>> unknown("o", ["m:1", "n"])
    'model o doesnt exist, available models: m:1 | n'
    """
    base, version = split(name)
    known = list(keys)
    if version and (others := versions_of(base, known)):
        return f"model {base} has no version {version}, available versions: {' | '.join(others)}"
    return f"model {name} doesnt exist, available models: {' | '.join(known)}{further}"


def policy_of(given: Any) -> Selected:
    """Read a policy: from the versions that a graph names, from the oldest on, it selects those that are served.

    Parameters
    ----------
    given : str or dict, optional
        ``"all"``, which is the default, ``"latest"`` or ``{"latest": n}``, or ``{"specific": [version, ...]}``.

    Raises
    ------
    GraphError
        It is none of these.

    Examples
    --------
    >>> policy_of({"latest": 2})(["1", "2", "10"])
    ['2', '10']
    """
    if given is None or given == "all":
        return list
    kind, value = given, 1
    if isinstance(given, Mapping) and len(given) == 1:
        kind, value = next(iter(given.items()))
    if kind == "all":
        return list
    if kind == "latest":
        most = value.get("num_versions", 1) if isinstance(value, Mapping) else value
        if isinstance(most, int) and not isinstance(most, bool) and most > 0:
            return lambda versions: versions[-most:]
    if kind == "specific":
        wanted = value.get("versions") if isinstance(value, Mapping) else value
        if isinstance(wanted, (list, tuple)) and wanted:
            names = {str(version) for version in wanted}
            return lambda versions: [version for version in versions if version in names]
    raise GraphError(f"version_policy is {_FORMS}, not {given!r}")


def left_out(keys: Iterable[str], policy: Any) -> list[str]:
    """Return the keys that a policy leaves out, or a dict of policies by the models' names.

    Raises
    ------
    GraphError
        A policy is none, or leaves nothing of a model.

    Examples
    --------
    >>> left_out(["m:1", "m:2", "n:1", "o"], "latest")
    ['m:1']
    >>> left_out(["m:1", "m:2", "n:1", "n:2"], {"n": "latest"})
    ['n:1']
    """
    keys = list(keys)
    by_model = isinstance(policy, Mapping) and not policy.keys() & {"all", "latest", "specific"}
    out: list[str] = []
    for name in dict.fromkeys(split(key)[0] for key in keys):
        versions = versions_of(name, keys)
        select = policy_of(policy.get(name) if by_model else policy)
        served = select(versions)
        if versions and not served and name not in keys:
            raise GraphError(f"version_policy leaves no version of model '{name}', which has {', '.join(versions)}")
        out += [f"{name}:{version}" for version in versions if version not in served]
    return out
