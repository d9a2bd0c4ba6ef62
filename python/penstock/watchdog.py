"""Ends a served process in which no Python code can run any more, so that another takes its place."""

from __future__ import annotations

import faulthandler
import signal
import sys
import threading
from typing import TYPE_CHECKING

from penstock import _core

if TYPE_CHECKING:
    from typing_extensions import Self

EXIT_HUNG = 70
_DUMP = getattr(signal, "SIGRTMAX", signal.SIGUSR2)  # the last of the real-time signals, which nobody uses
_BEATS = 40  # within the time that is allowed


class Watchdog:
    """Watches while it is entered. Handlers that let go of the GIL, as all that wait do, may take as long as they like.

    Parameters
    ----------
    seconds : float
        How long the GIL may be held in one go; 0 watches nothing.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        if self._seconds:
            faulthandler.register(_DUMP, file=sys.__stderr__ or sys.stderr, all_threads=True)
            self._dog = _core.Watchdog(self._seconds, signal=_DUMP, code=EXIT_HUNG)
            self._thread = threading.Thread(target=self._beat, name="penstock-watchdog", daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._thread is not None:
            self._over.set()
            self._thread.join()
            self._dog.close()
            faulthandler.unregister(_DUMP)

    def _beat(self) -> None:
        while not self._over.wait(self._seconds / _BEATS):
            self._dog.beat()
