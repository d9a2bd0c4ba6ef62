"""What a queue runs: nothing, if it only joins steps in this process, or the end of a stream."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from penstock.errors import GraphError, PenstockError

if TYPE_CHECKING:
    from penstock._core import Event
    from penstock.steps import QueueStep


def queue_step(
    step: QueueStep, name: str, context: Any, *, read: bool, answers: bool
) -> tuple[Callable[[Event], Event] | None, Any]:
    """Return what the core calls for a queue, and the stream it writes to; nothing if it just hands events on.

    Parameters
    ----------
    step : QueueStep
        The queue.
    read : bool
        Whether a step reads it, here or in another function.
    answers : bool
        Whether it ends a graph whose last step answers: a queue answers None.

    Raises
    ------
    GraphError
        Its stream cannot be opened.
    """
    from penstock.streams import scheme_of
    from penstock.streams.sink import QueueSink

    scheme = scheme_of(step.path)
    followed_here = read and context.current_function == "*"
    if followed_here and scheme != "dummy" and (scheme == "memory" or context.is_mock):
        return None, None
    options = dict(step.queue_options)
    full_event = options.pop("full_event", None)
    try:
        sink = QueueSink(step.path, full_event=read if full_event is None else bool(full_event), **options)
    except PenstockError as error:
        raise GraphError(f"step '{name}': {error}") from error
    return (_ending(sink) if answers and not read else sink.do_event), sink.stream


def _ending(sink: Any) -> Callable[[Event], Event]:
    def push(event: Event) -> Event:
        event = sink.do_event(event)
        event.body = None
        return event

    return push
