"""A served graph made anew from its source, while the server goes on."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from penstock.errors import PenstockError

if TYPE_CHECKING:
    from penstock.http_server import HttpServer
    from penstock.server import GraphServer


_logger = logging.getLogger("penstock")


class Renewal:
    """Makes the graph of a server anew, one time after the other.

    Parameters
    ----------
    http : HttpServer
        The server.
    make : callable
        Makes the graph from its source; its `init_states` has run.
    name : str
        The function's name, for what is said.
    """

    def __init__(self, http: HttpServer, make: Callable[[], GraphServer], name: str) -> None:
        self._http = http
        self._make = make
        self._name = name
        self._lock = threading.Lock()  # guards the next two
        self._wanted = False
        self._busy = False
        self._making = threading.Lock()  # one is made at a time

    def ask(self) -> None:
        """Have it made soon, on a thread of its own; asked again before that is over, once more after it."""
        with self._lock:
            self._wanted = True
            if self._busy:
                return
            self._busy = True
        threading.Thread(target=self._run, name="penstock-renewal", daemon=True).start()

    def now(self) -> str | None:
        """Make it, and let it take the former one's place; return what is wrong with it, if it could not."""
        with self._making:
            try:
                settled = self._http.replace(self._make())
            except Exception as error:  # the target's code may raise anything
                text = str(error) if isinstance(error, PenstockError) else f"{type(error).__name__}: {error}"
                return " ".join(text.split())
            if not settled:
                _logger.warning("'%s': the former graph was ended with work unsettled", self._name)
            return None

    def _run(self) -> None:
        while True:
            with self._lock:
                if not self._wanted:
                    self._busy = False
                    return
                self._wanted = False
            say_renewed(self._name, self.now())


def say_renewed(name: str, wrong: str | None) -> None:
    """Say in one line what has come of it."""
    line = f"'{name}' is served anew" if wrong is None else f"'{name}' goes on as it was: {wrong}"
    print(f"penstock: {line}", file=sys.stderr, flush=True)


def hears_hangups() -> bool:
    """Tell whether SIGHUP may mean something; `nohup` has it ignored."""
    return signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN


def has_terminal() -> bool:
    """Tell whether a person's terminal is there, which ends the server when it goes."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True
