"""What a commit's metadata says about how its consumer ended, so that a record that kills processes is found.

A consumer writes ``run`` when it takes a partition over and ``end`` when it gives it back. One that finds ``run`` at
the position where it is to begin follows one that died without having got any further. It then takes the records one
by one, with a line in the journal before each; the record that has killed three times is a dead letter. Deaths before a
record is tried, of a process that waits for one or is just about to begin, count for nothing.
"""

from __future__ import annotations

import dataclasses

DEATHS = 3


@dataclasses.dataclass(frozen=True)
class Journal:
    """The last line written for a partition.

    Attributes
    ----------
    state : str
        "run", "probe" (this one record alone is under way), or "end".
    deaths : int
        How many consumers have died since the position last moved.
    """

    state: str = "end"
    deaths: int = 0

    @classmethod
    def read(cls, metadata: str | None) -> Journal:
        """Read a commit's metadata; what somebody else has written there counts as a clean end.

        Examples
        --------
        >>> Journal.read("penstock probe 2"), Journal.read("theirs").state
        (Journal(state='probe', deaths=2), 'end')
        """
        words = (metadata or "").split()
        if len(words) == 3 and words[0] == "penstock" and words[1] in ("run", "probe") and words[2].isdigit():
            return cls(words[1], int(words[2]))
        return cls()

    def write(self) -> str:
        """Return the metadata."""
        return f"penstock {self.state} {self.deaths}"

    @property
    def died(self) -> int:
        """How many have died, with the one that wrote this."""
        return 0 if self.state == "end" else self.deaths + 1

    @property
    def is_deadly(self) -> bool:
        """Whether the record at the position has killed as often as is borne."""
        return self.state == "probe" and self.died >= DEATHS
