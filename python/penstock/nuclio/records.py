"""Records of streams: marked when all that came of them is settled, never before a record ahead of them is.

By default Nuclio marks a record when the handler answers, so the handler answers when the record is settled. Where
`PENSTOCK_EXPLICIT_ACK` says that the trigger has an `explicitAckMode`, the handler answers at once, and several records
of a partition are under way. Either way Kafka and v3io are told how far all records are settled: with
``explicitAckMode: explicitOnly`` nothing else counts, and otherwise it does no harm.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from penstock import _core
from penstock.context import GraphLogger
from penstock.errors import BadBody, GraphClosed
from penstock.nuclio import answers, events

if TYPE_CHECKING:
    from nuclio_sdk import Response

    from penstock.compiled import Compiled
    from penstock.engine import Engine

_MODES = ("enable", "explicitOnly")
_TOLD = ("kafka", "v3io")  # the kinds of triggers that take acknowledgements begin so
_SETTLE_SECONDS = 30.0
_SHORTEST, _LONGEST = 0.002, 0.05  # seconds between looks at what is settled, while something is under way
_logger = GraphLogger("penstock.nuclio")


class Records:
    """What a worker does with records of streams.

    Parameters
    ----------
    engine : Engine
        The running graph.
    context : nuclio_sdk.Context
        Its platform takes acknowledgements.
    compiled : Compiled
        The graph: whether it responds, and where the records of its queues' topics enter.
    on_failure : callable
        Hears of records that cannot even enter: ``(step, text, event_id, cause, body)``.
    """

    def __init__(
        self, engine: Engine, context: Any, compiled: Compiled, on_failure: Callable[[str, str, str, Any, Any], None]
    ) -> None:
        self._responds = compiled.responds
        self._entries = {inlet.path.rpartition("/")[2]: inlet.entry for inlet in compiled.inlets}
        self._engine = engine
        self._sources: dict[str | None, _core.Source] = {}  # by where their records enter
        self._context = context
        mode = os.environ.get("PENSTOCK_EXPLICIT_ACK", "")
        self._explicit = mode in _MODES  # answers come before the record is settled
        self._tells = mode != "disable" and hasattr(getattr(context, "platform", None), "explicit_ack")
        self._keeps = False  # the graph keeps records: waiting for them would be for ever
        self._on_failure = on_failure
        self._offsets: dict[tuple[str, int], tuple[_core.Offsets, int]] = {}  # with what is behind the last record
        self._lock = threading.Lock()  # guards _offsets, and the one call of `admit`
        self._look: asyncio.TimerHandle | asyncio.Handle | None = None  # these two: touched on the loop's thread only
        self._telling: asyncio.Task[None] | None = None
        self._pause = _SHORTEST

    def _source_of(self, topic: str) -> _core.Source:
        """Where the records of a topic enter the graph: at the readers of its queue, or where all events do."""
        entry = self._entries.get(topic)
        if entry not in self._sources:
            self._sources[entry] = _core.Source(self._engine.core, entry)
        return self._sources[entry]

    @property
    def _busy(self) -> _core.Source | None:
        """One whose records are under way."""
        return next((source for source in self._sources.values() if source.in_flight), None)

    def take(self, event: Any, default_type: str | None) -> Response:
        """Send a record through the graph; answer when it may be marked."""
        fields = {
            "trigger": event.trigger,
            "headers": events.headers_of(event),
            "stream_path": event.topic or event.path,
            "offset": event.offset,
            "shard_id": event.shard_id,
        } | events.time_of(event)
        if not events.kind_of(event).startswith(_TOLD):
            self._tells = self._explicit = False  # what brings this one marks it when it is answered
        key = (fields["stream_path"], int(event.shard_id or 0))
        try:
            body = events.body_of(event.body, event.content_type or default_type or "")
        except BadBody as error:
            self._refuse(key, int(event.offset or 0), event.body, error)
            return answers.received(acknowledged=not self._explicit)
        try:
            self._admit(key, int(event.offset or 0), body, fields)
        except GraphClosed:
            _logger.error(
                "the graph is closing: a record comes too late", topic=key[0], partition=key[1], offset=event.offset
            )
            return answers.received(acknowledged=False)  # it comes again, elsewhere
        if not self._explicit:
            self._settle()
        return answers.received(acknowledged=not self._explicit)

    def _admit(self, key: tuple[str, int], offset: int, body: Any, fields: dict[str, Any]) -> None:
        size = len(body) if isinstance(body, (bytes, str)) else 0
        with self._lock:
            offsets = self._offsets_of(key, offset)
            source = self._source_of(key[0])
            while not source.admit(
                offsets, offset, body, fields, (*key, offset), size
            ):  # full: the processor is held up, and so is the stream
                source.wait(max(0, source.in_flight - 1), 0.1)

    def _offsets_of(self, key: tuple[str, int], offset: int) -> _core.Offsets:
        """Return what tracks a partition, and note that a record of it is here; called with the lock held."""
        offsets, behind = self._offsets.get(key) or (None, 0)
        if offsets is None or offset < behind:  # the partition came back, and starts where it was
            if offsets is not None:
                offsets.revoke()
            offsets = _core.Offsets(offset)
        self._offsets[key] = offsets, offset + 1
        return offsets

    def _refuse(self, key: tuple[str, int], offset: int, body: Any, error: BadBody) -> None:
        """Let a record that cannot enter count as settled: the log and the error stream have it."""
        _logger.error(f"a record is not what it says: {error}", topic=key[0], partition=key[1], offset=offset)
        self._on_failure("", str(error), "", None, body)
        with self._lock:
            offsets = self._offsets_of(key, offset)
            offsets.settle(offsets.deliver(offset))

    def _settle(self) -> None:
        """Wait until all that is under way is settled."""
        end = time.monotonic() + _SETTLE_SECONDS
        while not self._keeps and (busy := self._busy) is not None:
            busy.wait(0, max(0.0, end - time.monotonic()))
            self._let_failed_go()
            if busy.in_flight and time.monotonic() >= end:
                self._keeps = True
                _logger.warning(
                    "the graph keeps records for longer than Nuclio waits, so they are marked before they are settled; "
                    "set explicitAckMode: explicitOnly at the trigger, and PENSTOCK_EXPLICIT_ACK=explicitOnly"
                )
        self._let_failed_go()

    def _let_failed_go(self) -> None:
        """Let records that failed count as settled: the log and the error stream have them."""
        for place, offsets, delivery, step, _, kind, message, cause in self._taken_failed():
            if self._responds:  # the core takes it that a caller hears of the failure, and logs nothing
                topic, partition, offset = place
                _logger.error(
                    f"step '{step}' failed on a record: {kind}: {message}",
                    topic=topic, partition=partition, offset=offset, exc_info=cause,
                )  # fmt: skip
            offsets.settle(delivery)

    def _taken_failed(self) -> list[tuple[Any, ...]]:
        return [failed for source in self._sources.values() for failed in source.take_failed()]

    def look_later(self) -> None:
        """Have what is settled acknowledged by the running loop, as long as something is under way; called on it."""
        if self._sources and self._tells:
            self._pause = _SHORTEST
            if self._look is None:
                self._look = asyncio.get_running_loop().call_soon(self._look_again)

    def _look_again(self) -> None:
        # Timers, not a task that sleeps: one that waits when the processor goes would be reported as a fault.
        self._look = None
        loop = asyncio.get_running_loop()
        if self._telling is None or self._telling.done():
            self._let_failed_go()
            if due := self._due():
                self._telling, self._pause = loop.create_task(self._tell(due)), _SHORTEST
        if self._busy is not None or not (self._telling is None or self._telling.done()):
            self._look = loop.call_later(self._pause, self._look_again)
            self._pause = min(2 * self._pause, _LONGEST)

    def _due(self) -> list[tuple[tuple[str, int], _core.Offsets, int]]:
        """Take the positions that have moved since they were told."""
        with self._lock:
            known = [(key, offsets) for key, (offsets, _) in self._offsets.items()]
        return [(key, offsets, position) for key, offsets in known if (position := offsets.due()) is not None]

    async def _tell(self, due: list[tuple[tuple[str, int], _core.Offsets, int]]) -> None:
        """Tell the processor how far these partitions are settled."""
        from nuclio_sdk import QualifiedOffset

        left = list(due)
        try:
            while left:
                (topic, partition), _, position = left[0]  # Nuclio counts from the last record that is done
                await self._context.platform.explicit_ack(QualifiedOffset(topic, partition, position - 1))
                del left[0]
        except Exception as error:
            _logger.warning(f"the processor could not be told what is settled: {type(error).__name__}: {error}")
        finally:
            for _, offsets, _ in left:
                offsets.not_written()

    async def acknowledge(self) -> None:
        """Tell the processor how far each partition is settled, if that has changed."""
        self._let_failed_go()
        if self._telling is not None and not self._telling.done():
            await asyncio.wait([self._telling])
        await self._tell(self._due())

    async def drain(self, seconds: float) -> None:
        """Wait until what is under way is settled, but not for long, and have it acknowledged."""
        loop = asyncio.get_running_loop()
        end = time.monotonic() + seconds
        while (busy := self._busy) is not None and time.monotonic() < end:
            await loop.run_in_executor(None, busy.wait, 0, min(0.5, max(0.0, end - time.monotonic())))
            self._let_failed_go()
        if self._tells:
            await self.acknowledge()

    def give_up(self) -> None:
        """Let partitions go: what is still under way belongs to whoever gets them next, and comes again."""
        with self._lock:
            for offsets, _ in self._offsets.values():
                offsets.revoke()
            self._offsets.clear()
