"""Secrets stay out of what is written: they are named, never quoted."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from penstock.errors import GraphError

if TYPE_CHECKING:
    from penstock.settings import FunctionSettings

_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_SECRET = {"password", "passwd", "passphrase", "secret", "token"}
_KEYS = {"api", "access", "account", "private", "secret"}
_IN_URL = re.compile(r"://[^/\s:@]*:[^/\s@]+@")
_REFERENCE = re.compile(r"\$\{\w+\}")


def is_secret_name(name: str) -> bool:
    """Tell whether a name is one that secrets have.

    Examples
    --------
    >>> [name for name in ("DB_PASSWORD", "secretAccessKey", "max_tokens", "secretName") if is_secret_name(name)]
    ['DB_PASSWORD', 'secretAccessKey']
    """
    words = [word.lower() for word in _WORDS.findall(name)]
    return bool(words) and (words[-1] in _SECRET or (words[-1] == "key" and len(words) > 1 and words[-2] in _KEYS))


def has_password(text: str) -> bool:
    """Tell whether a URL carries a password, and not the reference to one.

    Examples
    --------
    >>> has_password("amqp://me:pw@host"), has_password("amqp://me:${PW}@host"), has_password("http://host:80/a@b")
    (True, False, False)
    """
    return bool(_IN_URL.search(_REFERENCE.sub("", text)))


def check_secrets(function: FunctionSettings) -> None:
    """Refuse a function that quotes a secret in what would be written.

    Raises
    ------
    GraphError
        It does; the text says where and what to write instead, and never the value.
    """
    for source in function.spec.secret_sources.to_list():
        if source["kind"] == "inline":
            names = ", ".join(source["source"])
            raise GraphError(
                f"the secrets {names} are given by value, and files would carry them: write "
                f"fn.with_secrets('env', {list(source['source'])}) and put the values where the function runs"
            )
    for name, value in function.spec.env.items():
        if (is_secret_name(name) and value) or has_password(value):
            raise GraphError(
                f"the environment variable {name} holds a secret, and files would carry it: write "
                f"fn.with_secrets('env', ['{name}']), or fn.set_env_from_secret('{name}', 'a-kubernetes-secret')"
            )


def check_fields(fields: Any, what: str, instead: str) -> None:
    """Refuse fields that quote a secret.

    Parameters
    ----------
    fields : dict
        What would be written.
    what : str
        What they are, for the error.
    instead : str
        What to write instead.
    """
    for path in _quoted(fields, what):
        raise GraphError(f"{path} holds a secret, and files would carry it: {instead}")


def _quoted(value: Any, path: str) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            if isinstance(item, str) and item and is_secret_name(str(key)) and not _REFERENCE.fullmatch(item):
                yield f"{path}: {key}"
            yield from _quoted(item, f"{path}: {key}")
    elif isinstance(value, list):
        for item in value:
            yield from _quoted(item, path)
    elif isinstance(value, str) and has_password(value):
        yield path
