"""The end of a graph that writes to a stream."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from penstock.streams import OutputStream, open_stream, scheme_of
from penstock.streams.records import wrap

if TYPE_CHECKING:
    from penstock._core import Event

# Options of a queue that say who reads it, and how: its writer has no use for them. For one of Kafka there may be
# credentials among them.
_OF_READERS = (
    *("group", "retention_in_hours", "trigger_args", "initial_offset", "client_options"),
    *("dead_letter", "on_poison", "guarantee", "max_in_flight", "max_uncommitted", "commit_interval", "revoke_wait"),
)


class QueueSink:
    """What a queue runs whose records leave the graph: it pushes each event to a stream, and hands it on.

    Parameters
    ----------
    path : str, optional
        The stream; see `penstock.streams`.
    full_event : bool
        Whether a record keeps the event's key and id, in MLRun's wrapper.
    sharding_func : callable, str or int, optional
        Where a record goes in a stream that has partitions: a function of the event that returns the record's key, or
        the number of its partition; the field of the body that is the key; or the number. By default the event's key.
    **options
        What the stream takes; those that only a reader needs are left out.

    Examples
    --------
    >>> from penstock import Event
    >>> sink = QueueSink("dummy://")
    >>> sink.do_event(Event(6)).body, sink.stream.event_list
    (6, [6])
    """

    def __init__(
        self,
        path: str | None = None,
        *,
        full_event: bool = False,
        sharding_func: Callable[[Event], Any] | str | int | None = None,
        **options: Any,
    ) -> None:
        self.full_event = full_event
        self._sharding = sharding_func
        left_out = () if scheme_of(path) == "kafka" else (*_OF_READERS, "shards")
        self.stream: OutputStream = open_stream(
            path, **{key: value for key, value in options.items() if key not in left_out}
        )

    def do_event(self, event: Event) -> Event:
        """Push the event's body, unless it is None."""
        if event.body is not None:
            self.stream.push([self._record(event)], key=event.key or None)
        return event

    def do_events(self, events: list[Event]) -> list[Any]:
        """Push the events' bodies at once; for each return the event, or why it could not be pushed."""
        results: list[Any] = list(events)
        rows: list[tuple[Any, Any, int]] = []
        places = []
        for place, event in enumerate(events):
            try:
                row = (self._record(event), *self._shard(event))
            except Exception as error:  # whatever the user's sharding_func raises
                results[place] = error
                continue
            rows.append(row)
            places.append(place)
        stream: Any = self.stream
        failures = stream.push_rows(*zip(*rows, strict=True)) if rows else None
        for place, failure in zip(places, failures or (), strict=False):
            if failure is not None:
                results[place] = failure
        return results

    @property
    def push_rows(self) -> Callable[[list[Any], list[Any]], list[Any] | None] | None:
        """What takes bodies and keys alone, if no more of the events is asked for."""
        return None if self.full_event or self._sharding is not None else getattr(self.stream, "push_rows", None)

    def _record(self, event: Event) -> Any:
        return wrap(event) if self.full_event and event.body is not None else event.body

    def _shard(self, event: Event) -> tuple[Any, int]:
        """Return a record's key, and the number of its partition; -1 leaves that to the key."""
        shard = self._sharding
        if shard is None or event.body is None:
            return event.key or None, -1
        if isinstance(shard, str):
            shard = event.body[shard]
            return (shard if isinstance(shard, (str, bytes)) else str(shard)), -1
        if callable(shard):
            shard = shard(event)
        return (event.key or None, shard) if isinstance(shard, int) else (shard, -1)

    def close(self) -> None:
        """Close the stream."""
        self.stream.close()
