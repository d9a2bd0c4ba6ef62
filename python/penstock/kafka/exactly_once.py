"""How a source tells its group how far it is: along with what was made of the records, in one transaction."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from penstock.kafka.commits import Commits
from penstock.kafka.journal import Journal

if TYPE_CHECKING:
    from penstock.kafka.assignment import Assignment
    from penstock.kafka.poison import Poison
    from penstock.kafka.transactions import Transactions

_NET_SECONDS = 10.0
_LEAST, _FIRST = 16, 256  # records under way: however slow the steps are, and before that is known
_logger = logging.getLogger("penstock")


class TransactionalCommits(Commits):
    """Lets records in while the process's transaction goes on; sends its positions along when that ends.

    When a transaction has been undone, the source goes back to where its group is. It does so when none of its records
    is under way any more, so that nothing of the old transaction can get into the next.

    Attributes
    ----------
    transactions : Transactions
        The process's.
    poison : Poison
        What is to be done with records that have failed.
    """

    transactions: Transactions
    poison: Poison

    def join(self, transactions: Transactions, poison: Poison) -> None:
        """Take part in the process's transactions."""
        self.transactions, self.poison = transactions, poison
        self._undone = transactions.undone
        self._done = transactions.done
        self._sent: list[tuple[Assignment, int]] = []
        self._limit = self.most
        self.most = self.probed = self.singly = min(self._limit, _FIRST)  # each takes a transaction of its own
        transactions.add(self)

    @property
    def holding(self) -> bool:
        """Whether records have to wait until the transaction has ended, or this source has gone back."""
        return self.transactions.ending or self.undoing

    @property
    def undoing(self) -> bool:
        """Whether the transaction is undone, or this source has not yet gone back."""
        return self.transactions.undoing or self.transactions.undone != self._undone

    @property
    def unfinished(self) -> bool:
        """Whether anything was let in that is not committed."""
        return any(a.offsets.open or a.offsets.position != a.committed for a in self._assigned.values())

    def look(self) -> None:
        """See how the transaction is getting on, and do this source's part."""
        self.transactions.look()
        self._follow()
        if self.transactions.undone != self._undone and not self._source.in_flight:
            self._go_back()
        if self.transactions.ending or self.transactions.undoing:
            self._arrive()
            self._follow()

    def begin(self, assignment: Assignment, offset: int) -> bool:
        """Write the journal's line before a record is tried that may be deadly, once all before it is committed."""
        if self.unfinished:
            self.transactions.end()
            return False
        return super().begin(assignment, offset)

    def give_back(self, going: Sequence[Assignment]) -> None:
        """End the transaction before the partitions go; undo it if their records take too long."""
        t = self.transactions
        done, end = t.done, time.monotonic() + self._reading.revoke_wait
        if not self.undoing and self.unfinished:
            for assignment in going:
                assignment.journal = Journal("end")
            t.end()
            while t.done == done and not t.undoing and time.monotonic() < end:
                self._arrive()
                if t.done == done:
                    self._source.wait(0, 0.02)
            self._follow()
            if t.done != done:
                return
            t.undo("partitions go elsewhere before their records have ended")
        self._say_end(going)

    def clear(self) -> None:
        """Undo what is to be undone: until then its positions are in doubt, and the brokers do not say where it is."""
        if self.transactions.undoing:
            self._arrive()

    def lose(self) -> None:
        """Others own partitions already: what was made of their records must not be seen."""
        self.transactions.undo("partitions were lost")

    def stop_at(self, assignment: Assignment, offset: int) -> None:
        """Hold a partition ahead of this record: what was made of it is undone, and all before it is done again."""
        assignment.stop_at = offset if assignment.stop_at < 0 else min(offset, assignment.stop_at)
        self.transactions.undo(f"{assignment!r} is held")

    def group(self) -> Any:
        """Return what the transaction's coordinator takes to see that this consumer still is a member.

        Raises
        ------
        LookupError
            It is none now. The client would then say so in a way that the brokers do not check.
        """
        metadata = self.consumer.consumer_group_metadata()
        if not self.consumer.memberid():  # in this order: once it is gone, it stays so until this source has heard
            raise LookupError("the consumer is no member of its group")
        return metadata

    def _arrive(self) -> None:
        """Tell the transaction that nothing of it is under way here, once that is so."""
        t = self.transactions
        if self._source.in_flight:
            return
        self._hear()
        if self.undoing:
            t.arrive(self, [])
        elif self.poison.pending:
            return
        elif any(assignment.offsets.unsettled for assignment in self._assigned.values()):
            t.undo("records have neither ended well nor failed")  # the graph was closed
        else:
            moved = [a for a in self._assigned.values() if a.offsets.position != a.committed]
            for assignment in moved:
                if assignment.journal.state == "probe":
                    assignment.journal = Journal("run")
            self._sent = [(assignment, assignment.offsets.position) for assignment in moved]
            t.arrive(self, [self.mark(assignment, position) for assignment, position in self._sent])

    def _follow(self) -> None:
        """Take notice of the end of a transaction."""
        t = self.transactions
        if t.done == self._done:
            return
        self._done = t.done
        for assignment, position in self._sent:
            assignment.committed = position
        self._sent = []
        # As many as end within about an interval: the transaction has to end in time.
        if t.drained > t.interval:
            self.most = max(_LEAST, self.most // 2)
        elif t.drained < t.interval / 2:
            self.most = min(self._limit, self.most * 2)

    def _go_back(self) -> None:
        """Read again from where the group is."""
        self.poison.pending.clear()
        self._source.take_failed()
        positions = self._positions(list(self._assigned.values()))
        if positions is None:
            return
        try:
            for assignment, position in positions:  # not by assigning anew, which a rebalance may not survive
                self.consumer.seek(self._kafka.TopicPartition(*assignment.key, position))
                assignment.rewind(position)
        except self._kafka.KafkaException as error:
            _logger.debug("a partition cannot be sought in yet: %s", error)  # it has just come, or is about to go
            return
        self._sent = []
        self._undone = self.transactions.undone

    def _positions(self, assignments: Sequence[Assignment]) -> list[tuple[Assignment, int]] | None:
        """Ask where the group is; None if there is no answer now."""
        asked = [self._kafka.TopicPartition(*assignment.key) for assignment in assignments]
        try:
            found = self.consumer.committed(asked, timeout=_NET_SECONDS) if asked else []
        except self._kafka.KafkaException as error:
            _logger.warning("the committed offsets could not be read: %s", error)
            return None
        if any(partition.error is not None for partition in found):
            return None
        known = {(partition.topic, partition.partition): partition.offset for partition in found}
        return [(a, known[a.key] if known[a.key] >= 0 else a.start) for a in assignments]

    def _say_end(self, going: Sequence[Assignment]) -> None:
        """Write into the journal that this consumer has not died, without moving the positions."""
        if self.undoing and self.transactions.in_doubt:
            return
        for assignment in going:
            assignment.journal = Journal("end")
        self.commit_now([self.mark(assignment, assignment.committed) for assignment in going])
