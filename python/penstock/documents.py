"""Specifications as text: JSON, YAML, and the packed form that fits into an environment variable."""

from __future__ import annotations

import base64
import binascii
import gzip
import json
import os
from typing import Any

from penstock.errors import GraphError
from penstock.spec import plain


def to_json(fields: dict[str, Any], *, indent: int | None = None) -> str:
    """Write fields down as JSON.

    Raises
    ------
    GraphError
        A value has no JSON form.

    Examples
    --------
    >>> to_json({"a": (1, 2)})
    '{"a": [1, 2]}'
    """
    try:
        return json.dumps(plain(fields), indent=indent, default=_refuse)
    except ValueError as error:
        raise GraphError(f"it cannot be written down: {error}") from error


def to_yaml(fields: dict[str, Any]) -> str:
    """Write fields down as YAML; without PyYAML as indented JSON, which is YAML, too.

    Examples
    --------
    >>> from_text(to_yaml({"a": [1]}))
    {'a': [1]}
    """
    text = to_json(fields, indent=2)
    try:
        import yaml
    except ModuleNotFoundError:
        return text + "\n"
    return str(yaml.safe_dump(json.loads(text), sort_keys=False))


def from_text(text: str | bytes, what: str = "the text") -> dict[str, Any]:
    """Read JSON or YAML; reading JSON needs no further package.

    Raises
    ------
    GraphError
        It is neither, or no table of fields, or it is YAML and PyYAML is missing.
    """
    try:
        fields = json.loads(text)
    except ValueError:
        fields = _from_yaml(text, what)
    if not isinstance(fields, dict):
        raise GraphError(f"{what} holds no fields, but a {type(fields).__name__}")
    return fields


def _from_yaml(text: str | bytes, what: str) -> Any:
    try:
        import yaml
    except ModuleNotFoundError:
        raise GraphError(f"{what} is not JSON; to read YAML: pip install penstock[yaml]") from None
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise GraphError(f"{what} is neither JSON nor YAML: {' '.join(str(error).split())}") from None


def unpack(text: str) -> dict[str, Any]:
    """Read a serving specification as it is found in the environment: JSON, or base64 of gzip of JSON.

    Examples
    --------
    >>> unpack(pack('{"version": "v2"}'))
    {'version': 'v2'}
    """
    stripped = text.strip()
    if not stripped.startswith("{"):
        try:
            stripped = gzip.decompress(base64.b64decode(stripped, validate=True)).decode()
        except (binascii.Error, OSError, EOFError, UnicodeDecodeError) as error:
            raise GraphError(f"the serving specification is neither JSON nor base64 of gzip: {error}") from None
    return from_text(stripped, "the serving specification")


def pack(text: str) -> str:
    """Pack a serving specification, for one that is too long for an environment variable."""
    return base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()


def read_bytes(url: str) -> bytes:
    """Read a file, or a URL through fsspec.

    Raises
    ------
    GraphError
        It is not there, or its file system has no driver here.
    """
    try:
        if "://" not in url:
            with open(os.path.expanduser(url), "rb") as file:
                return file.read()
        import fsspec

        with fsspec.open(url, "rb") as remote:
            content: bytes = remote.read()
            return content
    except FileNotFoundError:
        raise GraphError(f"there is no file {url}") from None
    except (ImportError, OSError, ValueError) as error:
        raise GraphError(f"cannot read {url}: {error}") from error


def read(url: str) -> dict[str, Any]:
    """Read a specification from a file or URL."""
    return from_text(read_bytes(url), url)


def write(url: str, fields: dict[str, Any]) -> None:
    """Write a specification to a file or URL: as JSON if the name ends so, else as YAML."""
    text = to_json(fields, indent=2) + "\n" if url.endswith(".json") else to_yaml(fields)
    if "://" in url:
        import fsspec

        with fsspec.open(url, "w") as remote:
            remote.write(text)
        return
    folder = os.path.dirname(url)
    if folder:
        os.makedirs(folder, exist_ok=True)
    with open(url, "w", encoding="utf-8") as file:
        file.write(text)


def _refuse(value: Any) -> Any:
    raise ValueError(f"a {type(value).__name__} has no form in JSON")
