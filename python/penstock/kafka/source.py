"""Kafka topics as the source of a running graph: at least once, in the order of each partition.

One thread owns the consumer. It never blocks for long: what finds no room in the graph waits here, its partition
paused. A record's offset is settled in the core when the last event made of it has ended; only then a commit may
pass it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from penstock._core import Core, Source
from penstock.errors import BadBody, GraphClosed
from penstock.extras import load_extra
from penstock.kafka.assignment import Assignment
from penstock.kafka.journal import Journal
from penstock.kafka.poison import Failed, Poison
from penstock.kafka.records import record_of
from penstock.kafka.settings import Reading
from penstock.kafka.topics import make_topics

_MOST = 1000  # messages taken at once
_LOOK = 0.1  # seconds that a look for messages takes, and so the longest that a failure waits to be heard of
_ALIVE = 0.5  # seconds between looks while the graph is full
_NET_SECONDS = 10.0
_PASSING_SECONDS = 2.0  # a rebalance takes no longer
_logger = logging.getLogger("penstock")


class KafkaSource:
    """Reads topics into a graph, on a thread of its own.

    Parameters
    ----------
    reading : Reading
        What to read, and how.
    core : Core
        The running graph.
    entry : str, optional
        The step where records enter; by default where all events do.
    graph : str
        The function's name, for dead letters.
    on_ready : callable, optional
        Called with False when a partition is held because of a record that failed for good.
    """

    def __init__(
        self,
        reading: Reading,
        core: Core,
        entry: str | None = None,
        *,
        graph: str = "",
        on_ready: Callable[[bool], None] | None = None,
    ) -> None:
        self._kafka = load_extra("confluent_kafka", "kafka", f"the stream of '{reading.topics[0]}'")
        self._reading = reading
        self._source = Source(core, entry)
        self._poison = Poison(reading, graph=graph)
        self._on_ready = on_ready
        self._assigned: dict[tuple[str, int], Assignment] = {}
        self._commit_at = 0.0
        self._look_at = 0.0
        self._halting = False
        self._closing = False
        self._halted = threading.Event()
        self.rebalances = 0
        self.late = 0  # settlements of partitions that had gone elsewhere
        self._consumer = self._kafka.Consumer(
            reading.consumer() | {"on_commit": self._committed}, logger=logging.getLogger("penstock.kafka")
        )
        self._thread = threading.Thread(target=self._run, name=f"penstock-kafka-{reading.topics[0]}", daemon=True)

    def start(self) -> None:
        """Join the group and begin to read."""
        self._thread.start()

    def halt(self, timeout: float = _NET_SECONDS) -> None:
        """Admit nothing more; what is under way goes on, and is committed."""
        self._halting = True
        self._source.wake()
        self._halted.wait(timeout)

    def close(self, timeout: float = 30.0) -> None:
        """Commit what is settled and leave the group."""
        self._closing = True
        self.halt(0.0)
        if self._thread.is_alive():
            self._thread.join(timeout)

    # ---- everything below runs on the source's thread

    def _run(self) -> None:
        try:
            while not self._closing and not make_topics(self._reading):
                self._source.wait(0, 1.0)
            self._consumer.subscribe(
                list(self._reading.topics), on_assign=self._assign, on_revoke=self._revoke, on_lost=self._lose
            )
            while not self._closing:
                self._step()
        except GraphClosed:
            pass
        except Exception:
            _logger.exception("the source of %s has failed", self._reading.topics[0])
            self._say_ready(False)
        finally:
            self._halted.set()
            self._leave()

    def _step(self) -> None:
        self._hear_failures()
        self._commit_due()
        full = self._admit()
        if self._halting:
            for assignment in self._assigned.values():
                assignment.waiting.clear()
            self._halted.set()
        self._set_pauses()
        waiting = [assignment for assignment in self._assigned.values() if assignment.waiting]
        if waiting or self._poison.pending:
            probing = any(assignment.probing for assignment in waiting)
            self._source.wait(0 if probing else self._source.in_flight // 2, _LOOK)
            if full and not probing and time.monotonic() < self._look_at:
                return
            self._take(0.0)
        else:
            self._take(_LOOK)

    def _take(self, timeout: float) -> None:
        """Look for messages: wait for the first, then take what is there."""
        self._look_at = time.monotonic() + _ALIVE
        first = self._consumer.poll(timeout)
        if first is None:
            return
        for message in (first, *self._consumer.consume(_MOST, 0.0)):
            if message.error() is not None:
                self._say_error(message.error())
                continue
            assignment = self._assigned.get((message.topic(), message.partition()))
            if assignment is None or assignment.stopped or self._halting:
                continue
            try:
                assignment.waiting.append(record_of(message, assignment.offsets))
                assignment.weight += assignment.waiting[-1][-1]
            except BadBody as error:
                assignment.waiting.append((message, error))  # in its turn

    def _admit(self) -> bool:
        """Let in what there is room for; tell whether the graph is full."""
        if self._halting or self._poison.pending:
            return False
        for assignment in self._assigned.values():
            if not assignment.waiting or not assignment.takes(self._reading.max_uncommitted):
                continue
            room = self._reading.max_in_flight - self._source.in_flight
            if room <= 0:
                return True
            if not self._admit_of(assignment, room):
                return True
        return False

    def _admit_of(self, assignment: Assignment, room: int) -> bool:
        """Let in records of one partition; tell whether the graph took them."""
        if assignment.probing and not self._is_probed(assignment):
            return True
        most = 1 if assignment.probing else min(room, self._reading.max_uncommitted - assignment.offsets.open)
        chosen: list[tuple[Any, ...]] = []
        waiting = assignment.waiting
        while waiting and len(chosen) < most and len(waiting[0]) > 2:
            chosen.append(waiting.popleft())
        admitted = self._source.admit(chosen)
        waiting.extendleft(reversed(chosen[admitted:]))
        assignment.weight -= sum(record[-1] for record in chosen[:admitted])
        if admitted < len(chosen):
            return False
        if not chosen:  # one that cannot be read
            message, error = waiting.popleft()
            delivery = assignment.offsets.deliver(message.offset())
            self._poison.add(Failed(message, assignment.offsets, delivery, "", "BadBody", str(error), error))
        if assignment.probing:
            assignment.probing -= 1
        return True

    def _is_probed(self, assignment: Assignment) -> bool:
        """Look at the next record, as one of those to come has killed a process; tell whether it may be admitted."""
        message = _message_of(assignment.waiting[0])
        if message.offset() >= assignment.probe_end:
            assignment.probing = 0
            return True
        if message.offset() == assignment.deadly:
            assignment.waiting.popleft()
            delivery = assignment.offsets.deliver(message.offset())
            text = "the process has died of it as often as is borne"
            self._poison.add(Failed(message, assignment.offsets, delivery, "", "ProcessDied", text, reason="crash"))
            return False
        if message.offset() > assignment.start:
            assignment.journal = Journal("probe", 1)
        return self._commit_now([self._mark(assignment, message.offset())])

    def _hear_failures(self) -> None:
        for origin, offsets, delivery, step, _status, kind, message, cause in self._source.take_failed():
            if kind != "GraphClosed" and not offsets.revoked:
                self._poison.add(Failed(origin, offsets, delivery, step, kind, message, cause))
        for topic, number in self._poison.settle():
            assignment = self._assigned.get((topic, number))
            if assignment is not None and not assignment.stopped:
                assignment.stopped = True
                assignment.waiting.clear()
                _logger.error("%r is held: a record has failed, and on_poison says nothing else", assignment)
                self._say_ready(False)

    def _set_pauses(self) -> None:
        """Pause the partitions whose records wait already; resume those that have room again."""
        pause: list[Any] = []
        resume: list[Any] = []
        for assignment in self._assigned.values():
            wanted = self._halting or assignment.stopped or assignment.is_crowded
            if wanted != assignment.paused:
                assignment.paused = wanted
                (pause if wanted else resume).append(self._kafka.TopicPartition(*assignment.key))
        try:
            if pause:
                self._consumer.pause(pause)
            if resume:
                self._consumer.resume(resume)
        except self._kafka.KafkaException as error:
            _logger.error("a partition could not be paused: %s", error)

    # ---- commits

    def _commit_due(self) -> None:
        now = time.monotonic()
        if now < self._commit_at:
            return
        self._commit_at = now + self._reading.commit_interval
        due = []
        for assignment in self._assigned.values():
            if (assignment.probing and assignment.offsets.open) or (position := assignment.offsets.due()) is None:
                continue
            assignment.journal = Journal("run")
            due.append(self._mark(assignment, position))
        if due:
            try:
                self._consumer.commit(offsets=due, asynchronous=True)
            except self._kafka.KafkaException as error:
                self._committed(error, due)

    def _mark(self, assignment: Assignment, position: int) -> Any:
        return self._kafka.TopicPartition(
            assignment.topic, assignment.number, position, metadata=assignment.journal.write()
        )

    def _committed(self, error: Any, partitions: Iterable[Any]) -> None:
        if error is None:
            return
        level = logging.DEBUG if self._is_passing(error) else logging.WARNING
        _logger.log(level, "offsets could not be committed, and are tried again: %s", error)
        for partition in partitions:
            if assignment := self._assigned.get((partition.topic, partition.partition)):
                assignment.offsets.not_written()

    def _commit_now(self, marks: list[Any]) -> bool:
        """Commit and wait for it; tell whether it was done."""
        if not marks:
            return True
        end = time.monotonic() + _PASSING_SECONDS
        while error := self._failure_of_commit(marks):
            if not self._is_passing(error) or time.monotonic() > end:
                _logger.warning("offsets could not be committed: %s", error)
                return False
            self._source.wait(0, _LOOK)
        return True

    def _failure_of_commit(self, marks: list[Any]) -> Any:
        try:
            self._consumer.commit(offsets=marks, asynchronous=False)
        except self._kafka.KafkaException as error:
            return error.args[0]
        return None

    def _is_passing(self, error: Any) -> bool:
        """Whether a commit has failed just because the group is about to agree anew."""
        codes = self._kafka.KafkaError
        code = error.code() if isinstance(error, codes) else None
        return code in (codes.ILLEGAL_GENERATION, codes.REBALANCE_IN_PROGRESS, codes._WAIT_COORD)

    # ---- rebalances

    def _assign(self, consumer: Any, partitions: list[Any]) -> None:
        self.rebalances += 1
        committed = self._committed_before(consumer, partitions)
        marks = []
        for partition in partitions:
            found = committed[partition.topic, partition.partition]
            assignment = self._take_over(consumer, partition, found)
            self._assigned[assignment.key] = assignment
            partition.offset = assignment.offsets.position
            marks.append(self._mark(assignment, partition.offset))
        consumer.incremental_assign(partitions)
        self._commit_now(marks)

    def _committed_before(self, consumer: Any, partitions: list[Any]) -> dict[tuple[str, int], Any]:
        """Ask where the group is; until there is an answer, nothing can go on anyway."""
        while partitions:
            try:
                found = consumer.committed(partitions, timeout=_NET_SECONDS)
                if all(partition.error is None for partition in found):
                    return {(partition.topic, partition.partition): partition for partition in found}
                error = next(partition.error for partition in found if partition.error is not None)
            except self._kafka.KafkaException as raised:
                error = raised
            _logger.warning("the committed offsets could not be read: %s", error)
            if self._closing:
                raise GraphClosed("the source is closed")
            self._source.wait(0, _LOOK)
        return {}

    def _take_over(self, consumer: Any, partition: Any, committed: Any) -> Assignment:
        start = committed.offset
        if start < 0:
            low, high = consumer.get_watermark_offsets(partition, timeout=_NET_SECONDS)
            start = low if self._reading.initial_offset == "earliest" else high
        journal = Journal.read(committed.metadata)
        assignment = Assignment(partition.topic, partition.partition, start, Journal("run"))
        if journal.died:
            _, assignment.probe_end = consumer.get_watermark_offsets(partition, timeout=_NET_SECONDS)
            assignment.probing = self._reading.max_in_flight
            assignment.journal = Journal("probe", journal.died)
            assignment.deadly = start if journal.is_deadly else -1
        return assignment

    def _revoke(self, consumer: Any, partitions: list[Any]) -> None:
        """Let what is under way end, commit, and give the partitions back."""
        going = [self._assigned[key] for p in partitions if (key := (p.topic, p.partition)) in self._assigned]
        for assignment in going:
            assignment.waiting.clear()
        end = time.monotonic() + self._reading.revoke_wait
        while any(a.offsets.unsettled and not a.stopped for a in going) and time.monotonic() < end:
            self._source.wait(0, 0.02)
            self._hear_failures()
        marks = []
        for assignment in going:
            assignment.journal = Journal("end")
            marks.append(self._mark(assignment, assignment.offsets.position))
        self._commit_now(marks)
        self._forget(going)
        consumer.incremental_unassign(partitions)

    def _lose(self, consumer: Any, partitions: list[Any]) -> None:
        """Others own the partitions already: nothing may be committed."""
        self._forget([self._assigned[key] for p in partitions if (key := (p.topic, p.partition)) in self._assigned])
        consumer.incremental_unassign(partitions)

    def _forget(self, assignments: list[Assignment]) -> None:
        for assignment in assignments:
            assignment.offsets.revoke()
            self.late += assignment.offsets.unsettled
            del self._assigned[assignment.key]

    def _leave(self) -> None:
        try:
            self._hear_failures()
            self._consumer.close()  # which revokes, and so commits
        except Exception:
            _logger.exception("the consumer of %s could not be closed", self._reading.topics[0])
        for assignment in list(self._assigned.values()):
            assignment.offsets.revoke()
        self._poison.close()

    # ---- what others hear

    def _say_error(self, error: Any) -> None:
        if error.code() != self._kafka.KafkaError._PARTITION_EOF:
            _logger.error("%s cannot be read for now: %s", self._reading.topics[0], error.str())

    def _say_ready(self, ready: bool) -> None:
        if self._on_ready is not None:
            self._on_ready(ready)


def _message_of(waiting: tuple[Any, ...]) -> Any:
    """Return the message of a record, or of one that cannot be read."""
    return waiting[0] if len(waiting) == 2 else waiting[-2]
