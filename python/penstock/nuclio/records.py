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
from typing import TYPE_CHECKING, Any

from penstock import _core
from penstock.context import GraphLogger
from penstock.nuclio import answers, events

if TYPE_CHECKING:
    from nuclio_sdk import Response

    from penstock.compiled import Compiled
    from penstock.engine import Engine

_MODES = ("enable", "explicitOnly")
_TOLD = ("kafka", "v3io")  # the kinds of triggers that take acknowledgements begin so
_SETTLE_SECONDS = 30.0
_PAUSE = 0.002  # between looks at what is settled, while something is under way
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
    """

    def __init__(self, engine: Engine, context: Any, compiled: Compiled) -> None:
        self._responds = compiled.responds
        self._entries = {inlet.path.rpartition("/")[2]: inlet.entry for inlet in compiled.inlets}
        self._engine = engine
        self._sources: dict[str | None, _core.Source] = {}  # by where their records enter
        self._context = context
        mode = os.environ.get("PENSTOCK_EXPLICIT_ACK", "")
        self._explicit = mode in _MODES  # answers come before the record is settled
        self._tells = mode != "disable" and hasattr(getattr(context, "platform", None), "explicit_ack")
        self._keeps = False  # the graph keeps records: waiting for them would be for ever
        self._offsets: dict[tuple[str, int], _core.Offsets] = {}
        self._lock = threading.Lock()  # guards _offsets, and the one call of `admit`
        self._acknowledging: asyncio.Task[None] | None = None

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
        """Send a record through the graph; answer when it may be marked.

        Raises
        ------
        BadBody
            Its body is not what its content type says.
        GraphClosed
            The graph takes no more.
        """
        content_type = event.content_type or default_type or ""
        body = events.body_of(event.body, content_type)
        fields = {
            "trigger": event.trigger,
            "headers": events.headers_of(event),
            "stream_path": event.topic or event.path,
            "offset": event.offset,
            "shard_id": event.shard_id,
        } | events.time_of(event)
        if not events.kind_of(event).startswith(_TOLD):
            self._tells = False
        key = (fields["stream_path"], int(event.shard_id or 0))
        self._admit(key, int(event.offset or 0), body, fields)
        if not self._explicit:
            self._settle()
            return answers.received(acknowledged=True)
        return answers.received(acknowledged=False)

    def _admit(self, key: tuple[str, int], offset: int, body: Any, fields: dict[str, Any]) -> None:
        size = len(body) if isinstance(body, (bytes, str)) else 0
        with self._lock:
            offsets = self._offsets.get(key)
            if offsets is None or offset < offsets.position:  # the partition came back, and starts where it was
                offsets = self._offsets[key] = _core.Offsets(offset)
            record = [(offsets, offset, body, fields, None, (*key, offset), size)]
            source = self._source_of(key[0])
            while source.admit(record) == 0:  # full: the processor is held up, and so is the stream
                source.wait(0, 0.1)

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
        if not self._sources or not self._tells:
            return
        if self._acknowledging is None or self._acknowledging.done():
            self._acknowledging = asyncio.get_running_loop().create_task(self._acknowledge_all())

    async def _acknowledge_all(self) -> None:
        while self._busy is not None:
            await asyncio.sleep(_PAUSE)
            await self.acknowledge()
        await self.acknowledge()

    async def acknowledge(self) -> None:
        """Tell the processor how far each partition is settled, if that has changed."""
        from nuclio_sdk import QualifiedOffset

        self._let_failed_go()
        with self._lock:
            offsets = list(self._offsets.items())
        for (topic, partition), one in offsets:
            position = one.due()
            if position is None:
                continue
            try:  # Nuclio counts from the last record that is done
                await self._context.platform.explicit_ack(QualifiedOffset(topic, partition, position - 1))
            except BaseException:
                one.not_written()
                raise

    async def drain(self, seconds: float) -> None:
        """Wait until what is under way is settled, but not for long, and have it acknowledged."""
        loop = asyncio.get_running_loop()
        end = time.monotonic() + seconds
        while (busy := self._busy) is not None and time.monotonic() < end:
            await loop.run_in_executor(None, busy.wait, 0, min(0.5, max(0.0, end - time.monotonic())))
            self._let_failed_go()
        if self._tells:
            await self.acknowledge()
