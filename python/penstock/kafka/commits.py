"""How a source tells its group how far it is: by commits of their own, which is at least once."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from penstock.kafka.assignment import PORTION
from penstock.kafka.journal import Journal

if TYPE_CHECKING:
    from penstock._core import Source
    from penstock.kafka.assignment import Assignment
    from penstock.kafka.settings import Reading

_LOOK = 0.1  # seconds between tries
_ANSWER_SECONDS = 3.0  # of which a drain may have to wait for one
_PASSING_SECONDS = 2.0  # a rebalance takes no longer
_logger = logging.getLogger("penstock")


class Commits:
    """Commits what is settled now and then, and when partitions go elsewhere; for the source's thread alone.

    Parameters
    ----------
    kafka : module
        The client's module.
    reading : Reading
        What is read.
    source : Source
        The core's side of it.
    assigned : dict
        The partitions that the source owns.
    hear : callable
        Has the source deal with what has failed.

    Attributes
    ----------
    consumer : Consumer
        Set when there is one.
    most : int
        Records that may be under way.
    probed, singly : int
        Records that are tried carefully after a process has died, and how many of them one by one.
    """

    consumer: Any

    def __init__(
        self,
        kafka: Any,
        reading: Reading,
        source: Source,
        assigned: dict[tuple[str, int], Assignment],
        hear: Callable[[], None],
    ) -> None:
        self._kafka = kafka
        self._reading = reading
        self._source = source
        self._assigned = assigned
        self._hear = hear
        self._at = 0.0
        self.most = self.probed = reading.max_in_flight
        self.singly = PORTION

    @property
    def holding(self) -> bool:
        """Whether records have to wait until something is committed."""
        return False

    @property
    def undoing(self) -> bool:
        """Whether what is under way will come again, so that its failures mean nothing."""
        return False

    def look(self) -> None:
        """Commit, if it is time."""
        now = time.monotonic()
        if now < self._at:
            return
        self._at = now + self._reading.commit_interval
        due = []
        for assignment in self._assigned.values():
            if (assignment.probing and assignment.offsets.open) or (position := assignment.offsets.due()) is None:
                continue
            assignment.journal = Journal("run")
            due.append(self.mark(assignment, position))
        if due:
            try:
                self.consumer.commit(offsets=due, asynchronous=True)
            except self._kafka.KafkaException as error:
                self.heard(error, due)

    def before(self, partitions: list[Any]) -> dict[tuple[str, int], Any]:
        """Ask where the group is in these partitions.

        Raises
        ------
        KafkaException
            There is no answer now.
        """
        found = self.consumer.committed(partitions, timeout=_ANSWER_SECONDS) if partitions else []
        if error := next((partition.error for partition in found if partition.error is not None), None):
            raise self._kafka.KafkaException(error)
        return {(partition.topic, partition.partition): partition for partition in found}

    def heard(self, error: Any, partitions: Iterable[Any]) -> None:
        """Hear what became of a commit that was not waited for."""
        if error is None:
            return
        level = logging.DEBUG if self._is_passing(error) else logging.WARNING
        _logger.log(level, "offsets could not be committed, and are tried again: %s", error)
        for partition in partitions:
            if assignment := self._assigned.get((partition.topic, partition.partition)):
                assignment.offsets.not_written()

    def begin(self, assignment: Assignment, offset: int) -> bool:
        """Write the journal's line before a record is tried that may be deadly; tell whether it may be."""
        return self.commit_now([self.mark(assignment, offset)])

    def give_back(self, going: Sequence[Assignment]) -> None:
        """Let what is under way of these partitions end, and commit for the last time."""
        end = time.monotonic() + self._reading.revoke_wait
        while any(a.offsets.unsettled and not a.stopped for a in going) and time.monotonic() < end:
            self._source.wait(0, 0.02)
            self._hear()
        marks = []
        for assignment in going:
            assignment.journal = Journal("end")
            marks.append(self.mark(assignment, assignment.offsets.position))
        self.commit_now(marks)

    def clear(self) -> None:
        """See that nothing of one's own is in the way of those who ask where the group is."""

    def lose(self) -> None:
        """Others own partitions already: nothing may be committed for them."""

    def stop_at(self, assignment: Assignment, offset: int) -> None:  # noqa: ARG002  # what is open stays uncommitted
        """Hold a partition, as the record at this offset has failed for good."""
        assignment.stopped = True
        assignment.waiting.clear()

    def mark(self, assignment: Assignment, position: int) -> Any:
        """Say how far a partition is, with its journal, in a commit."""
        _logger.debug("committing %r at %d", assignment, position)
        return self._kafka.TopicPartition(
            assignment.topic, assignment.number, position, metadata=assignment.journal.write()
        )

    def commit_now(self, marks: list[Any]) -> bool:
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
            self.consumer.commit(offsets=marks, asynchronous=False)
        except self._kafka.KafkaException as error:
            return error.args[0]
        return None

    def _is_passing(self, error: Any) -> bool:
        """Whether a commit has failed just because the group is about to agree anew."""
        codes = self._kafka.KafkaError
        code = error.code() if isinstance(error, codes) else None
        return code in (codes.ILLEGAL_GENERATION, codes.REBALANCE_IN_PROGRESS, codes._WAIT_COORD)
