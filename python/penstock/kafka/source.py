"""Kafka topics as the source of a running graph, in the order of each partition.

One thread owns the consumer. It never blocks for long: what finds no room in the graph waits here, its partition
paused. A record's offset is settled in the core when the last event made of it has ended; only then a commit may
pass it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from orjson import loads

from penstock._core import Core, Offsets, Source, split_messages
from penstock.errors import GraphClosed, GraphError
from penstock.extras import load_extra
from penstock.kafka.assignment import Assignment
from penstock.kafka.commits import Commits
from penstock.kafka.exactly_once import TransactionalCommits
from penstock.kafka.journal import Journal
from penstock.kafka.poison import Failed, Poison
from penstock.kafka.records import unread
from penstock.kafka.settings import Reading
from penstock.kafka.topics import make_topics
from penstock.kafka.trouble import refusal

if TYPE_CHECKING:
    from penstock.kafka.transactions import Transactions

_MOST = 1000  # messages taken at once
_LOOK = 0.1  # seconds that a look for messages takes, and so the longest that a failure waits to be heard of
_HEAVIEST = 32 << 20  # bytes of the values under way, each of which is there twice: as it came, and read
_MOMENT = 0.01
_ALIVE = 0.5  # seconds between looks while the graph is full
_NET_SECONDS = 10.0
_ANSWER_SECONDS = 3.0  # of which a drain may have to wait for one
_ANEW_SECONDS = 5.0  # before a client that can do nothing more is replaced
_logger = logging.getLogger("penstock")
_repeated = logging.getLogger("penstock.kafka")  # which says the same but once in a while


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
    transactions : Transactions, optional
        What the records and all that is made of them are part of.
    """

    def __init__(
        self,
        reading: Reading,
        core: Core,
        entry: str | None = None,
        *,
        graph: str = "",
        on_ready: Callable[[bool], None] | None = None,
        transactions: Transactions | None = None,
    ) -> None:
        self._kafka = load_extra("confluent_kafka", "kafka", f"the stream of '{reading.topics[0]}'")
        self._reading = reading
        self._source = Source(core, entry, _HEAVIEST)
        self._on_ready = on_ready
        self._assigned: dict[tuple[str, int], Assignment] = {}
        self._partitions: dict[str, int] = {}  # how many there are when it begins
        self._look_at = 0.0
        self._halting = False
        self._closing = False
        self._halted = threading.Event()
        self.rebalances = 0
        self.late = 0  # settlements of partitions that had gone elsewhere
        self._transactions = transactions
        kind = Commits if transactions is None else TransactionalCommits
        self._commits = kind(self._kafka, reading, self._source, self._assigned, self._hear_failures)
        self._connect()  # first, as this says what is wrong with the settings
        self._poison = Poison(reading, graph=graph, transactions=transactions)
        if isinstance(self._commits, TransactionalCommits) and transactions is not None:
            self._commits.join(transactions, self._poison)
        self._thread = threading.Thread(target=self._run, name=f"penstock-kafka-{reading.topics[0]}", daemon=True)

    def start(self) -> None:
        """Join the group and begin to read."""
        self._thread.start()

    def halt(self, timeout: float = _NET_SECONDS) -> None:
        """Admit nothing more; what is under way goes on, and is committed."""
        self._halting = True
        if self._transactions is not None:
            self._transactions.stop()
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
            while not self._halting and not make_topics(self._reading, timeout=_ANSWER_SECONDS):
                self._source.wait(0, 1.0)
            while not self._halting and not self._count_partitions():
                self._source.wait(0, _LOOK)
            if self._halting:
                return  # before it has begun
            if self._transactions is not None:
                self._transactions.start()
            self._subscribe()
            while not self._closing:
                self._step()
                if self._is_useless:
                    self._begin_anew()
        except GraphClosed:
            pass
        except Exception:
            _logger.exception("the source of %s has failed", self._reading.topics[0])
            self._say_ready(False)
        finally:
            self._halted.set()
            self._leave()

    def _connect(self) -> None:
        settings = self._reading.consumer() | {"on_commit": self._commits.heard}
        try:
            self._consumer = self._kafka.Consumer(settings, logger=logging.getLogger("penstock.kafka"))
        except self._kafka.KafkaException as error:
            raise GraphError(f"the source of {self._reading.topics[0]}: {refusal(error, settings)}") from None
        self._commits.consumer = self._consumer
        self._is_useless = False

    def _subscribe(self) -> None:
        self._consumer.subscribe(
            list(self._reading.topics), on_assign=self._assign, on_revoke=self._revoke, on_lost=self._lose
        )

    def _begin_anew(self) -> None:
        """Join the group with another client: this one can do nothing more, as others have its place."""
        if self._assigned:
            self._commits.lose()
            self._forget(list(self._assigned.values()))
        self._consumer.close()
        end = time.monotonic() + _ANEW_SECONDS
        while not self._closing and (left := end - time.monotonic()) > 0:
            self._halted.wait(min(left, _LOOK))
        self._connect()
        self._subscribe()

    def _count_partitions(self) -> bool:
        """Note which partitions there are; tell whether the brokers know of any, as topics take a moment to be made."""
        try:
            for topic in self._reading.topics:
                found = self._consumer.list_topics(topic, timeout=_ANSWER_SECONDS).topics[topic]
                self._partitions[topic] = len(found.partitions)
        except self._kafka.KafkaException as error:
            _logger.warning("the partitions of %s are not known yet: %s", self._reading.topics[0], error)
            return False
        return all(self._partitions.values())

    def _step(self) -> None:
        self._hear_failures()
        self._commits.look()
        full = self._admit()
        if self._halting:
            for assignment in self._assigned.values():
                assignment.waiting.clear()
            self._halted.set()
        self._set_pauses()
        waiting = [assignment for assignment in self._assigned.values() if assignment.waiting]
        if self._commits.holding and not self._source.in_flight:  # others of the process are not as far
            self._take(_MOMENT)
        elif waiting or self._poison.pending or self._commits.holding:
            probing = self._commits.holding or any(assignment.probing for assignment in waiting)
            self._source.wait(0 if probing else self._source.in_flight // 2, _LOOK, max(1, self._poison.bears))
            if full and not probing and time.monotonic() < self._look_at:
                return
            self._take(0.0)
        else:
            self._take(_LOOK)

    def _take(self, timeout: float) -> None:
        """Take the messages that are there; wait for one if there are none."""
        self._look_at = time.monotonic() + _ALIVE
        messages = self._consumer.consume(_MOST, 0.0)
        if not messages and timeout and (first := self._consumer.poll(timeout)) is not None:
            messages = [first, *self._consumer.consume(_MOST, 0.0)]
        for place, run in split_messages(messages):
            if not run:
                self._say_error(place)
            elif (assignment := self._assigned.get(place)) is not None and not self._halting:
                assignment.add(run)

    def _admit(self) -> bool:
        """Let in what there is room for; tell whether the graph is full."""
        if self._halting or self._poison.holds_up or self._commits.holding:
            return False
        for assignment in self._assigned.values():
            if not assignment.waiting or not assignment.takes(self._reading.max_uncommitted):
                continue
            room = self._commits.most - self._source.in_flight
            if room <= 0:
                return True
            if not self._admit_of(assignment, room):
                return True
        return False

    def _admit_of(self, assignment: Assignment, room: int) -> bool:
        """Let in records of one partition; tell whether the graph took them."""
        if assignment.probing and not self._is_probed(assignment):
            return True
        most = assignment.portion or min(room, self._reading.max_uncommitted - assignment.offsets.open)
        chosen = assignment.next(most)
        left = self._admit_or_refuse(assignment.offsets, chosen)
        assignment.put_back(left)
        assignment.probed(len(chosen) - len(left))
        return not left or self._poison.holds_up

    def _admit_or_refuse(self, offsets: Offsets, messages: list[Any]) -> list[Any]:
        """Let in messages; those that cannot be read are poison. Return those that there was no room for."""
        while messages and not self._poison.holds_up:
            bears = self._poison.bears
            taken, unreadable = self._source.admit_messages(offsets, messages, loads, unread, bears)
            for message, delivery, error in unreadable:
                self._poison.add(Failed(message, offsets, delivery, "", "BadBody", str(error)))
            messages = messages[taken:]
            if len(unreadable) < bears:
                break
        return messages

    def _is_probed(self, assignment: Assignment) -> bool:
        """Look at the next record, as one of those to come has killed a process; tell whether it may be admitted."""
        message = assignment.waiting[0]
        if message.offset() >= assignment.probe_end:
            assignment.probing = 0
            return True
        if message.offset() == assignment.deadly:
            assignment.waiting.popleft()
            delivery = assignment.offsets.deliver(message.offset())
            text = "the process has died of it as often as is borne"
            self._poison.add(Failed(message, assignment.offsets, delivery, "", "ProcessDied", text, reason="crash"))
            return False
        if message.offset() == assignment.start:
            assignment.journal = Journal("probe", assignment.died)
        else:
            assignment.journal = Journal("probe", 1) if assignment.singly else Journal("run")
        return self._commits.begin(assignment, message.offset())

    def _hear_failures(self) -> None:
        for origin, offsets, delivery, step, _status, kind, message, cause in self._source.take_failed():
            if kind != "GraphClosed" and not offsets.revoked and not self._commits.undoing:
                self._poison.add(Failed(origin, offsets, delivery, step, kind, message, cause))
        for failed in () if self._commits.undoing else self._poison.settle():
            assignment = self._assigned.get((failed.message.topic(), failed.message.partition()))
            if assignment is not None and not assignment.stopped:
                self._commits.stop_at(assignment, failed.message.offset())
                _logger.error(
                    "%r is held at offset %d: %s. It is tried again at the next start; name a dead_letter topic, or "
                    "on_poison='skip', to go on without such records",
                    *(assignment, failed.message.offset(), failed),
                )
                self._say_ready(False)

    def _set_pauses(self) -> None:
        """Pause the partitions whose records wait already; resume those that have room again."""
        pause: list[Any] = []
        resume: list[Any] = []
        for assignment in self._assigned.values():
            wanted = self._halting or assignment.stopped or assignment.is_crowded(len(self._assigned))
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

    # ---- rebalances

    def _assign(self, consumer: Any, partitions: list[Any]) -> None:
        self.rebalances += 1
        committed = self._answer(lambda: self._commits.before(partitions), "the committed offsets")
        marks = []
        for partition in partitions:
            found = committed[partition.topic, partition.partition]
            assignment = self._take_over(consumer, partition, found)
            self._assigned[assignment.key] = assignment
            _logger.debug("assigned %r", assignment)
            partition.offset = assignment.offsets.position
            marks.append(self._commits.mark(assignment, partition.offset))
        consumer.incremental_assign(partitions)
        self._commits.commit_now(marks)

    def _ends_of(self, consumer: Any, partition: Any) -> Any:
        """Ask where a partition begins and ends. One that has just been made has nobody to say so for a moment."""
        what = f"the ends of {partition.topic}[{partition.partition}]"
        return self._answer(lambda: consumer.get_watermark_offsets(partition, timeout=_ANSWER_SECONDS), what)

    def _answer(self, ask: Callable[[], Any], what: str) -> Any:
        """Ask the brokers until there is an answer: nothing can go on without."""
        while True:
            self._commits.clear()
            try:
                if (found := ask()) is not None:
                    return found
            except self._kafka.KafkaException as error:
                _repeated.warning("%s could not be read: %s", what, error.args[0].str())
            if self._halting:
                self._halted.set()  # nothing is let in meanwhile
            if self._closing:
                raise GraphClosed("the source is closed")
            self._source.wait(0, _LOOK)

    def _take_over(self, consumer: Any, partition: Any, committed: Any) -> Assignment:
        start = committed.offset
        if start < 0:
            low, high = self._ends_of(consumer, partition)
            is_new = partition.partition >= self._partitions.get(partition.topic, 0)  # all of it is later than we
            start = low if is_new or self._reading.initial_offset == "earliest" else high
        journal = Journal.read(committed.metadata)
        assignment = Assignment(partition.topic, partition.partition, start, Journal("run"))
        if journal.died:
            _, assignment.probe_end = self._ends_of(consumer, partition)
            assignment.probing, assignment.singly = self._commits.probed, self._commits.singly
            # Until the record is tried the journal stays: who dies before has not died of it.
            assignment.journal, assignment.died = journal, journal.died
            assignment.deadly = start if journal.is_deadly else -1
        return assignment

    def _revoke(self, consumer: Any, partitions: list[Any]) -> None:
        """Let what is under way end, commit, and give the partitions back."""
        going = [self._assigned[key] for p in partitions if (key := (p.topic, p.partition)) in self._assigned]
        for assignment in going:
            assignment.waiting.clear()
        self._commits.give_back(going)
        self._forget(going)
        consumer.incremental_unassign(partitions)

    def _lose(self, consumer: Any, partitions: list[Any]) -> None:
        """Others own the partitions already: nothing may be committed."""
        self._commits.lose()
        self._forget([self._assigned[key] for p in partitions if (key := (p.topic, p.partition)) in self._assigned])
        consumer.incremental_unassign(partitions)

    def _forget(self, assignments: list[Assignment]) -> None:
        for assignment in assignments:
            assignment.offsets.revoke()
            self.late += assignment.offsets.unsettled
            _logger.debug("given back %r", assignment)
            del self._assigned[assignment.key]

    def _leave(self) -> None:
        try:
            self._hear_failures()
            self._consumer.close()  # which revokes, and so commits
            if self._transactions is not None and isinstance(self._commits, TransactionalCommits):
                self._transactions.remove(self._commits)
        except Exception:
            _logger.exception("the consumer of %s could not be closed", self._reading.topics[0])
        for assignment in list(self._assigned.values()):
            assignment.offsets.revoke()
        if self.late:
            _logger.info("%d records were under way when their partition went elsewhere, and come again", self.late)
        self._poison.close()

    # ---- what others hear

    def _say_error(self, error: Any) -> None:
        self._is_useless = self._is_useless or error.fatal() or error.code() == self._kafka.KafkaError._FATAL
        if error.code() != self._kafka.KafkaError._PARTITION_EOF:
            _repeated.error("%s cannot be read for now: %s", self._reading.topics[0], error.str())

    def _say_ready(self, ready: bool) -> None:
        if self._on_ready is not None:
            self._on_ready(ready)
