"""Which steps handle records exactly once, and whether they can: Kafka has to be at every end of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NoReturn

from penstock.errors import GraphError, MLRunNotImplementedServerError
from penstock.kafka.settings import EXACTLY_ONCE, Reading, address_of, guarantee_of, of_queue, of_trigger
from penstock.queues import streams_read
from penstock.steps import QueueStep
from penstock.streams import scheme_of

if TYPE_CHECKING:
    from penstock.checks import Shape
    from penstock.graph import RootFlowStep
    from penstock.partition import Part

ENTRY = "records, exactly once"  # where a trigger's records enter a graph that takes nothing from callers
_KAFKA_TRIGGERS = ("kafka-cluster", "kafka")


@dataclasses.dataclass(frozen=True)
class ExactlyOnce:
    """The part of a flow whose events are handled exactly once.

    Attributes
    ----------
    steps : frozenset of str
        Its steps; the queues at its ends, too.
    reading : Reading
        What the first of its sources reads.
    """

    steps: frozenset[str]
    reading: Reading


def exactly_once_of(part: Part, shape: Shape, triggers: Mapping[str, Mapping[str, Any]]) -> ExactlyOnce | None:
    """Find what is handled exactly once, and check that it can be.

    Parameters
    ----------
    part : Part
        The steps that run here.
    shape : Shape
        Their edges.
    triggers : dict
        What else brings events.

    Raises
    ------
    GraphError
        It cannot; the step, the trigger or the queue that is in the way is named.
    """
    graph = part.graph
    sure, other = _sources(part, shape, triggers)
    if not sure:
        return None
    readings = [reading for _, reading in sure]
    steps = _behind(graph, shape, [start for starts, _ in sure for start in starts])
    for where, starts in other:
        if met := sorted(_behind(graph, shape, starts) & steps):
            raise GraphError(
                f"step '{met[0]}': guarantee='exactly_once' is for what comes from Kafka with that guarantee, and "
                f"{where} leads to it, too"
            )
    for reading in readings[1:]:
        _check_brokers(reading.brokers, readings[0].brokers, "a source")
    for name in graph.steps:
        if name in steps:
            _check_end(graph, shape, name, readings[0])
    return ExactlyOnce(frozenset(steps), readings[0])


def _sources(
    part: Part, shape: Shape, triggers: Mapping[str, Mapping[str, Any]]
) -> tuple[list[tuple[list[str], Reading]], list[tuple[str, list[str]]]]:
    """Return the sources that read exactly once, and the others, each with the steps that it leads to."""
    sure: list[tuple[list[str], Reading]] = []
    other: list[tuple[str, list[str]]] = []
    for name, (queue, readers) in streams_read(part).items():
        options = queue.queue_options
        said = dict(options.get("trigger_args") or {}) | dict(options)
        if guarantee_of(said, f"step '{name}'") == EXACTLY_ONCE:
            sure.append((readers, of_queue(queue.path or "", options, group=name)))
        else:
            other.append((f"queue '{name}'", readers))
    triggered = False
    for name, trigger in triggers.items():
        kafka = trigger.get("kind") in _KAFKA_TRIGGERS
        if kafka and guarantee_of(trigger.get("attributes") or {}, f"trigger '{name}'") == EXACTLY_ONCE:
            sure.append((shape.entries, of_trigger(trigger, group=name)))
            triggered = True
        else:
            other.append((f"trigger '{name}' of the kind {trigger.get('kind')}", shape.entries))
    if not triggered:  # else callers are refused when they come
        other.append(("a caller", [name for name in shape.entries if name not in part.from_queues]))
    return sure, other


def _behind(graph: RootFlowStep, shape: Shape, starts: Iterable[str]) -> set[str]:
    """Return these steps and all that their events reach, errors included, up to the queues that end in Kafka."""
    reached: set[str] = set()
    waiting = list(starts)
    while waiting:
        name = waiting.pop()
        if name in reached:
            continue
        reached.add(name)
        handler = shape.handler_of(name)
        waiting += [handler] if handler else []
        if not _is_kafka(graph.steps[name]):
            waiting += shape.followers[name] + shape.returns[name]
    return reached


def _check_end(graph: RootFlowStep, shape: Shape, name: str, reading: Reading) -> None:
    step = graph.steps[name]
    if _is_kafka(step):
        options = getattr(step, "queue_options", {})
        brokers, _ = address_of(getattr(step, "path", "") or "", options.get("kafka_brokers"))
        _check_brokers(brokers, reading.brokers, f"step '{name}'")
    elif isinstance(step, QueueStep) and scheme_of(step.path) != "memory":
        _refuse(name, f"it writes to {step.path}, which is not Kafka")
    elif not shape.followers[name] and not shape.returns[name]:
        _refuse(name, "it ends the graph and is no queue of Kafka")


def _refuse(name: str, why: str) -> NoReturn:
    raise GraphError(
        f"step '{name}': with guarantee='exactly_once' every end of the graph is a queue of Kafka, and {why}: lead it "
        "to one, .to('>>', 'name', path='kafka://host:port/topic'), or leave the guarantee at 'at_least_once'"
    )


def _check_brokers(found: str, expected: str, where: str) -> None:
    if set(found.split(",")) != set(expected.split(",")):
        raise GraphError(f"{where} is at the brokers {found}: one transaction cannot be there and at {expected}")


def _is_kafka(step: Any) -> bool:
    return isinstance(step, QueueStep) and scheme_of(step.path) == "kafka"


def refuse_callers(_event: Any) -> NoReturn:
    """Answer those who send events over HTTP to steps that take them from Kafka alone."""
    raise MLRunNotImplementedServerError(
        "the graph takes its events from Kafka, exactly once; what a caller sends could be lost or handled twice"
    )
