"""The Kafka client's own log, without its repetitions: while brokers are out, it says so many times a second."""

from __future__ import annotations

import logging
import re
import threading
import time

_SECONDS = 30.0  # between two lines that say the same
_MOST = 256  # texts that are remembered
_VARIES = re.compile(r"\(after [^)]*\)|#[a-z]+-\d+")  # times, and which client it is


class Repeated(logging.Filter):
    """Lets a text through once in 30 s, with how often it was held back since.

    Examples
    --------
    >>> log = Repeated()
    >>> lines = [logging.makeLogRecord({"msg": f"FAIL (after {n}ms in state CONNECT)"}) for n in range(3)]
    >>> [log.filter(line) for line in lines]
    [True, False, False]
    """

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()  # guards _seen: clients log from threads of their own
        self._seen: dict[str, tuple[float, int]] = {}  # when it came through, and how often it has not since

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether a line is to be seen."""
        text = _VARIES.sub("", record.getMessage())
        now = time.monotonic()
        with self._lock:
            at, left_out = self._seen.get(text, (-_SECONDS, 0))
            if now - at < _SECONDS:
                self._seen[text] = at, left_out + 1
                return False
            if len(self._seen) >= _MOST:
                self._seen.clear()
            self._seen[text] = now, 0
        if left_out:
            record.msg, record.args = f"{record.getMessage()} ({left_out} times more)", ()
        return True
