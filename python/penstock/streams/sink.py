"""The end of a graph that writes to a stream."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from penstock.streams import OutputStream, open_stream
from penstock.streams.records import wrap

if TYPE_CHECKING:
    from penstock._core import Event

# Options of a queue that say who reads it, and how: its writer has no use for them.
_OF_READERS = ("group", "shards", "retention_in_hours", "trigger_args", "sharding_func")


class QueueSink:
    """What a queue runs whose records leave the graph: it pushes each event to a stream, and hands it on.

    Parameters
    ----------
    path : str, optional
        The stream; see `penstock.streams`.
    full_event : bool
        Whether a record keeps the event's key and id, in MLRun's wrapper.
    **options
        What the stream takes; those that only a reader needs are left out.

    Examples
    --------
    >>> from penstock import Event
    >>> sink = QueueSink("dummy://")
    >>> sink.do_event(Event(6)).body, sink.stream.event_list
    (6, [6])
    """

    def __init__(self, path: str | None = None, *, full_event: bool = False, **options: Any) -> None:
        self.full_event = full_event
        self.stream: OutputStream = open_stream(
            path, **{key: value for key, value in options.items() if key not in _OF_READERS}
        )

    def do_event(self, event: Event) -> Event:
        """Push the event's body, unless it is None."""
        if event.body is not None:
            self.stream.push([wrap(event) if self.full_event else event.body], key=event.key or None)
        return event

    def close(self) -> None:
        """Close the stream."""
        self.stream.close()
