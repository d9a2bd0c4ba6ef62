"""From the spec to the core's plan: names are resolved, objects made, edges handed over."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from penstock.adapters import StageCalls, Visits, chooser, unwrapped
from penstock.batches import batch_options, in_batches
from penstock.checks import EMPTY, Shape, check_routes
from penstock.compiled import Compiled
from penstock.errors import GraphError
from penstock.frontend import Frontend
from penstock.graph import RootFlowStep
from penstock.guarantees import ENTRY, ExactlyOnce, exactly_once_of, refuse_callers
from penstock.handlers import Loaded, load_step
from penstock.inspection import Inspection
from penstock.models import V2ModelServer
from penstock.parallel import ParallelRun
from penstock.partition import Part, part_of
from penstock.queues import Inlet, inlets_of, queue_step
from penstock.resolve import Resolver
from penstock.routers import BaseModelRouter, ModelRouter, Route
from penstock.routing import calls_of, check_in_line, check_number_of_routes, quicken, route_of, runs_apart
from penstock.steps import BaseStep, QueueStep, RouterStep, TaskStep

if TYPE_CHECKING:
    from penstock._core import Plan
    from penstock.kafka.transactions import Transactions

_CAPACITY = 1024
_DEFAULT_ROUTER = "penstock.serving.ModelRouter"
_OWN_ROUTING = (ModelRouter.do_event, ParallelRun.do_event)


@dataclasses.dataclass
class _Place:
    """A step of the spec among the steps of the plan."""

    entry: int
    exits: list[int]
    inner: list[int]  # those whose failures are failures of the step


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


class _Builder:
    def __init__(self, context: Any, resolver: Resolver) -> None:
        from penstock._core import PlanBuilder

        self._core = PlanBuilder()
        self._context = context
        self._resolver = resolver
        self._models: dict[str, Any] = {}
        self._routers: list[Any] = []
        self._coroutines = False
        self._results: list[Any] = []
        self._streams: dict[str, Any] = {}
        self._inlets: list[Inlet] = []
        self._guarded: ExactlyOnce | None = None
        self._transactions: Transactions | None = None
        self.closers: list[Callable[[], None]] = []

    def router_topology(self, graph: RouterStep) -> Compiled:
        place = self._router(graph, graph.name, answers=True)
        return self._compiled([place.entry], responds=True)

    def flow_topology(self, graph: RootFlowStep) -> Compiled:
        part = part_of(graph, self._context.current_function)
        shape = Shape(part.graph)
        self._guarded = self._exactly_once(part, shape)
        answering = shape.answering()
        places: dict[str, _Place] = {}
        for name, step in part.graph.steps.items():
            followers = shape.followers[name] + shape.returns[name]
            if isinstance(step, QueueStep):
                place = self._queue(step, name, answers=name in answering, read=name in part.to_others or followers)
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

    def _join(self, shape: Shape, places: dict[str, _Place]) -> None:
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
        inspection = Inspection(self._context.name, self._models)
        plan = self._finish(entries, inspection)
        made = (self._models, self._routers, self._coroutines, self._results, self._streams, self._inlets)
        return Compiled(plan, responds, *made, self.closers, inspection, self._transactions)

    def _put_ahead(self, place: _Place, name: str, what: str, function: Callable[[Any], Any]) -> None:
        """Have every event go through a function before it enters a step; to the user it is that step."""
        ahead = self._core.add_step(f"{name}.{what}", "map", function, full_event=True, label=name)
        self._core.connect(ahead, place.entry)
        place.entry = ahead
        place.inner.append(ahead)

    def _finish(self, entries: list[int], inspection: Inspection) -> Plan:
        for entry in entries:
            self._core.entry(entry)
        frontend = Frontend(self._context.name, self._models, self._routers)
        choice = self._core.add_step("GET /v2", "route", inspection.over(frontend.choose))
        answer = self._core.add_step("GET /v2, answered", "pass", responder=True)
        graph = self._core.add_step("GET /v2, for the graph", "pass")
        inspected = self._core.add_step("GET /v2, inspected", "map", inspection.answer, full_event=True, responder=True)
        for outlet in (answer, graph, inspected):
            self._core.connect(choice, outlet)
        for entry in entries:
            self._core.connect(graph, entry)
        self._core.frontend(choice)
        try:
            return self._core.compile()
        except GraphError:
            raise
        except ValueError as error:
            raise GraphError(str(error)) from error

    def _step(self, step: BaseStep, name: str, followers: list[str], *, answers: bool, may_answer: bool) -> _Place:
        if isinstance(step, RouterStep):
            return self._router(step, name, answers=answers, may_answer=may_answer)
        if not isinstance(step, TaskStep):
            raise GraphError(f"step '{name}': there is no way to run a {type(step).__name__}")
        loaded = load_step(step, name, self._context, self._resolver, graph_step=step, outlets=followers)
        if loaded.kind != "stage" and callable(getattr(loaded.object, "close", None)):
            self.closers.append(loaded.object.close)
        if isinstance(loaded.object, V2ModelServer):
            self._models.setdefault(name, loaded.object)
        index = self._task(step, name, loaded, answers=answers)
        if loaded.select is None:
            return _Place(index, [index], [index])
        choose = chooser(loaded.select, followers, name, empty_drops=loaded.empty_drops)
        choice = self._core.add_step(f"{name}.choice", "choose", choose, copy=step.options.copy, label=name)
        self._core.connect(index, choice)
        return _Place(index, [choice], [index, choice])

    def _queue(self, step: QueueStep, name: str, *, answers: bool, read: Any) -> _Place:
        part = self._transactions if self._guarded is not None and name in self._guarded.steps else None
        function, stream, most = queue_step(
            step, name, self._context, read=bool(read), answers=answers, transactions=part
        )
        if stream is not None:
            self._streams[name] = stream
            self.closers.append(stream.close)
        kind = "pass" if function is None else "map" if most == 1 else "sink"
        full_event = function is not None
        index = self._add(step, name, kind, function, responder=answers, full_event=full_event, batch_size=most)
        return _Place(index, [index], [index])

    def _task(self, step: TaskStep, name: str, loaded: Loaded, *, answers: bool) -> int:
        options = step.options
        self._coroutines = self._coroutines or loaded.concurrency > 1
        if options.max_batch_size > 1 and (
            loaded.kind not in ("map", "model") or (loaded.kind == "map" and loaded.full_event)
        ):
            what = f"{step.class_name}" if loaded.kind != "map" else "a step with full_event or do_event"
            raise GraphError(f"step '{name}': {what} takes one event at a time, so it cannot have .batch()")
        if loaded.kind == "stage":
            loaded.target = StageCalls(loaded.target, self._results)
        paths: dict[str, Any] = {}
        if loaded.kind not in ("model", "stage") and not loaded.full_event:
            paths = {"input_path": step.input_path, "result_path": step.result_path}
        return self._add(
            step,
            name,
            loaded.kind,
            loaded.target,
            concurrency=loaded.concurrency,
            responder=answers,
            full_event=loaded.full_event and loaded.kind not in ("model", "stage"),
            **paths,
        )

    def _add(
        self,
        step: BaseStep,
        name: str,
        kind: str,
        target: Any = None,
        *,
        concurrency: int = 1,
        batch_size: int = 1,
        **more: Any,
    ) -> int:
        options = step.options
        size = max(options.max_batch_size, batch_size)
        capacity = max(options.capacity or max(_CAPACITY, size), min(2, batch_size))
        if capacity < options.max_batch_size:
            raise GraphError(f"step '{name}': its queue holds {capacity} events, so a batch of {size} could never fill")
        if options.max_batch_size > 1:
            target = in_batches(name, kind, target, options)
            concurrency = 1  # while one batch is handled, the next one forms
        try:
            index: int = self._core.add_step(
                name,
                kind,
                target,
                concurrency=options.concurrency or concurrency,
                by_key=options.by_key,
                capacity=capacity,
                batch_size=min(size, capacity),
                **batch_options(options),
                timeout=options.timeout or 0.0,
                attempts=options.retry_attempts,
                backoff=options.retry_backoff,
                copy=options.copy,
                **more,
            )
            return index
        except GraphError:
            raise
        except ValueError as error:
            raise GraphError(f"step '{name}': {error}") from error

    def _router(self, step: RouterStep, name: str, *, answers: bool, may_answer: bool = True) -> _Place:
        check_number_of_routes(step, name)
        prefix = f"{name}/" if name else ""
        apart = runs_apart(step, self._resolver)
        processes = self._processes(step, prefix) if apart else {}
        loaded: dict[str, Loaded] = {}
        routes: dict[str, Route] = {}
        for key, route in step.routes.items():
            made = processes.get(key) or load_step(route, prefix + key, self._context, self._resolver)
            loaded[key] = made
            routes[key] = route_of(key, prefix + key, made)
            if isinstance(made.object, V2ModelServer):
                self._models[key] = made.object
        router = self._router_object(step, name, routes)
        self._routers.append(router)
        name = name or getattr(router, "name", None) or type(router).__name__
        if isinstance(router, ParallelRun) and not apart and router.executor_type == "process":
            raise GraphError(f"step '{name}': say executor_type='process' where the router is added to the graph")
        if getattr(type(router), "do_event", None) not in _OWN_ROUTING:
            return self._in_line(step, name, router, answers=answers)
        if isinstance(router, ParallelRun):
            quicken(router, step, routes, loaded)
            if router.executor_type == "array":
                return self._in_line(step, name, router, answers=answers)
            return self._fan_out(step, name, router, self._routes(step, prefix, loaded), answers=answers)
        # First of all, as the core decodes requests ahead for a router that is the plan's first step.
        chooser = self._add(
            step, name, "route", router.choose, prefix=router.url_prefix, table=None if router.leaves else router.table
        )
        indexes = self._routes(step, prefix, loaded, answers=answers and not router.leaves)
        return self._choice(name, router, chooser, indexes, answers=answers, may_answer=may_answer)

    def _in_line(self, step: RouterStep, name: str, router: Any, *, answers: bool) -> _Place:
        """Have a router call its routes itself, all in one step."""
        check_in_line(step)
        concurrency = calls_of(router.do_event, getattr(router, "routes", {}))
        self._coroutines = self._coroutines or concurrency > 1
        index = self._add(
            step, name, "map", router.do_event, full_event=True, responder=answers, concurrency=concurrency
        )
        return _Place(index, [index], [index])

    def _processes(self, step: RouterStep, prefix: str) -> dict[str, Loaded]:
        """Start a process for each route; they make their objects at the same time."""
        from penstock.route_process import RouteProcess

        started: dict[str, RouteProcess] = {}
        for key, route in step.routes.items():
            started[key] = RouteProcess(route, prefix + key, self._context, self._resolver)
        for process in started.values():
            self.closers.append(process.close)
            process.start()
        for process in started.values():
            process.wait()
        self._models |= {key: process.model for key, process in started.items() if process.model is not None}
        return {key: Loaded("map", process.do_event, full_event=True) for key, process in started.items()}

    def _routes(self, step: RouterStep, prefix: str, loaded: dict[str, Loaded], *, answers: bool = False) -> list[int]:
        return [self._task(route, prefix + key, loaded[key], answers=answers) for key, route in step.routes.items()]

    def _router_object(self, step: RouterStep, name: str, routes: dict[str, Route]) -> Any:
        target = step.target
        if target.class_object is None and not step.class_name:
            step = copy.copy(step)
            step.target = dataclasses.replace(target, class_name=_DEFAULT_ROUTER)
        router = load_step(
            step, name or step.class_name.rpartition(".")[2], self._context, self._resolver, routes=routes
        ).object
        if isinstance(router, BaseModelRouter) and not router.routes:
            router.adopt(routes)
        if not callable(getattr(router, "do_event", None)):
            kind = type(router).__name__
            raise GraphError(f"step '{name}': {kind} is no router: write do_event(event), or subclass ModelRouter")
        return router

    def _choice(
        self, name: str, router: Any, chooser: int, indexes: list[int], *, answers: bool, may_answer: bool
    ) -> _Place:
        own = self._core.add_step(f"{name}.self", "pass", responder=may_answer)
        for index in indexes:
            self._core.connect(chooser, index)
        self._core.connect(chooser, own)
        if not router.leaves:
            return _Place(chooser, indexes, [chooser, *indexes])
        leave = self._core.add_step(f"{name}.out", "map", router.leave, full_event=True, responder=answers)
        for index in indexes:
            self._core.connect(index, leave)
        return _Place(chooser, [leave], [chooser, *indexes, leave])

    def _fan_out(
        self, step: RouterStep, name: str, router: ParallelRun, indexes: list[int], *, answers: bool
    ) -> _Place:
        gather = self._core.add_step(f"{name}.out", "gather", router.gather, responder=answers)
        scatter = self._add(step, name, "scatter", router.scatter, gather=gather)
        own = self._core.add_step(f"{name}.self", "pass")
        for index in [*indexes, own]:
            self._core.connect(scatter, index)
        for index in [*indexes, own]:
            self._core.connect(index, gather)
        return _Place(scatter, [gather], [scatter, gather])
