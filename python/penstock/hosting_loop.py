"""The thread on which steps of storey live: one asyncio loop for all of a process, apart from that of handlers.

It is there while somebody uses it. A step that blocks it holds up other steps of storey, nothing else.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any

_CLOSING = 5.0  # seconds that the last user waits for the thread's end


class HostLoop:
    """An asyncio loop on a daemon thread, for as long as it has users.

    Examples
    --------
    >>> async def answer():
    ...     return 42
    >>> loop = HostLoop()
    >>> loop.enter()
    >>> loop.submit(answer()).result()
    42
    >>> loop.leave()
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def enter(self) -> None:
        """Count one more user; the first one starts the thread."""
        with self._lock:
            self._users += 1
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=_run, args=(self._loop,), name="penstock-storey", daemon=True)
                self._thread.start()

    def leave(self) -> None:
        """Count one user less; the last one ends the thread."""
        with self._lock:
            self._users -= 1
            if self._users:
                return
            loop, thread = self._loop, self._thread
            self._loop = self._thread = None
        if loop is not None and thread is not None:
            loop.call_soon_threadsafe(loop.stop)
            if thread is not threading.current_thread():
                thread.join(_CLOSING)

    def submit(self, coroutine: Coroutine[Any, Any, Any]) -> Future[Any]:
        """Run a coroutine on the loop; any thread but the loop's own may wait for it."""
        if self._loop is None:
            coroutine.close()
            raise RuntimeError("the loop of storey's steps has ended")
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def call(self, function: Any, *args: Any) -> None:
        """Call a function on the loop's thread, soon."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(function, *args)


def _run(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
        pending = asyncio.all_tasks(loop)
        for task in pending:
            task.cancel()
        if pending:  # they get to clean up
            loop.run_until_complete(asyncio.wait(pending, timeout=1.0))
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        loop.close()


host_loop = HostLoop()
