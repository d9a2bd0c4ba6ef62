"""Logs of a graph in the processor's log: filtered before they cost anything, as the processor filters too late."""

from __future__ import annotations

import logging
import os
import traceback
from collections.abc import Callable
from typing import Any

from penstock.context import GraphLogger

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warn": logging.WARNING, "error": logging.ERROR}
_TAKEN = frozenset({"level", "time", "name", "message", "worker_id", "datetime", "msg", "args"})


def level_of(verbose: bool) -> int:
    """Return the level that the environment asks for: `PENSTOCK_LOG_LEVEL`, or MLRun's name of it.

    Examples
    --------
    >>> level_of(True) == logging.DEBUG
    True
    """
    asked = (os.environ.get("PENSTOCK_LOG_LEVEL") or os.environ.get("MLRUN_LOG_LEVEL") or "info").lower()
    return logging.DEBUG if verbose else _LEVELS.get(asked.replace("warning", "warn"), logging.INFO)


class NuclioLogger(GraphLogger):
    """What steps log with: facts go along as fields.

    Parameters
    ----------
    name : str
        The name of the Python logger whose level counts.
    target : callable
        Returns Nuclio's logger; in its asynchronous mode each request has one.
    level : int
        What is below it is not even formatted.
    """

    def __init__(self, name: str, target: Callable[[], Any], level: int) -> None:
        super().__init__(name, level=level)
        self._target = target

    def _log(self, level: int, message: object, args: tuple[object, ...], facts: dict[str, object]) -> None:
        if self._logger.isEnabledFor(level):
            send(self._target(), level, str(message) % args if args else str(message), facts)


class NuclioHandler(logging.Handler):
    """Sends what penstock itself logs to Nuclio's logger."""

    def __init__(self, target: Callable[[], Any]) -> None:
        super().__init__()
        self._target = target

    def emit(self, record: logging.LogRecord) -> None:
        """Send a record."""
        try:
            send(self._target(), record.levelno, record.getMessage(), {"exc_info": record.exc_info})
        except Exception:
            self.handleError(record)


def send(logger: Any, level: int, message: str, facts: dict[str, object]) -> None:
    """Log with one of Nuclio's methods; it has no other levels than these."""
    exc_info: Any = facts.pop("exc_info", None)
    if isinstance(exc_info, tuple):
        exc_info = exc_info[1]
    # Nuclio lays the facts beside its own fields.
    named = {f"{key}_" if key in _TAKEN else key: value for key, value in facts.items()}
    if isinstance(exc_info, BaseException):
        named["error"] = "".join(traceback.format_exception(exc_info))
    name = "debug" if level < logging.INFO else "info" if level < logging.WARNING else "warn"
    name = "error" if level >= logging.ERROR else name
    getattr(logger, f"{name}_with")(message, **named)
