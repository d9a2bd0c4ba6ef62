"""A name that a process has for itself, and that its successor finds again."""

from __future__ import annotations

import fcntl
import os
import re
import socket
import tempfile
from pathlib import Path
from typing import IO

_VARIABLE = "PENSTOCK_INSTANCE"
_UNFIT = re.compile(r"[^A-Za-z0-9._-]")


class Instance:
    """The first free place among the processes of a function on this host.

    A lock on a file is the place; the system takes it back when the process ends, however that happens. The
    environment's ``PENSTOCK_INSTANCE`` names the instance instead of the host, where hosts have no names of their own.

    Parameters
    ----------
    function : str
        What the process runs.

    Examples
    --------
    >>> one, other = Instance("docs.enrich"), Instance("docs.enrich")
    >>> one.name == other.name
    False
    >>> name = one.name
    >>> one.release()
    >>> Instance("docs.enrich").name == name
    True
    """

    def __init__(self, function: str) -> None:
        host = os.environ.get(_VARIABLE) or socket.gethostname()
        base = _UNFIT.sub("_", f"{function}.{host}")
        folder = Path(tempfile.gettempdir()) / f"penstock-{os.getuid()}"
        folder.mkdir(mode=0o700, exist_ok=True)
        place = 0
        while (lock := _lock(folder / f"{base}.{place}.lock")) is None:
            place += 1
        self.name = f"{base}.{place}"
        self._lock: IO[bytes] | None = lock

    def release(self) -> None:
        """Leave the place to others."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None


def _lock(path: Path) -> IO[bytes] | None:
    file = path.open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file
