"""What becomes of records that failed for good."""

from __future__ import annotations

import dataclasses
import functools
import logging
import time
from typing import TYPE_CHECKING, Any

from penstock._core import Offsets
from penstock.kafka.dead_letters import DeadLetters, failure_of
from penstock.kafka.settings import Reading
from penstock.pace import Pace

if TYPE_CHECKING:
    from penstock.kafka.transactions import Transactions

_AGAIN = 1.0  # seconds until dead letters that could not be written are tried again
_MOST = 200  # dead letters may be on their way to the brokers
_MOMENT = 0.01  # seconds that one of so many is waited for
_LINES = 20  # of the log a second, for single letters: to write one takes longer than to send the letter
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
        Those that are still to be sent to the dead-letter topic.
    """

    def __init__(self, reading: Reading, *, graph: str = "", transactions: Transactions | None = None) -> None:
        self._policy = reading.on_poison
        self.pending: list[Failed] = []
        self._sent = 0  # letters that have not been heard of yet
        self._try_at = 0.0
        self._lines = Pace(_LINES)
        self._untold = 0  # letters that no line of the log was written for
        self._tell_at = 0.0
        self._letters: DeadLetters | None = None
        if self._policy == "dead_letter":
            self._letters = DeadLetters(
                reading.brokers, reading.dead_letter, graph=graph, client=reading.producer(), transactions=transactions
            )

    @property
    def holds_up(self) -> bool:
        """Whether nothing more may be admitted until what has failed is dealt with."""
        return self.bears <= 0

    @property
    def bears(self) -> int:
        """How many records may fail until nothing more may be admitted."""
        if self._policy == "stop" or self._try_at:
            return 0 if self.pending else 1
        return _MOST - self._sent - len(self.pending)

    def add(self, failed: Failed) -> None:
        """Take a failed record over."""
        self.pending.append(failed)

    def settle(self) -> list[Failed]:
        """Deal with what has failed, as far as that is possible now; return what its partitions have to be held for."""
        if self._letters is not None and self._sent:
            self._letters.look(_MOMENT if self._sent >= _MOST else 0.0)
        if self._untold and time.monotonic() >= self._tell_at:
            self._tell_rest()
        if not self.pending or time.monotonic() < self._try_at:
            return []
        self._try_at = 0.0
        failed, self.pending = [one for one in self.pending if not one.offsets.revoked], []
        if self._policy == "stop":
            return failed
        for one in failed:
            if self._letters is None:
                _logger.error("%s: skipped, as on_poison says: %s", _place(one.message), one)
                one.offsets.settle(one.delivery)
            else:
                self._sent += 1
                self._letters.send(one.message, _facts(one), functools.partial(self._heard, one))
        return []

    def _heard(self, one: Failed, written: bool) -> None:
        """Hear what became of a letter: its record is settled, or it is tried again."""
        self._sent -= 1
        if written:
            one.offsets.settle(one.delivery)
            self._tell(one)
        else:
            self.pending.append(one)
            self._try_at = time.monotonic() + _AGAIN

    def _tell(self, one: Failed) -> None:
        if self._lines.lets_one():
            _logger.warning("%s is a dead letter: %s", _place(one.message), one)
            return
        if not self._untold:
            self._tell_at = time.monotonic() + 1.0
        self._untold += 1

    def _tell_rest(self) -> None:
        _logger.warning("%d more records are dead letters; their headers say why", self._untold)
        self._untold = 0

    def close(self) -> None:
        """Let go of the connections."""
        if self._letters is not None:
            self._letters.close()
        if self._untold:
            self._tell_rest()


def _facts(failed: Failed) -> dict[str, Any]:
    return failure_of(failed.step, failed.kind, failed.text, failed.cause, reason=failed.reason)


def _place(message: Any) -> str:
    return f"{message.topic()}[{message.partition()}]@{message.offset()}"
