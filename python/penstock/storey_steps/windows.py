"""Steps that hold events: batches and samples."""

from __future__ import annotations

import dataclasses
import enum
import time
from collections.abc import Callable
from typing import Any

from penstock.errors import GraphError
from penstock.storey_steps.base import Key, Port, Step, key_of, seconds, whole


class EmitPeriod(enum.Enum):
    """Which event of a window `SampleWindow` sends on."""

    FIRST = 1
    LAST = 2


@dataclasses.dataclass
class Held:
    """What one key has gathered."""

    started: float
    tokens: list[int] = dataclasses.field(default_factory=list)
    entries: list[Any] = dataclasses.field(default_factory=list)


class Batching(Step):
    """The base of steps that gather events by key and let them go when there are enough, or after a time.

    Parameters
    ----------
    max_events : int, optional
        How many events of a key are let go together.
    flush_after_seconds : float, optional
        After how long those are let go that are there, counted from the first.
    key_field : str or callable, optional
        What tells the events of one batch from those of another: a field, "$" and an attribute, or a function.
    drop_key_field : bool
        Whether that field leaves the body.
    clock : callable
        Tells the time, in seconds.
    """

    def __init__(
        self,
        max_events: int | None = None,
        flush_after_seconds: float | None = None,
        key_field: str | Key | None = None,
        drop_key_field: bool = False,
        clock: Callable[[], float] = time.monotonic,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self._max_events = None if max_events is None else whole(max_events, "max_events", 1)
        self._flush_after = None if flush_after_seconds is None else seconds(flush_after_seconds, "flush_after_seconds")
        self._key = key_of(key_field, "key_field", drop=drop_key_field)
        self._clock = clock
        self._held: dict[Any, Held] = {}

    def entry(self, event: Any) -> Any:
        """Return what the batch keeps of an event."""
        return self.element(event)

    def release(self, port: Port, key: Any, held: Held) -> None:  # noqa: ARG002  # for subclasses
        """Let the events of a key go."""
        port.emit(held.tokens, held.entries)

    def take(self, port: Port, token: int, event: Any) -> None:
        """Keep one event."""
        key = None if self._key is None else self._key(event)
        entry = self.entry(event)
        self.keep(port, key, token, entry)

    def keep(self, port: Port, key: Any, token: int, entry: Any) -> None:
        """Add an entry to a key's batch, which goes if it is full."""
        held = self._held.get(key)
        if held is None:
            held = self._held[key] = Held(self._clock())
            if self._flush_after is not None and len(self._held) == 1:
                port.wake_after(self._flush_after)
        held.tokens.append(token)
        held.entries.append(entry)
        if len(held.entries) == self._max_events:
            self.release(port, key, self._held.pop(key))

    def wake(self, port: Port) -> None:
        """Let those go whose time is over."""
        if self._flush_after is None:
            return
        now = self._clock()
        for key in [key for key, held in self._held.items() if held.started + self._flush_after <= now]:
            self.release(port, key, self._held.pop(key))
        if self._held:
            port.wake_after(min(held.started for held in self._held.values()) + self._flush_after - now)

    def finish(self, port: Port) -> None:
        """Let all go that are left."""
        held, self._held = self._held, {}
        for key, batch in held.items():
            self.release(port, key, batch)


class Batch(Batching):
    """Makes one event, whose body is a list, of several.

    Parameters
    ----------
    max_events, flush_after_seconds, key_field, drop_key_field
        As for `Batching`; one of the first two at least.
    full_event : bool
        Whether the list is of events, which is the default, or of bodies.

    Examples
    --------
    >>> Batch(max_events=2, full_event=False).full_event
    False
    """

    def __init__(
        self,
        max_events: int | None = None,
        flush_after_seconds: float | None = None,
        key_field: str | Key | None = None,
        drop_key_field: bool = False,
        full_event: bool | None = None,
        **options: Any,
    ) -> None:
        if max_events is None and not flush_after_seconds:
            raise GraphError("at least one of flush_after_seconds or max_events must be provided in Batch")
        super().__init__(
            max_events,
            flush_after_seconds,
            key_field,
            drop_key_field,
            full_event=True if full_event is None else full_event,
            **options,
        )


class SampleWindow(Step):
    """Lets one event of each `window_size` pass, for each key by itself.

    Parameters
    ----------
    window_size : int
        How many events a window has, more than one.
    emit_period : EmitPeriod or str
        Which one passes: the first or the last.
    emit_before_termination : bool
        Whether the last event that has come passes at the end, too.
    key : str or callable, optional
        What has windows of its own: a field, "$" and an attribute, or a function of the event.
    """

    def __init__(
        self,
        window_size: Any,
        emit_period: Any = EmitPeriod.FIRST,
        emit_before_termination: bool = False,
        key: str | Key | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if isinstance(window_size, int) and window_size <= 1:
            raise GraphError(f"expected window_size > 1, found {window_size}")
        self._size = whole(window_size, "window_size", 2)
        period = getattr(emit_period, "name", emit_period)  # storey's own EmitPeriod has the same names
        if not isinstance(period, str) or period.upper() not in EmitPeriod.__members__:
            raise GraphError(f"emit_period is EmitPeriod.FIRST or EmitPeriod.LAST, not {emit_period!r:.60}")
        self._passing = 1 if period.upper() == "FIRST" else self._size
        self._emit_last = bool(emit_before_termination)
        self._key = key_of(key, "key")
        self._counts: dict[Any, int] = {}
        self._last: tuple[int, Any] | None = None

    def take(self, port: Port, token: int, event: Any) -> None:
        """Count one event, and let it pass or not."""
        key = None if self._key is None else self._key(event)
        count = self._counts.get(key, 0) + 1
        self._counts[key] = count % self._size
        if self._last is not None:
            port.drop([self._last[0]])
            self._last = None
        if count == self._passing:
            port.emit([token], event)
        elif self._emit_last:
            self._last = (token, event)
        else:
            port.drop([token])

    def finish(self, port: Port) -> None:
        """Let the last one pass, if that is wanted."""
        if self._last is not None:
            port.emit([self._last[0]], self._last[1])
            self._last = None
