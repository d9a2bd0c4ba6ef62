"""Failures as records of a stream. Writing them never holds a graph up, and never fails an event."""

from __future__ import annotations

import logging
import queue
import socket
import threading
import traceback
from collections.abc import Mapping
from typing import Any

from penstock.event import clone
from penstock.streams import open_stream, scheme_of

_HERE = ("memory", "dummy", "file")  # written at once: that takes no longer than a log line
_WAITING = 10_000  # records that may wait to be written elsewhere; further ones are lost, and logged
_CLOSE_SECONDS = 5.0
_logger = logging.getLogger("penstock")


class ErrorStream:
    """Writes what failed to a stream.

    Parameters
    ----------
    path : str
        The stream's path.
    function_uri : str
        The function that it happened in.
    worker : str or int
        The worker that it happened in.
    options : dict, optional
        What the stream takes beside its path.

    Examples
    --------
    >>> errors = ErrorStream("dummy://", function_uri="default/f")
    >>> errors.push(source="step", message="KeyError: 'x'", event_id="e1", body={"y": 1})
    >>> errors.stream.event_list[0]["source"]
    'step'
    """

    def __init__(
        self, path: str, *, function_uri: str = "", worker: Any = 0, options: Mapping[str, Any] | None = None
    ) -> None:
        self.path = path
        self.stream: Any = open_stream(path, **(options or {}))
        self._base = {"function_uri": function_uri, "worker": worker, "host": socket.gethostname()}
        self._waiting: queue.Queue[dict[str, Any] | None] = queue.Queue(_WAITING)
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()  # guards _thread
        self._at_once = scheme_of(path) in _HERE

    def push(
        self,
        *,
        source: str,
        message: str,
        event_id: str,
        body: Any,
        cause: BaseException | None = None,
        args: Mapping[str, Any] | None = None,
    ) -> None:
        """Write one failure; what goes wrong with that is logged."""
        if cause is not None:
            message += "\n" + "".join(traceback.format_exception(cause))
        event = {"id": event_id, "body": body}
        record = {**self._base, "source": source, "event": event, "message": message, "args": dict(args or {})}
        if self._at_once:
            self._write(record)
            return
        try:
            event["body"] = clone(body)  # the step may go on with it
            self._start()
            self._waiting.put_nowait(record)
        except queue.Full:
            _logger.error("the error stream %s is too slow: the failure of event %s is lost to it", self.path, event_id)
        except Exception as error:
            self._lost(error)

    def close(self) -> None:
        """Write what waits, and let go of the stream."""
        with self._lock:
            thread, self._thread = self._thread, None
        if thread is not None:
            self._waiting.put(None)
            thread.join(_CLOSE_SECONDS)
        self.stream.close()

    def _start(self) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="penstock-errors", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while (record := self._waiting.get()) is not None:
            self._write(record)

    def _write(self, record: dict[str, Any]) -> None:
        try:
            try:
                self.stream.push([record])
            except TypeError:  # the body has no form in JSON
                kind = type(record["event"]["body"]).__name__
                self.stream.push([record | {"event": record["event"] | {"body": f"<{kind}>"}}])
        except Exception as error:
            self._lost(error)

    def _lost(self, error: Exception) -> None:
        _logger.error("a failure could not be written to %s: %s: %s", self.path, type(error).__name__, error)
