"""Processes as a whole: what one and all it has started have used of the processors, and their end. Linux, by /proc."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_ADOPT = 36  # PR_SET_CHILD_SUBREAPER
_libc = ctypes.CDLL(None)  # before the fork, after which nothing may be loaded


class Process:
    """A line of /proc/PID/stat."""

    def __init__(self, line: str) -> None:
        number, _, rest = line.partition(" (")
        fields = rest.rpartition(")")[2].split()
        self.pid = int(number)
        self.state = fields[0]
        self.parent = int(fields[1])
        self.seconds = sum(map(int, fields[11:15])) / _TICKS  # its own, and that of children that have ended
        self.key = (self.pid, fields[19])  # with its start, as numbers come again


def family(pid: int) -> list[Process]:
    """Return the process and all that it has started, directly or not; nothing once it has ended."""
    members: list[Process] = []
    children: dict[int, list[Process]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            process = Process(path.read_text())
        except (FileNotFoundError, ProcessLookupError):
            continue  # ended meanwhile
        children.setdefault(process.parent, []).append(process)
        if process.pid == pid:
            members = [process]
    for process in members:
        members += children.get(process.pid, [])
    return members


def cpu_seconds(pid: int) -> float:
    """Return the processor time that the family has used so far, to a hundredth of a second."""
    return sum(process.seconds for process in family(pid))


@contextmanager
def whole(command: Sequence[str], log: Path, *, environment: Mapping[str, str], folder: Path, patience: float = 15):
    """Run a server of several processes; at the end of the block none of them is left.

    Those whose parent ends are adopted by the first one, so that they still count and can be found.
    """
    with log.open("wb") as output:
        server = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=os.environ | environment,
            cwd=folder,
            start_new_session=True,
            preexec_fn=lambda: _libc.prctl(_ADOPT, 1, 0, 0, 0),  # noqa: PLW1509 - no threads here
        )
    try:
        yield server
    finally:
        members = family(server.pid)
        server.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            server.wait(patience)
        members += family(server.pid)
        for process in members:
            if _runs(process):
                os.kill(process.pid, signal.SIGKILL)
        server.wait(patience)
        end = time.monotonic() + patience
        while any(map(_runs, members)) and time.monotonic() < end:
            time.sleep(0.01)


def _runs(process: Process) -> bool:
    try:
        now = Process(Path(f"/proc/{process.pid}/stat").read_text())
    except (FileNotFoundError, ProcessLookupError):
        return False
    return now.key == process.key and now.state not in {"Z", "X"}
