"""Which steps run here: nested flows laid flat, and one function's steps out of a graph of several."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Container, Iterable

from penstock.base import BaseStep
from penstock.errors import GraphError
from penstock.graph import FlowStep, RootFlowStep
from penstock.steps import QueueStep

ALL = "*"


@dataclasses.dataclass
class Part:
    """The steps of a flow that run in this process.

    Attributes
    ----------
    graph : RootFlowStep
        A flow of copies of those steps, none of them a flow itself.
    from_queues : set of str
        Steps whose events come out of a queue that another function writes.
    to_others : set of str
        Queues that a function elsewhere reads.
    reads : dict of str to list of str
        Queues that a function elsewhere writes, with the steps that read them here.
    queues : dict of str to QueueStep
        Those queues.
    """

    graph: RootFlowStep
    from_queues: set[str]
    to_others: set[str]
    reads: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    queues: dict[str, QueueStep] = dataclasses.field(default_factory=dict)


def function_here(asked: str | None, name: str, children: Container[str]) -> str:
    """Return what `part_of` takes for the function that was asked for: its own name stands for the root alone.

    Examples
    --------
    >>> function_here(None, "nlp", ["enrich"]), function_here("enrich", "nlp", ["enrich"])
    ('*', 'enrich')
    >>> function_here("nlp", "nlp", ["enrich"])
    ''
    """
    if asked is None:
        return ALL
    return "" if asked == name and name not in children else asked


def part_of(graph: RootFlowStep, function: str | None) -> Part:
    """Return what runs here of a graph.

    Parameters
    ----------
    graph : RootFlowStep
        The whole graph.
    function : str or None
        The child function that runs here; "" is the root function, "*" and None are all in one process.

    Raises
    ------
    GraphError
        The function has no steps, or two functions are joined without a queue.
    """
    flat = _laid_flat(graph)
    if function is None or function == ALL or not flat.steps:
        return Part(flat, set(), set())
    here = _of_function(flat, function)
    if not any(not isinstance(flat.steps[name], QueueStep) for name in here):
        raise GraphError(f"did not find steps pointing to current function ({function})")
    from_queues = set()
    to_others = set()
    reads: dict[str, list[str]] = {}
    queues: dict[str, QueueStep] = {}
    part = copy.copy(flat)
    part.steps = {}
    for name, step in flat.steps.items():
        if name not in here:
            to_others.update(set(step.after) & here)
            continue
        for earlier in step.after:
            if earlier in here:
                continue
            queue = flat.steps[earlier]
            if not isinstance(queue, QueueStep):
                raise GraphError(
                    f"step '{name}' and step '{earlier}', which it comes after, run in different functions: "
                    'put a queue between them, .to(">>", "a-name", path=...)'
                )
            from_queues.add(name)
            queues[earlier] = queue
            reads.setdefault(earlier, []).append(name)
        kept = part.steps[name] = copy.copy(step)
        kept.after = [earlier for earlier in step.after if earlier in here]
        kept.cycle_from = [later for later in step.cycle_from if later in here]
        if kept.on_error not in here:
            kept.on_error = None
    if part.on_error not in here:
        part.on_error = None
    return Part(part, from_queues, to_others, reads, queues)


def _of_function(flat: RootFlowStep, function: str) -> set[str]:
    """Return the steps of a function: its own, the queues behind them, and the error handlers that they name."""
    here = {
        name
        for name, step in flat.steps.items()
        if not isinstance(step, QueueStep) and _is_local(step.function or "", function)
    }
    waiting = [flat.steps[name] for name in here]
    while waiting:
        step = waiting.pop()
        led_to = [step.on_error or ""] + [name for name, later in flat.steps.items() if step.name in later.after]
        for name in led_to:
            found = flat.steps.get(name)
            if found is None or name in here:
                continue
            if isinstance(found, QueueStep) or (name == step.on_error and not found.function):
                here.add(name)
                if not isinstance(found, QueueStep):
                    waiting.append(found)
    return here


def _is_local(owner: str, function: str) -> bool:
    return owner == function or (owner == ALL and function != "")


def _laid_flat(graph: RootFlowStep) -> RootFlowStep:
    flat = copy.copy(graph)
    flat.steps = {}
    _add_steps(flat.steps, graph, "", [], "")
    return flat


def _add_steps(found: dict[str, BaseStep], flow: FlowStep, prefix: str, after: list[str], on_error: str) -> list[str]:
    """Add copies of a flow's steps, and return the names of those that end it."""
    inner_error = prefix + flow.on_error if prefix and flow.on_error in flow.steps else on_error
    catchers = {step.on_error for step in flow.steps.values()} | {flow.on_error}
    ends: dict[str, list[str]] = {}
    for name in _in_order(flow):
        step = flow.steps[name]
        follows = [end for earlier in step.after for end in ends.get(earlier, [prefix + earlier])]
        if not step.after and name not in catchers:
            follows = list(after)
        if isinstance(step, FlowStep):
            ends[name] = _add_nested(found, step, prefix + name, follows, inner_error)
            continue
        kept = found[prefix + name] = copy.copy(step)
        ends[name] = [prefix + name]
        kept.name = prefix + name
        kept.after = follows
        kept.cycle_from = [end for later in step.cycle_from for end in ends.get(later, [prefix + later])]
        if step.on_error:
            kept.on_error = prefix + step.on_error if step.on_error in flow.steps else step.on_error
        elif prefix and inner_error and kept.name != inner_error and name not in _branch(flow, catchers):
            kept.on_error = inner_error
    followed = {earlier for step in flow.steps.values() for earlier in step.after}
    return [end for name in flow.steps if name not in followed and name not in catchers for end in ends[name]]


def _add_nested(found: dict[str, BaseStep], flow: FlowStep, name: str, after: list[str], on_error: str) -> list[str]:
    if not flow.steps:
        raise GraphError(f"flow '{name}' has no steps")
    handler = name.rpartition("/")[0] + "/" + flow.on_error if flow.on_error and "/" in name else flow.on_error or ""
    ends = _add_steps(found, flow, name + "/", after, handler or on_error)
    if flow.responder:
        if len(ends) != 1:
            raise GraphError(f"flow '{name}' responds, so exactly one of its steps can be the last, not {len(ends)}")
        found[ends[0]].responder = True
    return ends


def _branch(flow: FlowStep, starts: Iterable[str | None]) -> set[str]:
    reached = {name for name in starts if name}
    grown = True
    while grown:
        more = {name for name, step in flow.steps.items() if reached & set(step.after)} - reached
        grown = bool(more)
        reached |= more
    return reached


def _in_order(flow: FlowStep) -> list[str]:
    """Return the names so that a nested flow comes ahead of what follows it; others keep their order."""
    if not any(isinstance(step, FlowStep) for step in flow.steps.values()):
        return list(flow.steps)
    order: list[str] = []
    left = dict(flow.steps)
    while left:
        ready = [name for name, step in left.items() if not set(step.after) & left.keys()]
        if not ready:  # a loop, which is said elsewhere
            return order + list(left)
        for name in ready:
            order.append(name)
            del left[name]
    return order
