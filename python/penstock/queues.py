"""What a queue runs: nothing, if it only joins steps in this process, or the end of a stream; and what it brings."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from penstock.errors import GraphError, PenstockError
from penstock.steps import QueueStep

if TYPE_CHECKING:
    from penstock._core import Event
    from penstock.kafka.transactions import Transactions
    from penstock.partition import Part

_READ = ("kafka",)  # streams that a graph is read from here; Nuclio reads the others
_READERS = "source"


@dataclasses.dataclass(frozen=True)
class Inlet:
    """A stream that brings events to steps of this process.

    Attributes
    ----------
    queue : str
        The queue whose stream it is.
    path : str
        The stream's path.
    options : dict
        What the queue says beside it.
    readers : list of str
        The steps behind the queue.
    entry : str
        The core's step where the events enter.
    group : str
        Who reads, for streams that keep a position for each group of readers.
    """

    queue: str
    path: str
    options: Mapping[str, Any]
    readers: list[str]
    entry: str
    group: str


def inlets_of(part: Part, context: Any) -> list[Inlet]:
    """List the streams that bring events to a part of a graph; there are none in a test, nor on Nuclio."""
    if context.is_mock or getattr(context.server, "triggers", None) is None:
        return []
    found = []
    for name, (queue, readers) in streams_read(part).items():
        owner = getattr(part.graph.steps[readers[0]], "function", None) or ""
        group = f"{context.name}-{owner}" if owner not in ("", "*") else context.name
        found.append(Inlet(name, queue.path or "", dict(queue.queue_options), readers, f"{name}.{_READERS}", group))
    return found


def streams_read(part: Part) -> dict[str, tuple[QueueStep, list[str]]]:
    """List the queues whose streams are read by steps of a part, each with these steps."""
    steps = part.graph.steps
    read = {name: (queue, part.reads[name]) for name, queue in part.queues.items()}
    for name, step in steps.items():
        readers = [later for later, each in steps.items() if name in each.after]
        if isinstance(step, QueueStep) and readers:
            read[name] = (step, readers)
    return {name: found for name, found in read.items() if _is_read_here(found[0])}


def reached_as(path: str | None, graph: Any, triggers: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the options of a stream beside the graph: a topic is reached as a queue or trigger at its brokers is."""
    from penstock.streams import scheme_of

    if scheme_of(path) != "kafka":
        return {}
    from penstock.kafka.settings import connection_to

    steps = getattr(graph, "steps", {}).values()
    queues = [step for step in steps if isinstance(step, QueueStep) and scheme_of(step.path) == "kafka"]
    connection = connection_to(path or "", queues, [one for one in triggers.values() if "kafka" in one["kind"]])
    return {"producer_options": connection}


def _is_read_here(queue: QueueStep) -> bool:
    from penstock.streams import scheme_of

    return scheme_of(queue.path) in _READ


def queue_step(
    step: QueueStep,
    name: str,
    context: Any,
    *,
    read: bool,
    ends: bool,
    transactions: Transactions | None = None,
) -> tuple[str, Callable[..., Any] | None, Any, int]:
    """Return the kind of the core's step for a queue, what it calls, its stream, and how many events it takes at once.

    Function and stream are nothing if the queue just hands events on.

    Parameters
    ----------
    step : QueueStep
        The queue.
    read : bool
        Whether a step reads it, here or in another function.
    ends : bool
        Whether it ends a graph whose last step answers: a queue answers None. At the end of a catcher's path it
        answers what the catcher has made of the failure.
    transactions : Transactions, optional
        What its records are part of.

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
        return "pass", None, None, 1
    options = dict(step.queue_options)
    full_event = options.pop("full_event", None)
    if transactions is not None:
        options["transactions"] = transactions
    try:
        sink = QueueSink(step.path, full_event=read if full_event is None else bool(full_event), **options)
    except PenstockError as error:
        raise GraphError(f"step '{name}': {error}") from error
    most = int(getattr(sink.stream, "batch_size", 1))
    if most == 1:
        return "map", _ending(sink) if ends else sink.do_event, sink.stream, most
    if sink.push_rows is not None and not ends:
        return "rows", sink.push_rows, sink.stream, most
    return "sink", _ending_all(sink) if ends else sink.do_events, sink.stream, most


def _ending(sink: Any) -> Callable[[Event], Event]:
    def push(event: Event) -> Event:
        event = sink.do_event(event)
        event.body = None
        return event

    return push


def _ending_all(sink: Any) -> Callable[[list[Event]], list[Any]]:
    def push(events: list[Event]) -> list[Any]:
        results: list[Any] = sink.do_events(events)
        for event in events:
            event.body = None
        return results

    return push
