"""What brings events to a served graph beside its callers: the streams of its queues, and triggers."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from penstock.errors import GraphError

if TYPE_CHECKING:
    from penstock.kafka.settings import Reading
    from penstock.server import GraphServer

_YOUNG = 50_000  # objects made before the collector looks at them
_logger = logging.getLogger("penstock")


class EventSource(Protocol):
    """Brings events to a graph, on a thread of its own."""

    def start(self) -> None:
        """Begin."""

    def halt(self) -> None:
        """Bring nothing more; what is under way goes on."""

    def close(self) -> None:
        """Say how far it has come, and let go."""


class Inflow:
    """All that brings events to a server's graph.

    Parameters
    ----------
    server : GraphServer
        The server; its graph is compiled.
    on_ready : callable
        Called with False when a source cannot go on.
    clock : bool
        Whether triggers by the clock are served here: of several processes that serve one port, one does.

    Raises
    ------
    GraphError
        A source cannot be what a queue or a trigger says.
    """

    def __init__(self, server: GraphServer, on_ready: Callable[[bool], None], *, clock: bool = True) -> None:
        self.sources: list[EventSource] = []
        self._started = False
        compiled = server.compiled
        for inlet in compiled.inlets if compiled is not None else ():
            from penstock.kafka.settings import of_queue

            self._add_kafka(server, of_queue(inlet.path, inlet.options, group=inlet.group), on_ready, inlet.entry)
        for name, trigger in (server.triggers or {}).items():
            if trigger["kind"] in ("kafka-cluster", "kafka"):
                from penstock.guarantees import ENTRY
                from penstock.kafka.settings import EXACTLY_ONCE, of_trigger

                reading = of_trigger(trigger, group=server.name)
                self._add_kafka(server, reading, on_ready, ENTRY if reading.guarantee == EXACTLY_ONCE else None)
            elif trigger["kind"] == "cron":
                from penstock.cron import CronSource

                source = CronSource(name, trigger, server.engine.submit)
                self.sources += [source] if clock else []
            elif trigger["kind"] != "http":
                _logger.warning("trigger '%s' is of the kind %s, which only Nuclio serves", name, trigger["kind"])

    def _add_kafka(
        self, server: GraphServer, reading: Reading, on_ready: Callable[[bool], None], entry: str | None = None
    ) -> None:
        from penstock.kafka.settings import EXACTLY_ONCE
        from penstock.kafka.source import KafkaSource

        compiled = server.compiled
        sure = compiled is not None and reading.guarantee == EXACTLY_ONCE
        transactions = compiled.transactions if sure and compiled is not None else None
        if sure and transactions is None:
            raise GraphError("guarantee='exactly_once' is for flows: a router has no end that is a queue of Kafka")
        core = server.engine.core
        self.sources.append(
            KafkaSource(reading, core, entry, graph=server.name, on_ready=on_ready, transactions=transactions)
        )

    def start(self) -> None:
        """Begin to bring events."""
        self._started = True
        if self.sources:
            # Thousands of records are under way at a time, and each is several objects: looking through them, and
            # through what was there before, at Python's own pace costs as much as handling them.
            gc.freeze()
            gc.set_threshold(_YOUNG, *gc.get_threshold()[1:])
        for source in self.sources:
            source.start()

    def halt(self) -> None:
        """Bring nothing more."""
        for source in self.sources if self._started else ():
            source.halt()

    def close(self) -> None:
        """Say how far all have come, and let go."""
        for source in self.sources if self._started else ():
            source.close()
