"""How the steps of a plan are made: tasks with their options, routers with their routes; see `penstock.compile`."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from penstock.adapters import StageCalls
from penstock.batches import batch_options, in_batches
from penstock.ensemble import VotingEnsemble
from penstock.errors import GraphError
from penstock.handlers import Loaded, load_step
from penstock.models import V2ModelServer
from penstock.parallel import ParallelRun
from penstock.resolve import Resolver
from penstock.routers import BaseModelRouter, ModelRouter, Route
from penstock.routing import (
    calls_of,
    check_in_line,
    check_number_of_routes,
    quicken,
    route_of,
    runs_apart,
    select_versions,
)
from penstock.steps import BaseStep, RouterStep, TaskStep

if TYPE_CHECKING:
    from penstock.model_control import ModelControl, ModelPlace

_CAPACITY = 1024
_BATCHES = 4
_UNTIMED = {
    "flat_map": "it makes several events of one",
    "stage": "it may hold events for others",
    "rows": "its stream has a timeout of its own",
    "sink": "its stream has a timeout of its own",
}
_TIMED_BY_ROUTES = ("route", "scatter")
_DEFAULT_ROUTER = "penstock.serving.ModelRouter"
_OWN_ROUTING = (ModelRouter.do_event, ParallelRun.do_event)


@dataclasses.dataclass
class Place:
    """A step of the spec among the steps of the plan."""

    entry: int
    exits: list[int]
    inner: list[int]  # those whose failures are failures of the step


class StepBuilder:
    """Adds steps to a plan, one by one."""

    def __init__(self, context: Any, resolver: Resolver) -> None:
        from penstock._core import PlanBuilder

        self._core = PlanBuilder()
        self._context = context
        self._resolver = resolver
        self._models: dict[str, Any] = {}
        self._routers: list[Any] = []
        self._coroutines = False
        self._results: list[Any] = []
        self._left_out: list[str] = []
        self._control: ModelControl | None = None
        self.closers: list[Callable[[], None]] = []
        if getattr(context.server, "model_control", False):
            from penstock.model_control import ModelControl

            self._control = ModelControl(self._models, context, resolver)
            self._coroutines = True

    def _place(self, key: str, step: TaskStep, name: str, loaded: Loaded) -> ModelPlace | None:
        """Make a place of where a model is, if others may take it."""
        return None if self._control is None else self._control.admit(key, step, name, loaded)

    def _settle(
        self, routes: dict[str, Route], router: Any, loaded: dict[str, Loaded], indexes: Sequence[int] = ()
    ) -> None:
        if self._control is not None:
            self._control.are_run(routes, router, loaded, indexes)

    def _served(self, step: RouterStep) -> RouterStep:
        """Leave out the routes of versions that are not served."""
        served, left_out = select_versions(step)
        self._left_out += left_out
        return served

    def _task(self, step: TaskStep, name: str, loaded: Loaded, *, answers: bool, timeout: float | None = None) -> int:
        options = step.options
        self._coroutines = self._coroutines or loaded.concurrency > 1
        if options.max_batch_size and (
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
            stamp=isinstance(loaded.object, V2ModelServer),
            timeout=timeout,
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
        timeout: float | None = None,
        **more: Any,
    ) -> int:
        options = step.options
        limit = options.timeout or timeout or 0.0
        if limit and kind in _UNTIMED:
            raise GraphError(f"step '{name}': {_UNTIMED[kind]}, so it cannot have .timeout()")
        size = max(options.max_batch_size, batch_size)
        # While a stream takes a batch, the next ones form.
        capacity = max(options.capacity or max(_CAPACITY, size, _BATCHES * batch_size), min(2, batch_size))
        if capacity < options.max_batch_size:
            raise GraphError(f"step '{name}': its queue holds {capacity} events, so a batch of {size} could never fill")
        if options.max_batch_size > 1 or (options.max_batch_size and kind == "map" and not more.get("full_event")):
            target = in_batches(name, kind, target, options)
            concurrency = 1  # while one batch is handled, the next one forms
        calls = options.concurrency or concurrency
        # Who promises order keeps it while an event waits for its next try, too: those of its key wait with it.
        tried_in_order = options.retry_attempts > 1 and calls == 1 and max(size, options.max_batch_size) == 1
        try:
            index: int = self._core.add_step(
                name,
                kind,
                target,
                concurrency=calls,
                by_key=options.by_key or tried_in_order,
                capacity=capacity,
                batch_size=min(size, capacity),
                **batch_options(options),
                timeout=0.0 if kind in _TIMED_BY_ROUTES else limit,
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

    def _router(self, step: RouterStep, name: str, *, answers: bool, may_answer: bool = True) -> Place:
        from penstock._core import InferenceStats

        check_number_of_routes(step, name)
        step = self._served(step)
        prefix = f"{name}/" if name else ""
        apart = runs_apart(step, self._resolver)
        processes = self._processes(step, prefix) if apart else {}
        loaded: dict[str, Loaded] = {}
        routes: dict[str, Route] = {}
        for key, route in step.routes.items():
            made = processes.get(key) or load_step(route, prefix + key, self._context, self._resolver)
            loaded[key] = made
            if isinstance(made.object, V2ModelServer):
                self._models[key] = made.object
            place = self._place(key, route, prefix + key, made)
            routes[key] = route_of(key, prefix + key, made, called=None if place is None else place.tenant)
        router = self._router_object(step, name, routes)
        self._routers.append(router)
        if isinstance(router, VotingEnsemble):
            router._stats = InferenceStats()
        name = name or getattr(router, "name", None) or type(router).__name__
        if isinstance(router, ParallelRun) and not apart and router.executor_type == "process":
            raise GraphError(f"step '{name}': say executor_type='process' where the router is added to the graph")
        if getattr(type(router), "do_event", None) not in _OWN_ROUTING:
            self._settle(routes, router, loaded)
            return self._in_line(step, name, router, answers=answers)
        if isinstance(router, ParallelRun):
            quicken(router, step, routes, loaded)
            if router.executor_type == "array":
                self._settle(routes, router, loaded)
                return self._in_line(step, name, router, answers=answers)
            indexes = self._routes(step, prefix, loaded)
            self._settle(routes, router, loaded, indexes)
            return self._fan_out(step, name, router, indexes, answers=answers)
        # First of all, as the core decodes requests ahead for a router that is the plan's first step.
        chooser = self._add(
            step, name, "route", router.choose, prefix=router.url_prefix, table=None if router.leaves else router.table
        )
        indexes = self._routes(step, prefix, loaded, answers=answers and not router.leaves)
        self._settle(routes, router, loaded, indexes)
        return self._choice(name, router, chooser, indexes, answers=answers, may_answer=may_answer)

    def _in_line(self, step: RouterStep, name: str, router: Any, *, answers: bool) -> Place:
        """Have a router call its routes itself, all in one step."""
        check_in_line(step)
        concurrency = calls_of(router.do_event, getattr(router, "routes", {}))
        self._coroutines = self._coroutines or concurrency > 1
        index = self._add(
            step, name, "map", router.do_event, full_event=True, responder=answers, concurrency=concurrency
        )
        return Place(index, [index], [index])

    def _processes(self, step: RouterStep, prefix: str) -> dict[str, Loaded]:
        """Start a process for each route; they make their objects at the same time."""
        from penstock._core import InferenceStats
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
        for process in started.values():
            if process.model is not None:
                process.model._stats = InferenceStats()
        return {key: Loaded("map", process.do_event, full_event=True) for key, process in started.items()}

    def _routes(self, step: RouterStep, prefix: str, loaded: dict[str, Loaded], *, answers: bool = False) -> list[int]:
        limit = step.options.timeout  # a router takes as long as its routes
        return [
            self._task(route, prefix + key, loaded[key], answers=answers, timeout=limit)
            for key, route in step.routes.items()
        ]

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
    ) -> Place:
        own = self._core.add_step(f"{name}.self", "pass", responder=may_answer)
        for index in indexes:
            self._core.connect(chooser, index)
        self._core.connect(chooser, own)
        if not router.leaves:
            return Place(chooser, indexes, [chooser, *indexes])
        leave = self._core.add_step(f"{name}.out", "map", router.leave, full_event=True, responder=answers)
        for index in indexes:
            self._core.connect(index, leave)
        return Place(chooser, [leave], [chooser, *indexes, leave])

    def _fan_out(self, step: RouterStep, name: str, router: ParallelRun, indexes: list[int], *, answers: bool) -> Place:
        gather = self._core.add_step(f"{name}.out", "gather", router.gather, responder=answers)
        scatter = self._add(step, name, "scatter", router.scatter, gather=gather)
        own = self._core.add_step(f"{name}.self", "pass")
        for index in [*indexes, own]:
            self._core.connect(scatter, index)
        for index in [*indexes, own]:
            self._core.connect(index, gather)
        return Place(scatter, [gather], [scatter, gather])
