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
_GATHER = 0.1  # seconds that dead letters wait for others: the brokers are asked once for all
_GATHERED = 200  # of them wait for no more
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

    def __str__(self) -> str:
        where = f"step '{self.step}' failed: " if self.step else ""
        return f"{where}{self.kind}: {self.text}"


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
        self._gathers = reading.on_poison != "stop" and transactions is None
        self._since = 0.0
        self._try_at = 0.0
        self._letters: DeadLetters | None = None
        if self._policy == "dead_letter":
            self._letters = DeadLetters(
                reading.brokers, reading.dead_letter, graph=graph, client=reading.producer(), transactions=transactions
            )

    @property
    def holds_up(self) -> bool:
        """Whether nothing more may be admitted until what has failed is dealt with."""
        return bool(self.pending) and not (self._gathers and self._is_gathering())

    @property
    def bears(self) -> int:
        """How many records have to fail until nothing more may be admitted."""
        return max(1, _GATHERED - len(self.pending)) if self._gathers else 1

    def add(self, failed: Failed) -> None:
        """Take a failed record over."""
        if not self.pending:
            self._since = time.monotonic()
        self.pending.append(failed)

    def _is_gathering(self) -> bool:
        return not self._try_at and len(self.pending) < _GATHERED

    def settle(self, *, at_once: bool = False) -> list[Failed]:
        """Deal with what has failed; return what its partitions have to be held for."""
        now = time.monotonic()
        if not self.pending or now < self._try_at:
            return []
        if self._gathers and self._is_gathering() and now < self._since + _GATHER and not at_once:
            return []
        failed, self.pending = [one for one in self.pending if not one.offsets.revoked], []
        if self._policy == "stop":
            return failed
        if self._letters is None:
            for one in failed:
                _logger.error("%s: skipped, as on_poison says: %s", _place(one.message), one)
                one.offsets.settle(one.delivery)
            return []
        written = self._letters.write((one.message, _facts(one)) for one in failed)
        for place, one in enumerate(failed):
            if place < len(written) and written[place]:
                _logger.warning("%s is a dead letter: %s", _place(one.message), one)
                one.offsets.settle(one.delivery)
            else:
                self.pending.append(one)
        self._try_at = time.monotonic() + _AGAIN if self.pending else 0.0
        return []

    def close(self) -> None:
        """Let go of the connections."""
        if self._letters is not None:
            self._letters.close()


def _facts(failed: Failed) -> dict[str, Any]:
    return failure_of(failed.step, failed.kind, failed.text, failed.cause, reason=failed.reason)


def _place(message: Any) -> str:
    return f"{message.topic()}[{message.partition()}]@{message.offset()}"
