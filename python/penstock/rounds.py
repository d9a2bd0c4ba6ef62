"""What all processes of a server are asked to do: one after the other, or all at once."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

from penstock.renewal import say_renewed


class InTurn:
    """Has each make its graph anew, while the others serve on.

    When one cannot do it the round ends, so that the others stay as they are.

    Parameters
    ----------
    send : callable
        Asks the process of this number; tells whether that could be sent.

    Examples
    --------
    >>> turns = InTurn(lambda index: print(f"ask {index}") is None)
    >>> turns.begin("shop", [0, 1])
    ask 0
    >>> turns.heard(0, None)
    ask 1
    >>> turns.gone(1)
    """

    def __init__(self, send: Callable[[int], bool]) -> None:
        self._send = send
        self._name = ""
        self._asked: int | None = None
        self._left: list[int] = []
        self._again: list[int] = []

    def begin(self, name: str, processes: Iterable[int]) -> None:
        """Ask each; during a round, have another one follow."""
        self._name = name
        self._again = list(processes)
        if self._asked is None:
            self._start()

    def heard(self, process: int, wrong: str | None) -> None:
        """Take note of what has come of it in a process."""
        if process != self._asked:
            return
        if wrong is None and self._left:
            self._next()
            return
        if wrong is not None and self._left:
            wrong += f"; so do the {len(self._left)} that come after it"
        say_renewed(self._name, None if wrong is None else f"worker {process}: {wrong}")
        self._end()

    def gone(self, process: int) -> None:
        """Take note that a process has died: the one that takes its place reads the source anew anyway."""
        if process in self._left:
            self._left.remove(process)
        if process == self._asked:
            self._next()

    def _start(self) -> None:
        self._left, self._again = self._again, []
        self._next()

    def _next(self) -> None:
        while self._left:
            self._asked = self._left.pop(0)
            if self._send(self._asked):
                return
        self._end()

    def _end(self) -> None:
        self._asked = None
        self._left = []
        if self._again:
            self._start()


@dataclasses.dataclass
class _Asked:
    asker: int
    number: int
    waiting: set[int]
    wrong: list[str]


class Everywhere:
    """Has all processes do what one of them has done and asks of the others, such as to load a model.

    Parameters
    ----------
    send : callable
        Sends a message to the process of a number; tells whether it could.

    Attributes
    ----------
    changes : list of dict
        What was asked, for processes that are started later; of what concerns the same model, the last.

    Examples
    --------
    >>> everywhere = Everywhere(lambda index, message: print(index, message) is None)
    >>> everywhere.ask(0, 7, {"operation": "load", "model": "m"}, [0, 1])
    1 {'do': 1, 'what': {'operation': 'load', 'model': 'm'}}
    >>> everywhere.heard(1, 1, "no such file")
    0 {'all': 7, 'wrong': ['worker 1: no such file']}
    """

    def __init__(self, send: Callable[[int, dict[str, Any]], bool]) -> None:
        self.changes: list[dict[str, Any]] = []
        self._send = send
        self._asked: dict[int, _Asked] = {}
        self._last = 0

    def ask(self, asker: int, number: int, what: dict[str, Any], processes: Iterable[int]) -> None:
        """Pass on what one process asks, under a number of its own."""
        self.changes = [change for change in self.changes if change["model"] != what["model"]] + [what]
        self._last += 1
        asked = self._asked[self._last] = _Asked(asker, number, set(processes) - {asker}, [])
        message = {"do": self._last, "what": what}
        asked.waiting = {process for process in asked.waiting if self._send(process, message)}
        self._answer()

    def heard(self, number: int, process: int, wrong: str | None) -> None:
        """Take note that a process has done it, or what is wrong."""
        asked = self._asked.get(number)
        if asked is not None:
            asked.waiting.discard(process)
            asked.wrong += [] if wrong is None else [f"worker {process}: {wrong}"]
            self._answer()

    def gone(self, process: int) -> None:
        """Take note that a process has died: the one that takes its place is told of the changes."""
        for asked in self._asked.values():
            asked.waiting.discard(process)
        self._answer()

    def forget(self) -> None:
        """Take note that graphs are made anew, without what was changed."""
        self.changes = []

    def _answer(self) -> None:
        for number, asked in list(self._asked.items()):
            if not asked.waiting:
                del self._asked[number]
                self._send(asked.asker, {"all": asked.number, "wrong": asked.wrong})
