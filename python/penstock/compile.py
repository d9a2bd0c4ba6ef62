"""From the spec to the core's plan: names are resolved, objects made, edges handed over."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from penstock.adapters import Visits, chooser, unwrapped
from penstock.building import Place, StepBuilder
from penstock.checks import EMPTY, Shape, check_routes
from penstock.compiled import Compiled
from penstock.errors import GraphError
from penstock.frontend import Frontend, add_frontend
from penstock.graph import RootFlowStep
from penstock.guarantees import ENTRY, ExactlyOnce, exactly_once_of, refuse_callers
from penstock.handlers import load_step
from penstock.inspection import Inspection
from penstock.models import V2ModelServer
from penstock.partition import Part, part_of
from penstock.queues import Inlet, inlets_of, queue_step
from penstock.resolve import Resolver
from penstock.steps import BaseStep, QueueStep, RouterStep, TaskStep

if TYPE_CHECKING:
    from penstock._core import Plan
    from penstock.kafka.transactions import Transactions


def compile_graph(
    graph: RootFlowStep | RouterStep | None,
    context: Any,
    resolver: Resolver,
) -> Compiled:
    """Check a graph, make its objects, and build its plan.

    Raises
    ------
    GraphError
        Whatever is wrong with the graph, at the first thing that is.
    """
    if graph is None:
        raise GraphError(EMPTY)
    builder = _Builder(context, resolver)
    try:
        if isinstance(graph, RouterStep):
            check_routes(graph, graph.name)
            return builder.router_topology(graph)
        return builder.flow_topology(graph)
    except BaseException:
        for close in builder.closers:
            close()
        raise


class _Builder(StepBuilder):
    def __init__(self, context: Any, resolver: Resolver) -> None:
        super().__init__(context, resolver)
        self._streams: dict[str, Any] = {}
        self._inlets: list[Inlet] = []
        self._guarded: ExactlyOnce | None = None
        self._transactions: Transactions | None = None

    def router_topology(self, graph: RouterStep) -> Compiled:
        place = self._router(graph, graph.name, answers=True)
        return self._compiled([place.entry], responds=True)

    def flow_topology(self, graph: RootFlowStep) -> Compiled:
        part = part_of(graph, self._context.current_function)
        shape = Shape(part.graph)
        self._guarded = self._exactly_once(part, shape)
        answering = shape.answering()
        places: dict[str, Place] = {}
        for name, step in part.graph.steps.items():
            followers = shape.followers[name] + shape.returns[name]
            if isinstance(step, QueueStep):
                read = name in part.to_others or bool(followers)
                ends = name == shape.responder and not read
                place = self._queue(step, name, answers=name in answering, read=read, ends=ends)
            else:
                place = self._step(step, name, followers, answers=name in answering, may_answer=bool(answering))
            if name in part.from_queues:
                self._put_ahead(place, name, "unwrap", unwrapped)
            if step.cycle_from or step.max_iterations:
                self._put_ahead(place, name, "visits", Visits(name, step.max_iterations or graph.max_iterations).enter)
            places[name] = place
        self._inlets = inlets_of(part, self._context)
        for inlet in self._inlets:  # the queue ends in its stream, and its readers begin at the other end of that
            if inlet.queue in places:
                places[inlet.queue].exits = []
            start = self._core.add_step(inlet.entry, "map", unwrapped, full_event=True, label=inlet.queue)
            for reader in inlet.readers:
                self._core.connect(start, places[reader].entry)
        self._join(shape, places)
        self._name_streams(graph)
        entries = [places[name].entry for name in shape.entries]
        if self._guarded is not None and self._guarded.steps.issuperset(shape.entries):
            return self._closed_to_callers(entries)
        return self._compiled(entries, responds=shape.responder is not None)

    def _name_streams(self, graph: RootFlowStep) -> None:
        """Have the queues of the spec know what they write to."""
        for name, stream in self._streams.items():
            written = graph.steps.get(name)
            if isinstance(written, QueueStep):
                written._stream = stream

    def _closed_to_callers(self, entries: list[int]) -> Compiled:
        records = self._core.add_step(ENTRY, "pass")
        for entry in entries:
            self._core.connect(records, entry)
        refusal = self._core.add_step("callers, refused", "map", refuse_callers, full_event=True, responder=True)
        return self._compiled([refusal], responds=True)

    def _exactly_once(self, part: Part, shape: Shape) -> ExactlyOnce | None:
        """Find what is handled exactly once; in a server of our own, prepare its transactions."""
        triggers = getattr(self._context.server, "triggers", None)
        guarded = exactly_once_of(part, shape, triggers or {})
        if guarded is None or self._context.is_mock:
            return None
        if triggers is None:
            raise GraphError("guarantee='exactly_once' is kept by `penstock serve` alone: here others read the streams")
        from penstock.kafka.transactions import Transactions

        reading, here = guarded.reading, self._context.current_function
        name = f"{self._context.name}.{here}" if here not in ("", "*") else self._context.name
        self._transactions = Transactions(
            reading.brokers, name, client=reading.producer(), interval=reading.commit_interval
        )
        self.closers.append(self._transactions.close)
        return guarded

    def _join(self, shape: Shape, places: dict[str, Place]) -> None:
        for name, place in places.items():
            for leaving in place.exits:
                for follower in shape.followers[name]:
                    self._core.connect(leaving, places[follower].entry)
                for follower in shape.returns[name]:
                    self._core.connect(leaving, places[follower].entry, returns=True)
            handler = shape.handler_of(name)
            if handler is not None:
                for failing in place.inner:
                    self._core.on_error(failing, places[handler].entry)

    def _compiled(self, entries: list[int], *, responds: bool) -> Compiled:
        inspection = Inspection(self._context.name, self._models, self._routers)
        plan = self._finish(entries, inspection)
        made = (self._models, self._routers, self._coroutines, self._results, self._streams, self._inlets)
        return Compiled(plan, responds, *made, self.closers, inspection, self._transactions, self._control)

    def _put_ahead(self, place: Place, name: str, what: str, function: Callable[[Any], Any]) -> None:
        """Have every event go through a function before it enters a step; to the user it is that step."""
        ahead = self._core.add_step(f"{name}.{what}", "map", function, full_event=True, label=name)
        self._core.connect(ahead, place.entry)
        place.entry = ahead
        place.inner.append(ahead)

    def _finish(self, entries: list[int], inspection: Inspection) -> Plan:
        for entry in entries:
            self._core.entry(entry)
        parts = (self._models, self._routers, self._left_out, self._control)
        frontend = Frontend(self._context.name, *parts, inspection=inspection)
        add_frontend(self._core, frontend, inspection, entries)
        try:
            return self._core.compile()
        except GraphError:
            raise
        except ValueError as error:
            raise GraphError(str(error)) from error

    def _step(self, step: BaseStep, name: str, followers: list[str], *, answers: bool, may_answer: bool) -> Place:
        if isinstance(step, RouterStep):
            return self._router(step, name, answers=answers, may_answer=may_answer)
        if not isinstance(step, TaskStep):
            raise GraphError(f"step '{name}': there is no way to run a {type(step).__name__}")
        loaded = load_step(step, name, self._context, self._resolver, graph_step=step, outlets=followers)
        place = None
        if isinstance(loaded.object, V2ModelServer) and name not in self._models:
            self._models[name] = loaded.object
            place = self._place(name, step, name, loaded)
        close = getattr(loaded.object if place is None else place, "close", None)
        if loaded.kind != "stage" and callable(close):
            self.closers.append(close)
        index = self._task(step, name, loaded, answers=answers)
        if place is not None:
            place.is_run_by(index)
        if loaded.select is None:
            return Place(index, [index], [index])
        choose = chooser(loaded.select, followers, name, empty_drops=loaded.empty_drops)
        choice = self._core.add_step(f"{name}.choice", "choose", choose, copy=step.options.copy, label=name)
        self._core.connect(index, choice)
        return Place(index, [choice], [index, choice])

    def _queue(self, step: QueueStep, name: str, *, answers: bool, read: bool, ends: bool) -> Place:
        part = self._transactions if self._guarded is not None and name in self._guarded.steps else None
        kind, function, stream, most = queue_step(step, name, self._context, read=read, ends=ends, transactions=part)
        if stream is not None:
            self._streams[name] = stream
            self.closers.append(stream.close)
        full_event = function is not None
        index = self._add(
            step, name, kind, function, responder=answers, full_event=full_event, batch_size=most, eager=True
        )
        return Place(index, [index], [index])
