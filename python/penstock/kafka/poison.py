"""What becomes of records that failed for good."""

from __future__ import annotations

import dataclasses
import logging
import time
from typing import TYPE_CHECKING, Any

from penstock._core import Offsets
from penstock.kafka.dead_letters import DeadLetters, failure_of
from penstock.kafka.settings import Reading

if TYPE_CHECKING:
    from penstock.kafka.transactions import Transactions

_AGAIN = 1.0  # seconds until dead letters that could not be written are tried again
_logger = logging.getLogger("penstock")


@dataclasses.dataclass
class Failed:
    """A record that failed; its offset is open until it is dealt with."""

    message: Any
    offsets: Offsets
    delivery: int
    step: str
    kind: str
    text: str
    cause: BaseException | None = None
    reason: str = ""


class Poison:
    """Deals with failed records as `Reading.on_poison` says.

    Attributes
    ----------
    pending : list of Failed
        Those that are still to be written to the dead-letter topic.
    """

    def __init__(self, reading: Reading, *, graph: str = "", transactions: Transactions | None = None) -> None:
        self._policy = reading.on_poison
        self.pending: list[Failed] = []
        self._try_at = 0.0
        self._letters: DeadLetters | None = None
        if self._policy == "dead_letter":
            self._letters = DeadLetters(
                reading.brokers, reading.dead_letter, graph=graph, client=reading.producer(), transactions=transactions
            )

    def add(self, failed: Failed) -> None:
        """Take a failed record over."""
        self.pending.append(failed)

    def settle(self) -> list[Failed]:
        """Deal with what has failed; return what its partitions have to be held for."""
        if not self.pending or time.monotonic() < self._try_at:
            return []
        failed, self.pending = [one for one in self.pending if not one.offsets.revoked], []
        if self._policy == "stop":
            return failed
        if self._letters is None:
            for one in failed:
                _logger.error("%s: skipped, as on_poison says: %s: %s", _place(one.message), one.kind, one.text)
                one.offsets.settle(one.delivery)
            return []
        written = self._letters.write((one.message, _facts(one)) for one in failed)
        for place, one in enumerate(failed):
            if place < len(written) and written[place]:
                _logger.warning("%s is a dead letter: %s: %s", _place(one.message), one.kind, one.text)
                one.offsets.settle(one.delivery)
            else:
                self.pending.append(one)
        if self.pending:
            self._try_at = time.monotonic() + _AGAIN
        return []

    def close(self) -> None:
        """Let go of the connections."""
        if self._letters is not None:
            self._letters.close()


def _facts(failed: Failed) -> dict[str, Any]:
    return failure_of(failed.step, failed.kind, failed.text, failed.cause, reason=failed.reason)


def _place(message: Any) -> str:
    return f"{message.topic()}[{message.partition()}]@{message.offset()}"
