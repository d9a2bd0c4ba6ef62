"""Source files that are looked at, so that what is made of them is made anew when one changes; for development."""

from __future__ import annotations

import importlib.util
import os
import signal
import threading
from collections.abc import Callable, Iterator

_FOREIGN = ("site-packages", "node_modules", "__pycache__")


class Watching:
    """Looks at the sources in a target's folder, and below it, on a thread of its own.

    Parameters
    ----------
    target : str
        As the command line has it: ``file.py[:name]`` or ``package.module[:name]``.
    changed : callable
        Called after a change.
    pause : float
        Seconds between looks.
    """

    def __init__(self, target: str, changed: Callable[[], None], *, pause: float = 0.5) -> None:
        self._place = target.partition(":")[0]
        self._folder = _folder_of(self._place)
        self._changed = changed
        self._pause = pause
        self._ended = threading.Event()

    def start(self) -> None:
        """Begin."""
        threading.Thread(target=self._run, args=(self._seen(),), name="penstock-watching", daemon=True).start()

    def end(self) -> None:
        """Look no more."""
        self._ended.set()

    def _run(self, before: dict[str, tuple[int, int]]) -> None:
        while not self._ended.wait(self._pause):
            now = self._seen()
            if now != before:
                before = now
                self._changed()

    def _seen(self) -> dict[str, tuple[int, int]]:
        return dict(_sources(self._folder, os.path.abspath(self._place)))


def hang_up() -> None:
    """Send this process SIGHUP, if something listens to it."""
    if signal.getsignal(signal.SIGHUP) not in (signal.SIG_DFL, signal.SIG_IGN):
        os.kill(os.getpid(), signal.SIGHUP)


def _folder_of(place: str) -> str:
    if os.path.isfile(place):
        return os.path.dirname(os.path.abspath(place))
    found = importlib.util.find_spec(place.partition(".")[0])
    return os.path.dirname(os.path.abspath(found.origin)) if found is not None and found.origin else os.getcwd()


def _sources(folder: str, target: str) -> Iterator[tuple[str, tuple[int, int]]]:
    for place, folders, files in os.walk(folder):
        folders[:] = [
            name
            for name in folders
            if not name.startswith(".")
            and name not in _FOREIGN
            and not os.path.exists(os.path.join(place, name, "pyvenv.cfg"))
        ]
        for name in files:
            path = os.path.join(place, name)
            try:
                found = os.stat(path) if name.endswith(".py") or path == target else None
            except OSError:  # gone between both looks
                continue
            if found is not None:
                yield path, (found.st_mtime_ns, found.st_size)
