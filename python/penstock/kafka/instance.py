"""A name that a process has for itself, and that its successor finds again."""

from __future__ import annotations

import fcntl
import os
import re
import socket
import tempfile
import uuid
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

    Attributes
    ----------
    name : str
        The function, the host and the place.

    Examples
    --------
    >>> one, other = Instance("docs.enrich"), Instance("docs.enrich")
    >>> one.name == other.name
    False
    >>> name = one.name
    >>> one.release()
    >>> successor = Instance("docs.enrich")
    >>> successor.name == name
    True
    >>> other.release(), successor.release()
    (None, None)
    """

    _lock: IO[bytes] | None

    def __init__(self, function: str) -> None:
        host = os.environ.get(_VARIABLE) or socket.gethostname()
        base = _UNFIT.sub("_", f"{function}.{host}")
        place = 0
        try:
            folder = Path(tempfile.gettempdir()) / f"penstock-{os.getuid()}"
            folder.mkdir(mode=0o700, exist_ok=True)
            while (lock := _lock(folder / f"{base}.{place}.lock")) is None:
                place += 1
        except OSError:  # nowhere to write: then the name is nobody else's, but no successor will find it
            self.name, self._lock = f"{base}.{uuid.uuid4().hex}", None
        else:
            self.name, self._lock = f"{base}.{place}", lock

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
