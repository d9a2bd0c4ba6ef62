"""How a server is to behave: deadlines, limits, and who may ask; checked before anything is loaded."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

from penstock.errors import MLRunInvalidArgumentError
from penstock.resolve import nearest

MIB = 2**20
_MAY_BE_NONE = ("drain_timeout", "hang_timeout")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ServeOptions:
    """Options of a server; times are seconds, sizes are bytes.

    Parameters
    ----------
    token : str or list of str
        Who sends one of these as a bearer token may ask; without any, everybody may. Health is open in any case.
    model_control : bool
        Whether callers may load and unload the graph's models; they need a token for it.
    cors_origin : str or list of str
        Origins whose pages may ask, ``https://example.org``.
    deadline : float
        What a request may take, unless it says otherwise.
    drain_timeout : float
        How long a server that is told to stop goes on answering what has come.
    hang_timeout : float
        How long a handler may keep all other Python code from running, as one does that computes in C and holds the
        GIL, before the stacks are written and the process ends with 70; 0 for ever.
    tls_cert, tls_key : str or path, optional
        Files in PEM: the certificate with its chain, and its key. With them both ports speak TLS only.
    tls_client_ca : str or path, optional
        A file in PEM of authorities: who shows no certificate of one of them may not ask.
    max_body, max_message : int
        The largest body over HTTP, and message over gRPC.
    max_connections : int
        How many may be open at once.
    header_timeout, body_timeout, idle_timeout : float
        How long a client may take for a head, for a body that comes slowly, and between requests.

    Examples
    --------
    >>> ServeOptions(token="s3cret", max_body=1024)
    ServeOptions(model_control=False, cors_origin=(), tls_cert=None, tls_key=None, tls_client_ca=None, deadline=30.0, \
drain_timeout=30.0, hang_timeout=60.0, \
max_body=1024, max_message=67108864, max_connections=1024, header_timeout=10.0, body_timeout=30.0, idle_timeout=60.0)
    """

    token: tuple[str, ...] = dataclasses.field(default=(), repr=False)
    model_control: bool = False
    cors_origin: tuple[str, ...] = ()
    tls_cert: str | os.PathLike[str] | None = None
    tls_key: str | os.PathLike[str] | None = None
    tls_client_ca: str | os.PathLike[str] | None = None
    deadline: float = 30.0
    drain_timeout: float = 30.0
    hang_timeout: float = 60.0
    max_body: int = 16 * MIB
    max_message: int = 64 * MIB
    max_connections: int = 1024
    header_timeout: float = 10.0
    body_timeout: float = 30.0
    idle_timeout: float = 60.0

    def __post_init__(self) -> None:
        for name in ("token", "cors_origin"):
            object.__setattr__(self, name, _texts(getattr(self, name)))
        for token in self.token:
            if not token.isascii() or not token.isprintable() or " " in token or not token:
                raise MLRunInvalidArgumentError("a token is of visible ASCII characters, without spaces")
        if self.model_control and not self.token:
            raise MLRunInvalidArgumentError("model_control needs a token, or everybody could load and unload models")
        for origin in self.cors_origin:
            _check_origin(origin)
        if (self.tls_cert is None) != (self.tls_key is None):
            raise MLRunInvalidArgumentError("tls_cert and tls_key belong together: a certificate and its key")
        if self.tls_client_ca is not None and self.tls_cert is None:
            raise MLRunInvalidArgumentError("tls_client_ca needs tls_cert and tls_key")
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if type(value) in (int, float) and not (value > 0 or (field.name in _MAY_BE_NONE and value == 0)):
                raise MLRunInvalidArgumentError(f"{field.name} must be more than 0, not {value}")

    @classmethod
    def of(cls, **options: Any) -> ServeOptions:
        """Make options of keyword arguments; without a token, that of the environment counts, PENSTOCK_TOKEN.

        Raises
        ------
        MLRunInvalidArgumentError
            There is no such option, or it has a wrong value.
        """
        known = [field.name for field in dataclasses.fields(cls)]
        for name in options:
            if name not in known:
                raise MLRunInvalidArgumentError(f"serve() has no option '{name}'{nearest(name, known)}")
        if not options.get("token") and (token := os.environ.get("PENSTOCK_TOKEN")):
            options["token"] = token
        return cls(**options)

    @property
    def scheme(self) -> str:
        """How URLs of the server begin."""
        return "http" if self.tls_cert is None else "https"

    @property
    def limits(self) -> dict[str, Any]:
        """The limits, under the core's names."""
        return {
            "body_bytes": self.max_body,
            "message_bytes": self.max_message,
            "connections": self.max_connections,
            "header_timeout": self.header_timeout,
            "body_timeout": self.body_timeout,
            "idle_timeout": self.idle_timeout,
        }


def tokens_of(path: str | os.PathLike[str]) -> tuple[str, ...]:
    """Read a file of tokens, one a line; empty lines and those that begin with # are left out.

    Raises
    ------
    MLRunInvalidArgumentError
        It cannot be read, or has none.
    """
    try:
        with open(path, encoding="utf-8") as file:
            lines = [line.strip() for line in file]
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise MLRunInvalidArgumentError(f"the file of tokens {path} cannot be read: {reason}") from None
    tokens = tuple(line for line in lines if line and not line.startswith("#"))
    if not tokens:
        raise MLRunInvalidArgumentError(f"the file of tokens {path} has none, so everybody could ask")
    return tokens


def _texts(given: str | Iterable[str] | None) -> tuple[str, ...]:
    if given is None:
        return ()
    return (given,) if isinstance(given, str) else tuple(given)


def _check_origin(origin: str) -> None:
    parts = urlsplit(origin)
    if parts.scheme not in ("http", "https") or not parts.netloc or origin != f"{parts.scheme}://{parts.netloc}":
        raise MLRunInvalidArgumentError(
            f"an origin is https://host or https://host:port, written as browsers send it, not '{origin}'"
        )
