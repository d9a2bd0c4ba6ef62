"""So many a second, and no more: lines of a log in a flood of failures, say."""

from __future__ import annotations

import time
from collections import deque


class Pace:
    """Lets so many a second through.

    Parameters
    ----------
    most : int
        How many.

    Examples
    --------
    >>> pace = Pace(2)
    >>> pace.lets_one(), pace.lets_one(), pace.lets_one()
    (True, True, False)
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._let: deque[float] = deque(maxlen=most)

    def lets_one(self) -> bool:
        """Tell whether one more may go now, and count it if so."""
        now = time.monotonic()
        if len(self._let) == self._most and now < self._let[0] + 1.0:
            return False
        self._let.append(now)
        return True
