"""Small callables that the core runs around what a person wrote: the choice of outlets, the bound of a loop."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from penstock.errors import blame
from penstock.resolve import nearest

if TYPE_CHECKING:
    from penstock._core import Event, Port

_MAX_ITERATIONS = 100  # of a graph that sets none


def chooser(select: Callable[[Any], Any], followers: Sequence[str], name: str, *, empty_drops: bool) -> Any:
    """Make what asks `select_outlets` and turns the names that it gives into the core's numbers.

    Parameters
    ----------
    select : callable
        Takes a body; returns None for all that follow, or names of those.
    followers : sequence of str
        The steps that follow, in the order of the core's outlets.
    name : str
        The step.
    empty_drops : bool
        What an empty list means: none (the event is dropped), or all.

    Examples
    --------
    >>> choose = chooser(lambda body: ["b"], ["a", "b"], "r", empty_drops=True)
    >>> choose({})
    [1]
    """
    numbers = {follower: number for number, follower in enumerate(followers)}

    def choose(body: Any) -> list[int] | None:
        names = select(body)
        if names is None:
            return None
        if isinstance(names, str):
            names = [names]
        chosen = [numbers.get(each, -1) for each in names]
        if -1 in chosen:
            wrong = list(names)[chosen.index(-1)]
            allowed = ", ".join(numbers)
            raise ValueError(
                f"Invalid outlet '{wrong}' for '{name}'. Allowed outlets are: {allowed}.{nearest(str(wrong), numbers)}"
            )
        if len(set(chosen)) != len(chosen):
            raise ValueError(f"select_outlets of '{name}' named an outlet twice: {', '.join(map(str, names))}")
        return chosen if chosen or empty_drops else None

    return choose


class Visits:
    """Counts how often an event enters a step that a loop leads back to, and ends what never ends."""

    def __init__(self, name: str, limit: int | None) -> None:
        self._name = name
        self._limit = limit or int(os.environ.get("DEFAULT_MAX_ITERATIONS_FOR_CYCLES", _MAX_ITERATIONS))

    def enter(self, event: Event) -> Event:
        """Let an event in, or fail it."""
        visits: dict[str, int] = getattr(event, "penstock_visits", {})
        count = visits.get(self._name, 0) + 1
        if count > self._limit:
            error = RuntimeError(f"Max iterations exceeded in step '{self._name}' for event {event.id}")
            blame(error, self._name)
            raise error
        event.penstock_visits = {**visits, self._name: count}
        return event


class StageCalls:
    """What the core calls of a step that holds events; keeps what the step gives when the graph ends."""

    def __init__(self, stage: Any, results: list[Any]) -> None:
        self._finish = getattr(stage, "finish", None)
        self._results = results
        self.take = stage.take
        self.takes_chunks = bool(getattr(stage, "takes_chunks", False))
        if hasattr(stage, "wake"):
            self.wake = stage.wake
        if getattr(stage, "stranded", None) is not None:
            self.stranded = stage.stranded
        if hasattr(stage, "close"):
            self.close = stage.close

    def finish(self, port: Port) -> None:
        """Have the step send on what it holds."""
        result = self._finish(port) if self._finish is not None else None
        if result is not None:
            self._results.append(result)


def unwrapped(event: Event) -> Event:
    """Take an event out of the record of a queue, if it is one of ours."""
    from penstock.streams.records import unwrap

    unwrap(event)
    return event
