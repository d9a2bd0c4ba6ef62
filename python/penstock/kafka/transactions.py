"""The transactions of a process: what it writes to Kafka, and how far it has read for that, all or nothing.

There is one at a time, for all sources and queues of the process. When it is to end, the sources let nothing in; when
the last record under way has ended, the producer is flushed, the positions are sent along, and it is committed.
Whatever goes wrong undoes it: then the sources go back to what their groups have committed.

Two consumers can take a record for theirs while a group agrees anew. The positions are sent with the group's
metadata, so that the brokers refuse those of a process that is no member any more: that, not the transactional id, is
what keeps processes of one function apart. The id only has to be nobody else's at the time. That a process finds the
id of its predecessor is good, though: what that one has left open is undone at once, rather than when it times out.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from penstock.errors import GraphClosed, StreamError
from penstock.extras import load_extra
from penstock.kafka.instance import Instance

if TYPE_CHECKING:
    from penstock.kafka.exactly_once import TransactionalCommits

_NET_SECONDS = 5.0
# Seconds for a step of a transaction's end. A client that has not got on by then may never: it is made anew.
_PATIENCE = 10.0
_LONG_SECONDS = 10.0  # of waiting for steps before it is said
_PAUSE, _LONGEST_PAUSE = 0.1, 5.0  # seconds between one that was undone and the next
_logger = logging.getLogger("penstock")
_repeated = logging.getLogger("penstock.kafka")  # which says the same but once in a while


class Transactions:
    """One transaction after the other. Every method may be called from any thread.

    Parameters
    ----------
    brokers : str
        Where all topics are.
    name : str
        The function's name, for the transactional id.
    client : dict
        Further settings of the producer, under its own names.
    interval : float
        Seconds that a transaction goes on before it is to end.

    Attributes
    ----------
    ending, undoing : bool
        What is under way is waited for, in order to commit or to undo.
    done, undone : int
        How many have been committed, and undone.
    in_doubt : bool
        Whether the last one was to be committed and may have been, or not.
    drained : float
        Seconds that the last one waited for what was under way.
    """

    def __init__(self, brokers: str, name: str, *, client: dict[str, Any], interval: float) -> None:
        self._kafka = load_extra("confluent_kafka", "kafka", "guarantee='exactly_once'")
        self.brokers = brokers
        self.interval = interval
        self._instance = Instance(name)
        self._id = self._instance.name
        self._settings = client | {"bootstrap.servers": brokers, "enable.idempotence": True}
        self._lock = threading.RLock()  # guards all below; held while a transaction begins or ends
        self._producer: Any = None
        self._members: list[TransactionalCommits] = []
        self._arrived: dict[TransactionalCommits, list[Any]] = {}
        self._open = False
        self._fatal = False  # this producer can do nothing more
        self._stopping = threading.Event()
        self._closed = threading.Event()
        self.ending = self.undoing = self.in_doubt = False
        self.done = self.undone = 0
        self.drained = 0.0
        self._due = self._since = self._said = 0.0
        self._pause = _PAUSE

    def add(self, member: TransactionalCommits) -> None:
        """Have a source take part."""
        with self._lock:
            self._members.append(member)

    def remove(self, member: TransactionalCommits) -> None:
        """Have a source take part no longer; it has given back all its partitions."""
        with self._lock:
            if member in self._members:
                self._members.remove(member)
            self._arrived.pop(member, None)
            self._end_if_all_have_arrived()

    def start(self) -> None:
        """Connect, and undo what a process of the same id has left; returns when that is done.

        Raises
        ------
        GraphClosed
            It was not done yet when `stop` was called.
        """
        with self._lock:
            if self._producer is None:
                self._connect()

    def stop(self) -> None:
        """Wait no longer for brokers with which a transaction could begin: there is to be none any more."""
        self._stopping.set()

    def close(self) -> None:
        """Let go of the connections; what is open is undone."""
        self._closed.set()
        with self._lock:
            if self._producer is not None and self._open:
                self._try(self._producer.abort_transaction)
            self._producer = None
            self._instance.release()

    # ---- what is written

    def produce(self, topic: str, value: Any, key: Any = None, **more: Any) -> None:
        """Write a record.

        Raises
        ------
        StreamError
            It cannot be written, or not now, as the transaction is being undone.
        """
        codes = self._kafka.KafkaError
        with self._lock:
            try:
                self._begin()
                while not self._queued(topic, value, key, more):
                    self._producer.poll(0.1)
            except (TypeError, ValueError) as error:
                raise StreamError(f"cannot push to the topic {topic}: {error}") from None
            except self._kafka.KafkaException as error:
                if error.args[0].code() not in (codes.MSG_SIZE_TOO_LARGE, codes._UNKNOWN_PARTITION, codes._INVALID_ARG):
                    self._undo(error)
                raise StreamError(f"cannot push to the topic {topic}: {error}") from None

    def _queued(self, topic: str, value: Any, key: Any, more: dict[str, Any]) -> bool:
        try:
            self._producer.produce(topic, value, key, **more)
        except BufferError:
            return False
        return True

    def _begin(self) -> None:
        if self.undoing or self._producer is None:
            raise StreamError("the transaction is being undone")
        if not self._open:
            self._producer.begin_transaction()
            self._open = True

    # ---- how it ends

    def look(self) -> None:
        """Have the transaction end, if it is time."""
        now = time.monotonic()
        if not self.ending and not self.undoing and now >= self._due:
            self.end()
        elif (self.ending or self.undoing) and now > max(self._since, self._said) + _LONG_SECONDS:
            self._said = now
            _logger.warning("a transaction cannot end: steps have been at their records for %g s", _LONG_SECONDS)

    def end(self) -> None:
        """Have the transaction end as soon as nothing of it is under way."""
        with self._lock:
            if not self.ending and not self.undoing:
                self.ending = True
                self._since = time.monotonic()

    def undo(self, why: object) -> None:
        """Have the transaction be undone as soon as nothing of it is under way."""
        with self._lock:
            self._undo(why)

    def _undo(self, why: object) -> None:
        error = why.args[0] if isinstance(why, self._kafka.KafkaException) else None
        if error is not None and error.fatal():
            self._fatal = True
            if error.code() == self._kafka.KafkaError._FENCED:  # somebody else uses the id: do not fence each other
                self._id = f"{self._instance.name}.{uuid.uuid4().hex[:8]}"
        if not self.undoing:
            _logger.warning("a transaction is undone, and its records come again: %s", why)
            self.undoing, self.ending = True, False
            self._since = time.monotonic()
            self._arrived.clear()

    def arrive(self, member: TransactionalCommits, marks: list[Any]) -> None:
        """Hear from a source that nothing of it is under way, and how far it is; the last one ends the transaction."""
        with self._lock:
            if self.ending or self.undoing:
                self._arrived[member] = marks
                self._end_if_all_have_arrived()

    def _end_if_all_have_arrived(self) -> None:
        if not (self.ending or self.undoing) or len(self._arrived) < len(self._members):
            return
        arrived, self._arrived = self._arrived, {}
        if self.undoing:
            self._undo_now()
            return
        self.drained = time.monotonic() - self._since
        try:
            if self._open or any(arrived.values()):
                self._commit(arrived)
        except (LookupError, StreamError, self._kafka.KafkaException) as error:
            self.in_doubt = True
            self._undo(error)
        else:
            self.done += 1
            self.ending = self.in_doubt = False
            self._pause = _PAUSE
            self._due = time.monotonic() + self.interval

    def _commit(self, arrived: dict[TransactionalCommits, list[Any]]) -> None:
        self._begin()
        self._producer.flush(_NET_SECONDS)  # quicker than leaving it to the commit, which does it again
        for member, marks in arrived.items():
            if marks:
                self._send_offsets(member, marks)
        self._patiently(self._producer.commit_transaction)
        self._open = False

    def _send_offsets(self, member: TransactionalCommits, marks: list[Any]) -> None:
        self._patiently(self._producer.send_offsets_to_transaction, marks, member.group())

    def _undo_now(self) -> None:
        if self._fatal or (self._open and not self._try(self._producer.abort_transaction)):
            self._connect()
        self._open = False
        self.undoing = False
        self.undone += 1
        self._closed.wait(self._pause)
        self._due = time.monotonic() + self.interval
        self._pause = min(2 * self._pause, _LONGEST_PAUSE)

    def _patiently(self, call: Callable[..., Any], *given: Any, until: threading.Event | None = None) -> None:
        """Make a call again while the client says that this helps."""
        end = time.monotonic() + _PATIENCE
        while error := self._failure_of(call, *given):
            if not error.args[0].retriable() or (until or self._closed).wait(_PAUSE) or time.monotonic() > end:
                raise error

    def _failure_of(self, call: Callable[..., Any], *given: Any) -> Any:
        """Make a call on a thread of its own: the client may not come back from it, whatever timeout it is given."""
        failures: queue.SimpleQueue[Any] = queue.SimpleQueue()

        def run() -> None:
            try:
                call(*given, _NET_SECONDS)
            except self._kafka.KafkaException as error:
                failures.put(error)
            else:
                failures.put(None)

        threading.Thread(target=run, name="penstock-kafka-transaction", daemon=True).start()
        try:
            return failures.get(timeout=2 * _NET_SECONDS)
        except queue.Empty:
            self._fatal = True
            raise StreamError("the client does not come back from ending a transaction") from None

    def _try(self, call: Callable[..., Any]) -> bool:
        try:
            self._patiently(call)
        except (StreamError, self._kafka.KafkaException) as error:
            _logger.warning("a transaction could not be undone: %s", error)
            return False
        return True

    def _connect(self) -> None:
        """Make a producer anew, which ends what one of the same id has left open."""
        self._producer, pause = None, _PAUSE
        while True:
            producer = self._kafka.Producer(
                self._settings | {"transactional.id": self._id}, logger=logging.getLogger("penstock.kafka")
            )
            try:
                self._patiently(producer.init_transactions, until=self._stopping)
            except (StreamError, self._kafka.KafkaException) as error:
                why = error if isinstance(error, StreamError) else error.args[0].str()
                _repeated.warning("no transactions as %s for now: %s", self._id, why)
            else:
                self._producer, self._fatal = producer, False
                return
            if self._stopping.wait(pause):
                raise GraphClosed("the transactions are closed")
            pause = min(2 * pause, _LONGEST_PAUSE)
