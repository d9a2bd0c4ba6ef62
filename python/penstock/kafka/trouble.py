"""Why brokers are not reached: a call that fails only says that; the client tells another function what it has met."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

_DOWN = "_ALL_BROKERS_DOWN"  # follows what has made it so, if the client takes that for worth telling
_CLOSED = "the brokers close the connections, as those do that want TLS: see security.protocol"


class Trouble:
    """Hears what a client meets on its connections: it is the client's ``error_cb``.

    Examples
    --------
    >>> from confluent_kafka import KafkaError
    >>> trouble = Trouble()
    >>> trouble(KafkaError(KafkaError._AUTHENTICATION, "Invalid username or password (after 3ms in state AUTH_REQ)"))
    >>> trouble(KafkaError(KafkaError._ALL_BROKERS_DOWN))
    >>> trouble.behind("no metadata")
    'no metadata (Invalid username or password)'
    """

    def __init__(self) -> None:
        self._said = ""

    def __call__(self, error: Any) -> None:
        """Keep what says most."""
        if error.name() == _DOWN:
            self._said = self._said or _CLOSED
        elif self._said in ("", _CLOSED) or error.name() != "_TRANSPORT":
            self._said = error.str().partition(" (after ")[0]

    def forget(self) -> None:
        """Take what was heard as past."""
        self._said = ""

    def behind(self, text: str) -> str:
        """Return what went wrong along with why, if that is known."""
        return f"{text} ({self._said})" if self._said else text


def refusal(error: Any, settings: Mapping[str, Any]) -> str:
    """Say why a client cannot be made of these settings: it does not tell which file it has not found.

    Examples
    --------
    >>> from confluent_kafka import KafkaException, Producer
    >>> settings = {"ssl.ca.location": "no/such/ca.pem", "security.protocol": "ssl"}
    >>> try:
    ...     Producer(settings)
    ... except KafkaException as error:
    ...     refusal(error, settings)
    'ssl.ca.location: there is no file no/such/ca.pem'
    """
    files = [(name, str(value)) for name, value in settings.items() if name.endswith(".location")]
    missing = [f"{name}: there is no file {path}" for name, path in files if not os.path.exists(path)]
    return "; ".join(missing) or str(error.args[0].str())
