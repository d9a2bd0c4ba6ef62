"""Joining the parts of an event that went through several branches."""

from __future__ import annotations

import dataclasses
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from penstock.errors import GraphError, PenstockError
from penstock.resolve import compile_expression
from penstock.storey_steps.base import Port, Step, seconds, whole

_MAX_BEHIND = 1024  # as many as a server admits: parts of different events overlap here
_DEFAULT_KEY = "event.id"


class MissingParts(PenstockError, RuntimeError):
    """Some parts of an event did not come to the step that joins them."""


@dataclasses.dataclass
class _Parts:
    """What has come for one key."""

    started: float
    tokens: list[int] = dataclasses.field(default_factory=list)
    elements: list[Any] = dataclasses.field(default_factory=list)


class Merge(Step):
    """Joins the events of a key, by default those derived from one event, when all have come.

    The joined event's body is the list of their bodies in the order in which they came. It stands for all of them:
    what becomes of it becomes of them. A subclass may define `get_join_key` and `merge_function`.

    Parameters
    ----------
    full_event : bool, optional
        Whether `key_path`, `get_join_key` and `merge_function` get events, and not bodies; so it is without a
        `key_path`.
    key_path : str, optional
        An expression over `event`, such as ``event["doc_id"]``; the event's id if there is none.
    max_behind : int, optional
        How many keys may wait for parts. When there are more, those of the oldest fail, and so do parts that come
        for it later; 1,024 by default, as events overlap.
    expected_num_events : int, optional
        How many events a key has; as many as there are steps before this one, if it is not given.
    max_wait : float, optional
        After how many seconds the parts of a key fail that is still incomplete; without it they wait for the rest.

    Examples
    --------
    >>> Merge(key_path="event['doc']", expected_num_events=2).get_join_key({"doc": 7})
    7
    """

    def __init__(
        self,
        full_event: bool | None = None,
        key_path: str | None = None,
        max_behind: int | None = None,
        expected_num_events: int | None = None,
        *,
        max_wait: float | None = None,
        graph_step: Any = None,
        clock: Callable[[], float] = time.monotonic,
        **options: Any,
    ) -> None:
        super().__init__(
            full_event=not key_path if full_event is None else full_event, graph_step=graph_step, **options
        )
        if key_path is not None and not isinstance(key_path, str):
            raise GraphError(f"""key_path is an expression such as "event['id']", not {key_path!r:.60}""")
        if not key_path and not self.full_event:
            raise GraphError("the event's id is the key, so full_event=False needs a key_path")
        self.key_path = key_path
        self.max_behind = _MAX_BEHIND if max_behind is None else whole(max_behind, "max_behind", 1)
        if expected_num_events is not None:
            whole(expected_num_events, "expected_num_events", 0)
        self.expected_num_events = expected_num_events or len(getattr(graph_step, "after", None) or ())
        self._max_wait = None if max_wait is None else seconds(max_wait, "max_wait")
        self._clock = clock
        self._find_key: Callable[[Any], Any] = eval(compile_expression(key_path or _DEFAULT_KEY), {})  # noqa: S307  # written by the graph's author
        self._waiting: OrderedDict[Any, _Parts] = OrderedDict()
        self._given_up: OrderedDict[Any, int] = OrderedDict()  # and how many parts may still come

    def get_join_key(self, event: Any) -> Any:
        """Return what the events to be joined have in common."""
        return self._find_key(event)

    def merge_function(self, last_event: Any, events: list[Any]) -> Any:
        """Join the parts.

        Parameters
        ----------
        last_event : object
            The part that came last: an event with `full_event`, else a body.
        events : list
            All parts in the order in which they came, the last one, too.

        Returns
        -------
        object
            The joined event, or body; None filters it out.
        """
        if not self.full_event:
            return events
        last_event.body = [event.body for event in events]
        return last_event

    def take(self, port: Port, token: int, event: Any) -> None:
        """Keep a part, or join it with the others."""
        if self.expected_num_events <= 1:
            port.emit([token], event)
            return
        element = self.element(event)
        key = self.get_join_key(element)
        if key in self._given_up:
            self._refuse_late(key)
        parts = self._waiting.get(key)
        if parts is None:
            parts = self._waiting[key] = _Parts(self._clock())
            if self._max_wait is not None and len(self._waiting) == 1:
                port.wake_after(self._max_wait)
        parts.tokens.append(token)
        parts.elements.append(element)
        if len(parts.tokens) == self.expected_num_events:
            del self._waiting[key]
            self._join(port, event, element, parts)
        elif len(self._waiting) > self.max_behind:
            oldest = next(iter(self._waiting))
            self._give_up(port, oldest, f"{self.max_behind} later keys wait, max_behind= takes more")

    def wake(self, port: Port) -> None:
        """Give those up that have waited too long."""
        if self._max_wait is None:
            return
        now = self._clock()
        while self._waiting:
            key, parts = next(iter(self._waiting.items()))
            left = parts.started + self._max_wait - now
            if left > 0:
                port.wake_after(left)
                return
            self._give_up(port, key, f"in {self._max_wait:g} s")

    def strand(self, port: Port, token: int) -> None:
        """Filter out an event whose other parts have ended on the way: they cannot come any more."""
        for key, parts in self._waiting.items():
            if token in parts.tokens:
                del self._waiting[key]
                port.drop(parts.tokens)
                return

    @property
    def stranded(self) -> Callable[[Port, int], None] | None:
        """What the core calls when no further part of an event can come; parts of a key may be events of others."""
        own_key = type(self).get_join_key is not Merge.get_join_key
        return None if self.key_path or own_key else self.strand

    def finish(self, port: Port) -> None:
        """Give all up that are incomplete."""
        for key in list(self._waiting):
            self._give_up(port, key, "before the graph ended")

    def _join(self, port: Port, event: Any, element: Any, parts: _Parts) -> None:
        try:
            result = self.merge_function(element, parts.elements)
            value = None if result is None else self.put(event, result)
        except Exception as error:
            port.fail(parts.tokens, error)
            return
        if value is None:
            port.drop(parts.tokens)
        else:
            port.emit(parts.tokens, value)

    def _refuse_late(self, key: Any) -> None:
        left = self._given_up.pop(key) - 1
        if left:
            self._given_up[key] = left
        raise MissingParts(f"a part of the event with the key {key!r:.60} came after the others were given up")

    def _give_up(self, port: Port, key: Any, why: str) -> None:
        parts = self._waiting.pop(key)
        self._given_up[key] = self.expected_num_events - len(parts.tokens)
        if len(self._given_up) > self.max_behind:
            self._given_up.popitem(last=False)
        text = (
            f"missing parts for event key {key!r:.60}: {len(parts.tokens)} of {self.expected_num_events} came, "
            f"no more {why}"
        )
        if self.logger is not None:
            self.logger.warning(text)
        port.fail(parts.tokens, MissingParts(text))
