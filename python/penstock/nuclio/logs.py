"""Logs of a graph in the processor's log: filtered before they cost anything, as the processor filters too late.

Nuclio's logger writes to the socket that answers go through. A line that another thread writes may end up in the middle
of a long answer, which is lost then, and its caller waits for ever. So all lines are written on the thread of Nuclio's
loop, and none while an answer may be on its way. That socket does not block, so a line that it has no room for would be
torn, too: the processor gets the time to read.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import select
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from typing import Any

from penstock.context import GraphLogger, message_of

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warn": logging.WARNING, "error": logging.ERROR}
_MOST_WAITING = 10_000  # lines; a thread that logs faster than the processor reads must not fill the memory
_HOLD_SECONDS = 1.0  # by which the longest answer is through
_ROOM_MILLISECONDS = 1000  # for the processor to read; a poll costs 1 µs where a line costs 100
_target = logging.getLogger("nuclio_sdk")  # what Nuclio's logger writes with
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


class Lines:
    """Log lines on their way to Nuclio's logger.

    Parameters
    ----------
    logger : callable
        Returns Nuclio's logger; in its asynchronous mode each request has one.
    """

    def __init__(self, logger: Callable[[], Any]) -> None:
        self._logger = logger
        self._home = threading.get_ident()
        try:
            self._loop: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
        except RuntimeError:  # no processor's: nothing else writes to that logger
            self._loop = None
        self._waiting: deque[tuple[Any, int, str, dict[str, object]]] = deque()  # its own operations are atomic
        self._left_out = 0
        self._woken = False
        self._held_until = 0.0  # touched on the loop's thread only

    def write(self, level: int, message: str, facts: dict[str, object]) -> None:
        """Write a line, on any thread: at once where that is safe, else as soon as it is."""
        loop, line = self._loop, (self._logger(), level, message, facts)
        if loop is None:
            send(*line)
        elif loop.is_closed():  # the worker ends, and the processor may be gone
            sys.stderr.write(f"{message}\n")
        elif threading.get_ident() == self._home and not self._is_held():
            self.flush()
            self._send(*line)
        elif len(self._waiting) < _MOST_WAITING:
            self._waiting.append(line)
            if not self._woken:
                self._woken = True
                loop.call_soon_threadsafe(self._flush_when_free)
        else:
            self._left_out += 1

    def hold(self) -> None:
        """Keep lines back while a long answer is on its way; the next event, or a second, ends that."""
        self._held_until = time.monotonic() + _HOLD_SECONDS

    def release(self) -> None:
        """Let lines go: the answer ahead is through."""
        self._held_until = 0.0

    def flush(self) -> None:
        """Write what waits; on the loop's thread, while no answer is on its way."""
        self._woken = False  # before the look, so that what is added meanwhile wakes again
        while self._waiting:
            self._send(*self._waiting.popleft())
        if self._left_out and _has_room(0):
            left_out, self._left_out = self._left_out, 0
            send(self._logger(), logging.WARNING, f"{left_out} log lines were left out: there were too many", {})

    def _send(self, *line: Any) -> None:
        if _has_room(0 if self._left_out else _ROOM_MILLISECONDS):
            send(*line)
        else:
            self._left_out += 1

    def _is_held(self) -> bool:
        return self._held_until > 0 and time.monotonic() < self._held_until

    def _flush_when_free(self) -> None:
        if self._is_held() and self._loop is not None:
            self._loop.call_later(self._held_until - time.monotonic() + 0.001, self._flush_when_free)
        else:
            self.flush()


def _has_room(milliseconds: int) -> bool:
    """Wait until the socket of Nuclio's logger takes a line in one piece; tell whether it does."""
    for handler in _target.handlers:
        with contextlib.suppress(AttributeError, OSError, ValueError):  # it is no file, or is closed
            writable = select.poll()
            writable.register(handler.stream, select.POLLOUT)  # type: ignore[attr-defined]  # most of them have one
            found = writable.poll(milliseconds)
            return bool(found) and not found[0][1] & (select.POLLERR | select.POLLHUP)  # nobody reads any more
    return True


class NuclioLogger(GraphLogger):
    """What steps log with: facts go along as fields.

    Parameters
    ----------
    name : str
        The name of the Python logger whose level counts.
    lines : Lines
        Where lines go.
    level : int
        What is below it is not even formatted.
    """

    def __init__(self, name: str, lines: Lines, level: int) -> None:
        super().__init__(name, level=level)
        self._lines = lines

    def _log(self, level: int, message: object, args: tuple[object, ...], facts: dict[str, object]) -> None:
        if self._logger.isEnabledFor(level):
            if facts.get("exc_info") is True:
                facts["exc_info"] = sys.exc_info()[1]
            self._lines.write(level, message_of(message, args), facts)


class NuclioHandler(logging.Handler):
    """Sends what penstock itself logs to Nuclio's logger."""

    def __init__(self, lines: Lines) -> None:
        super().__init__()
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        """Send a record."""
        try:
            self._lines.write(record.levelno, record.getMessage(), {"exc_info": record.exc_info})
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
