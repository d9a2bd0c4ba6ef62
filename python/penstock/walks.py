"""Looking through a graph: children, child functions, the queues between functions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from penstock.errors import GraphError
from penstock.resolve import nearest

if TYPE_CHECKING:
    from penstock.base import BaseStep

ANY_FUNCTION = "*"


def children(step: Any) -> dict[str, BaseStep]:
    """Return the steps of a flow, or the routes of a router; nothing for other steps."""
    found: dict[str, BaseStep] = getattr(step, "steps", None) or getattr(step, "routes", None) or {}
    return found


def every_step(graph: Any) -> Iterator[BaseStep]:
    """Go through all steps below one, those of nested flows and routes included."""
    for step in children(graph).values():
        yield step
        yield from every_step(step)


def path_to_step(graph: BaseStep, path: str) -> BaseStep:
    """Find a step by the names that lead to it: ``"router/route"``."""
    step = graph
    for name in filter(None, path.split("/")):
        below = children(step)
        if name not in below:
            under = step.name or "the graph"
            raise GraphError(f"step {name} doesnt exist in the graph under {under}{nearest(name, below)}")
        step = below[name]
    return step


def child_functions(graph: Any) -> list[str]:
    """List the child functions that steps name, in the order in which they are met."""
    named = (step.function for step in every_step(graph))
    return list(dict.fromkeys(name for name in named if name and name != ANY_FUNCTION))


def queue_links(graph: Any) -> dict[str, BaseStep]:
    """Return for each child function the queue that it reads.

    Raises
    ------
    GraphError
        A step behind a queue names no function, or one function reads two queues.
    """
    links: dict[str, BaseStep] = {}
    for queue in graph.get_children():
        if queue.kind != "queue":
            continue
        for name in graph.following(queue.name):
            function = graph[name].function
            if not function:
                raise GraphError(f"step '{name}' must specify a function, because it follows a queue step")
            if links.setdefault(function, queue) is not queue:
                raise GraphError(
                    f"function ({function}) cannot read from multiple queues "
                    f"({links[function].name}, {queue.name}); lead both into one"
                )
    return links


def create_streams(graph: Any) -> None:
    """Open the stream of every queue that has one, so that it is there."""
    for queue in graph.get_children():
        if queue.kind == "queue" and queue.path:
            from penstock.streams import open_stream

            open_stream(queue.path, **queue.queue_options).close()
