"""What ends a process while its graph is being made, and a process whose parent has gone."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import threading
from collections.abc import Collection, Iterator, MutableMapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType

PARENT = "PENSTOCK_PARENT"  # of the environment: the end of a pipe whose other end the parent has


@contextlib.contextmanager
def ended_by(*numbers: int) -> Iterator[None]:
    """Have these signals end the process at once, with exit code 0: it has taken nothing yet.

    Their default would do, but for the first process of a container, to which the kernel sends only what it handles.
    A thread hears them, as a model that is being loaded may keep the main one for minutes.
    """
    wake, waker = socket.socketpair()
    waker.setblocking(False)
    before = [signal.signal(number, _ignore) for number in numbers]
    before_fd = signal.set_wakeup_fd(waker.fileno())
    threading.Thread(target=_end, args=(wake, numbers, before_fd), name="penstock-starting", daemon=True).start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before_fd)
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
        waker.close()


def _end(wake: socket.socket, numbers: Collection[int], others_fd: int) -> None:
    with wake:
        while byte := wake.recv(1):
            if byte[0] in numbers:
                print("penstock: stopped", file=sys.stderr, flush=True)
                os._exit(0)  # what is being loaded would keep the interpreter
            if others_fd != -1:  # who listened before waits for other signals
                os.write(others_fd, byte)


def _ignore(_number: int, _frame: FrameType | None) -> None:
    """Leave it to the thread."""


def end_with_parent(environment: MutableMapping[str, str]) -> None:
    """Have this process drain when its parent has gone, if that has left a pipe in the environment."""
    if (told := environment.pop(PARENT, None)) is not None:
        os.set_inheritable(int(told), False)
        threading.Thread(target=_drain_at_end_of, args=(int(told),), name="penstock-parent", daemon=True).start()


def _drain_at_end_of(pipe: int) -> None:
    with open(pipe, "rb") as file:
        file.read()
    os.kill(os.getpid(), signal.SIGTERM)
