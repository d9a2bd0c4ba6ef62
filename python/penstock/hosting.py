"""Running an unmodified step of storey as a step of a graph.

Its events are storey's, and each carries a token that its copies share, so that whatever the step sends on, early or
late, is matched to the events that it stands for. The step runs on a loop of storey's own, one event at a time.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
import weakref
from collections import deque
from concurrent.futures import CancelledError, Future
from typing import Any

from penstock.errors import PenstockError
from penstock.hosting_events import TOKEN, Bridge, Capture, HostedContext, Token, chooses, replay
from penstock.hosting_loop import HostLoop, host_loop
from penstock.storey_steps.base import Port

_CLOSING = 5.0  # seconds that a step which is not drained has to end


class HostClosed(PenstockError, RuntimeError):
    """A step of storey ended while it still had the event."""


class StoreyHost:
    """A stage that runs one step of storey, or a chain of them.

    Parameters
    ----------
    steps : objects
        The steps, in order.
    context : GraphContext, optional
        The graph's context.
    outlets : list of str
        The names of the steps that follow, for a step that chooses among them.
    """

    def __init__(self, *steps: Any, context: Any = None, outlets: tuple[str, ...] | list[str] = ()) -> None:
        from storey import Event
        from storey.dtypes import StreamCompletion, _termination_obj

        self._bridge = Bridge(Event)
        self._completion_type = StreamCompletion
        self.termination = _termination_obj
        self.name = getattr(steps[-1], "name", type(steps[-1]).__name__)
        self._steps = steps
        self._head, last = steps[0], steps[-1]
        for earlier, later in itertools.pairwise(steps):
            earlier.to(later)
        for step in steps:
            step.context = HostedContext(context if context is not None else getattr(step, "context", None))
        chosen = bool(outlets) and chooses(last)
        captures = [Capture(self, name, place) for place, name in enumerate(outlets)] if chosen else []
        for capture in captures or [Capture(self, "graph", None)]:
            last._outlets.append(capture)  # not to(): a terminal step such as Reduce refuses it, and never uses it
            capture._inlets.append(last)
        self._head._runnable = True
        self._head._inlets.append(self)
        self._closeables: list[Any] = []
        self._lock = threading.Lock()
        self._port: Port | None = None
        self._new: deque[Token] = deque()
        self._pumping = False
        self._pump_task: asyncio.Future[None] | None = None
        self._started = False
        self._ended = False
        self._open: dict[int, Any] = {}  # weak: a token's end is how it is known that its event was filtered out
        self._captured: list[tuple[Token, Any, int | None]] = []
        self._current: Token | None = None
        self._flushing = False
        self._streams: dict[int, list[Any]] = {}
        self._loop: HostLoop | None = None

    # ---- what the core calls

    def take(self, port: Port, token: int, event: Any) -> None:
        """Hand one event to the loop."""
        held = Token(self, token, event)
        with self._lock:
            if self._ended:
                held.settled = True
                raise HostClosed(f"step '{self.name}' of storey has ended")
            self._port = port
            self._new.append(held)
            idle = not self._pumping
            self._pumping = True
        if idle:
            self._entered_loop().call(self._begin)

    def finish(self, port: Port) -> Any:
        """End the step, which sends on what it holds, and return its result."""
        self._port = port
        return self._wait(self._entered_loop().submit(self._terminate()))

    def close(self) -> None:
        """Release what the step has opened."""
        with self._lock:
            ended, self._ended = self._ended, True
            loop, self._loop = self._loop, None
        if loop is None:
            return
        try:
            if not ended:
                self._wait(loop.submit(self._abandon()), _CLOSING)
        finally:
            loop.leave()

    def _entered_loop(self) -> HostLoop:
        """Return the loop, whose thread is there from the first event on: a graph that is only checked needs none."""
        with self._lock:
            if self._loop is None:
                host_loop.enter()
                self._loop = host_loop
            return self._loop

    @staticmethod
    def _wait(future: Future[Any], timeout: float | None = None) -> Any:
        try:
            return future.result(timeout)
        except (CancelledError, TimeoutError):
            return None

    # ---- on the loop

    def _begin(self) -> None:
        self._pump_task = asyncio.ensure_future(self._pump())

    async def _pump(self) -> None:
        while True:
            with self._lock:
                if not self._new:
                    self._pumping = False
                    return
                token = self._new.popleft()
            await self._run(token)
            del token

    async def _run(self, token: Token) -> None:
        self._current = token
        try:
            self._start()
            await self._revive()
            await self._head._do_and_recover(self._entered(token))
        except Exception as error:
            self.fail(token, error)
        finally:
            self._current = None
        self._flush()
        if token.sent:
            self.drop(token)
        self._forget_pending()

    def _entered(self, token: Token) -> Any:
        self._open[token.number] = weakref.ref(token)
        return self._bridge.to_storey(token)

    def _forget_pending(self) -> None:
        """Let a table's events go: it keeps them until its worker ends, which is at the end of the graph."""
        for step in self._steps:
            for table in (getattr(step, "_table", None), getattr(step, "_state", None)):
                pending = getattr(table, "_pending_events", None)
                if pending:
                    pending.clear()

    def _start(self) -> None:
        if not self._started:
            self._started = True
            self._closeables = self._head.run()

    async def _revive(self) -> None:
        """Begin anew if a worker of the step has died: what it had is lost, and fails."""
        for step in self._steps:
            worker = getattr(step, "_worker_awaitable", None)
            if worker is None or not worker.done() or not getattr(step, "_q", None):
                continue
            error = HostClosed(f"the worker of step '{self.name}' ended before the event was done")
            cause = worker.exception() if not worker.cancelled() else None
            error.__cause__ = cause
            for held in self._unsettled():
                self.fail(held, error)
            self._closeables = self._head.run()
            return

    async def _terminate(self) -> Any:
        while self._pumping and self._pump_task is not None:
            await self._pump_task
            await asyncio.sleep(0)
        with self._lock:
            self._ended = True
        if not self._started:
            self._start()
        try:
            self._head._termination_received = len(self._head._inlets)
            return await self._head._do(self.termination)
        finally:
            self._flush()
            await self._close_all()
            for held in self._unsettled():
                self.drop(held)

    async def _abandon(self) -> None:
        if self._pump_task is not None:
            self._pump_task.cancel()
        await self._close_all()

    async def _close_all(self) -> None:
        closeables, self._closeables = self._closeables, []
        for closeable in closeables:
            closing = closeable.close()
            if asyncio.iscoroutine(closing):
                await closing

    # ---- what it sends on

    def captured(self, event: Any, outlet: int | None) -> None:
        """Take what the step sends on: at once if it is late, else when the step is done with its event."""
        if isinstance(event, self._completion_type):
            self._end_stream(event, outlet)
            return
        token = getattr(event, TOKEN, None)
        if token is None:  # made of several, or of none
            tokens = self._tokens_within(event)
            self._settle(tokens)
            self._emit([each.number for each in tokens], self._bridge.value(event, None), outlet)
            return
        if getattr(event, "streaming_step", None) is not None:
            self._streams.setdefault(token.number, []).append(event.body)
            return
        self._captured.append((token, self._bridge.value(event, token), outlet))
        if not self._flushing:  # what is sent within one turn of the loop belongs together
            self._flushing = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        """Send on what was captured: the last of an event's in its place, unless more may come; the others beside."""
        sent, self._captured, self._flushing = self._captured, [], False
        last = {token.number: place for place, (token, _, _) in enumerate(sent)}
        for place, (token, value, outlet) in enumerate(sent):
            if token.settled:  # it came after the event's end
                self._emit([], value, outlet)
            elif last[token.number] == place and token is not self._current:
                self._settle([token])
                self._emit([token.number], value, outlet)
            else:
                token.sent = True
                self._emit([token.number], value, outlet, keep=True)

    def _end_stream(self, completion: Any, outlet: int | None) -> None:
        token = getattr(completion.original_event, TOKEN, None)
        if token is None or token.settled:
            return
        chunks = self._streams.pop(token.number, [])
        self._settle([token])
        self._emit([token.number], replay(chunks, completion.error), outlet)

    @staticmethod
    def _tokens_within(event: Any) -> list[Token]:
        """Return the tokens of the events that one was made of, each once."""
        inner = getattr(event, "_original_events", None) or (event.body if isinstance(event.body, list) else ())
        found = {token.number: token for token in (getattr(item, TOKEN, None) for item in inner) if token is not None}
        return [token for token in found.values() if not token.settled]

    # ---- settling

    def _settle(self, tokens: list[Token]) -> None:
        for token in tokens:
            token.settled = True
            self._open.pop(token.number, None)

    def _emit(self, tokens: list[int], value: Any, outlet: int | None, *, keep: bool = False) -> None:
        if self._port is not None:
            self._port.emit(tokens, value, keep=keep, outlet=outlet)

    def fail(self, token: Token, error: BaseException) -> None:
        """Let an event fail, once; what was sent on before has gone on."""
        if token is self._current:
            self._flush()
        if isinstance(error, asyncio.CancelledError):  # its text says nothing
            error = HostClosed(f"a worker of step '{self.name}' was cancelled")
        if token.settled:
            return
        self._settle([token])
        token.failed = True
        if self._port is not None:
            self._port.fail([token.number], error)

    def drop(self, token: Token) -> None:
        """Filter an event out, once."""
        if token.settled:
            return
        self._settle([token])
        if self._port is not None:
            self._port.drop([token.number])

    def _unsettled(self) -> list[Token]:
        tokens = [reference() for reference in list(self._open.values())]
        return [token for token in tokens if token is not None and not token.settled]
