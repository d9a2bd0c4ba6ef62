"""One partition while this process owns it."""

from __future__ import annotations

import logging
from collections import deque
from typing import Any

from penstock._core import Offsets
from penstock.kafka.journal import Journal

_MOST, _FEWEST = 16_000, 200  # records that wait before partitions are paused: of all, and of each
_HEAVIEST, _LIGHTEST = 16 << 20, 1 << 20  # bytes of them
PORTION = 64  # records
_logger = logging.getLogger("penstock")


class Assignment:
    """What the source knows of a partition from its assignment to its revocation.

    Attributes
    ----------
    offsets : Offsets
        How far its records are settled.
    journal : Journal
        What the next commit says.
    waiting : deque of Message
        Records that have come and are not admitted.
    weight : int
        What they weigh, in bytes.
    probing : int
        Records that still have to be taken carefully, as a process has died near them.
    singly : int
        Of these, how many one by one; the others in portions, each of which the next process would take one by one.
    probe_end : int
        The offset from which on no process can have died.
    died : int
        How many processes have died at the start, without having got any further.
    deadly : int
        The offset of a record that has killed as often as is borne; -1 for none.
    stopped : bool
        A record has failed for good, and nothing was said about what to do with such.
    stop_at : int
        The offset from which on nothing is taken, as the record there fails; -1 for none.
    committed : int
        Where the group is.
    """

    def __init__(self, topic: str, number: int, start: int, journal: Journal) -> None:
        self.topic = topic
        self.number = number
        self.start = start
        self.offsets = Offsets(start)
        self.journal = journal
        self.waiting: deque[Any] = deque()
        self.weight = 0
        self.probing = 0
        self.singly = 0
        self.probe_end = 0
        self.died = 0
        self.deadly = -1
        self.stopped = False
        self.stop_at = -1
        self.committed = start
        self.paused = False
        self._end = start  # no message has been seen from there on

    def add(self, messages: list[Any]) -> None:
        """Have messages that have come wait, as far as they are to be handled."""
        first, last = messages[0].offset(), messages[-1].offset()
        if first < self._end:
            _logger.warning("%r begins again at %d: it was made anew, or has lost its end", self, first)
            self.rewind(first)
            self.probing, self.deadly = 0, -1
        self._end = last + 1
        if self.stopped or self.stop_at >= 0:
            wanted = [] if self.stopped else [one for one in messages if one.offset() < self.stop_at]
            self.stopped = len(wanted) < len(messages)
            messages = wanted
        self.waiting.extend(messages)
        self.weight += sum(map(len, messages))

    def next(self, most: int) -> list[Any]:
        """Take the first of those that wait."""
        waiting = self.waiting
        taken = [waiting.popleft() for _ in range(min(most, len(waiting)))]
        self.weight -= sum(map(len, taken))
        return taken

    def put_back(self, messages: list[Any]) -> None:
        """Have these wait again, ahead of all others."""
        self.waiting.extendleft(reversed(messages))
        self.weight += sum(map(len, messages))

    def rewind(self, position: int) -> None:
        """Begin again there; what is known of deadly records stays."""
        self.offsets.revoke()
        self.offsets = Offsets(position)
        self.committed = self._end = position
        self.waiting.clear()
        self.weight = 0
        self.stopped = False

    def is_crowded(self, partitions: int) -> bool:
        """Whether enough waits, of a source that has so many partitions.

        Pausing throws away what the client has fetched, so it is not done lightly.
        """
        most = max(_FEWEST, _MOST // partitions)
        heaviest = max(_LIGHTEST, _HEAVIEST // partitions)
        part = 4 if self.paused else 1
        return len(self.waiting) > most // part or self.weight > heaviest // part

    @property
    def key(self) -> tuple[str, int]:
        """Topic and number."""
        return self.topic, self.number

    def takes(self, most: int) -> bool:
        """Tell whether a record may be admitted now."""
        return int(self.offsets.open) < (1 if self.probing else most)

    @property
    def portion(self) -> int:
        """How many records may be admitted together while a deadly one is looked for; else 0."""
        return 0 if not self.probing else 1 if self.singly else PORTION

    def probed(self, count: int) -> None:
        """Note that so many more have been admitted."""
        self.probing = max(0, self.probing - count)
        self.singly = max(0, self.singly - count)

    def __repr__(self) -> str:
        return f"{self.topic}[{self.number}]"
