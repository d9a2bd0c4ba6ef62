"""Secrets of a function: where they come from. Their values never get into text."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

from penstock.errors import GraphError
from penstock.resolve import nearest

KINDS = ("inline", "env", "file")


class SecretStore:
    """Looks secrets up in what `add` named; later sources win.

    Examples
    --------
    >>> store = SecretStore()
    >>> store.add("inline", {"TOKEN": "s3cret"})
    >>> store.get("TOKEN"), store
    ('s3cret', <SecretStore: TOKEN>)
    """

    def __init__(self) -> None:
        self._sources: list[tuple[str, Any]] = []

    def __repr__(self) -> str:
        return f"<SecretStore: {', '.join(self.names()) or 'empty'}>"

    def __bool__(self) -> bool:
        return bool(self._sources)

    def add(self, kind: str, source: Any) -> None:
        """Add a source of secrets.

        Parameters
        ----------
        kind : {"inline", "env", "file"}
            A dict of values; names of environment variables, in a list or with commas; a file of ``KEY=value``
            lines, or of JSON.
        source : dict, str or list of str
            The source itself.

        Raises
        ------
        GraphError
            There is no such kind of source, or the source does not fit.
        """
        if kind not in KINDS:
            raise GraphError(f"secrets come from {', '.join(KINDS)}, not from '{kind}'{nearest(str(kind), KINDS)}")
        if kind == "inline":
            if not isinstance(source, Mapping):
                raise GraphError(f"inline secrets are a dict of names and values, not a {type(source).__name__}")
            self._sources.append((kind, {str(key): value for key, value in source.items()}))
        elif kind == "env":
            names = source.split(",") if isinstance(source, str) else list(source)
            self._sources.append((kind, [str(name).strip() for name in names if str(name).strip()]))
        else:
            self._sources.append((kind, os.fspath(source)))

    def get(self, key: str, default: Any = None) -> Any:
        """Return a secret's value.

        Raises
        ------
        GraphError
            A file of secrets cannot be read.
        """
        for kind, source in reversed(self._sources):
            if kind == "env":
                value = os.environ.get(key) if key in source else None
            else:
                value = (source if kind == "inline" else _read(source)).get(key)
            if value is not None:
                return value
        return default

    def names(self) -> list[str]:
        """List the names that are known without opening a file."""
        found = [name for kind, source in self._sources for name in (source if kind != "file" else [f"file {source}"])]
        return list(dict.fromkeys(found))

    def missing(self) -> list[str]:
        """Say what cannot be had: one line for each variable that is not set and each file that cannot be read."""
        lines: list[str] = []
        for kind, source in self._sources:
            if kind == "env":
                lines += [f"secret '{key}': no environment variable of that name is set" for key in _unset(source)]
            elif kind == "inline":
                lines += [f"secret '{key}' has no value" for key, value in source.items() if value is None]
            else:
                try:
                    _read(source)
                except GraphError as error:
                    lines.append(str(error))
        return lines

    def to_list(self) -> list[dict[str, Any]]:
        """Write the sources down, without any value: of inline secrets only the names stay."""
        return [
            {"kind": kind, "source": dict.fromkeys(source) if kind == "inline" else source}
            for kind, source in self._sources
        ]

    @classmethod
    def from_list(cls, sources: list[dict[str, Any]]) -> SecretStore:
        """Read what `to_list` wrote."""
        store = cls()
        for source in sources:
            store.add(source.get("kind", ""), source.get("source"))
        return store


def _unset(names: list[str]) -> list[str]:
    return [name for name in names if name not in os.environ]


def _read(path: str) -> dict[str, Any]:
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise GraphError(f"the file of secrets {path} cannot be read: {getattr(error, 'strerror', error)}") from None
    if text.lstrip().startswith("{"):
        try:
            fields: dict[str, Any] = json.loads(text)
        except ValueError:  # its text would quote the file
            raise GraphError(f"the file of secrets {path} is not valid JSON") from None
        return fields
    lines = (line.partition("=") for line in text.splitlines() if "=" in line and not line.lstrip().startswith("#"))
    return {key.strip().removeprefix("export "): value.strip().strip("\"'") for key, _, value in lines}
