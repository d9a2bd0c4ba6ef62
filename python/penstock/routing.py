"""What compiling a router needs to know about it and its routes."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

from penstock.errors import GraphError, MLRunModelLimitExceededError
from penstock.handlers import _ASYNC_CALLS, Loaded
from penstock.parallel import ParallelRun
from penstock.resolve import Resolver, is_async
from penstock.routers import Route
from penstock.steps import MAX_ROUTES, RouterStep
from penstock.versions import left_out


def check_number_of_routes(step: RouterStep, name: str) -> None:
    """Refuse a router with more routes than MLRun takes.

    Raises
    ------
    MLRunModelLimitExceededError
        There are more.
    """
    count = len(step.routes)
    if count > MAX_ROUTES:
        which = f"router '{name}'" if name else "the router"
        raise MLRunModelLimitExceededError(f"{which} has {count} routes, more than the {MAX_ROUTES} that there may be")


def runs_apart(step: RouterStep, resolver: Resolver) -> bool:
    """Tell whether the routes of a router run in processes, so that nothing of them is to be made here."""
    found = step.target.class_object
    if found is None:
        found = resolver.find(step.class_name) if step.class_name else None
    if not isinstance(found, type):
        return isinstance(found, ParallelRun) and found.executor_type == "process"
    executor = step.class_args.get("executor_type")
    return issubclass(found, ParallelRun) and getattr(executor, "value", executor) == "process"


def select_versions(step: RouterStep) -> tuple[RouterStep, list[str]]:
    """Return a router with the versions that its policy serves, and the keys of those that it leaves out.

    Raises
    ------
    GraphError
        The policy is none, or leaves nothing of a model.
    """
    policy = step.class_args.get("version_policy", getattr(step.target.class_object, "version_policy", None))
    if policy is None:
        return step, []
    out = left_out(step.routes, policy)
    served = copy.copy(step)
    served._routes = {key: route for key, route in step.routes.items() if key not in out}
    return served, out


def route_of(key: str, step: str, loaded: Loaded, *, called: Any = None) -> Route:
    """Make the route that a router's own code may run; `called` is what stands for an object that may be replaced."""
    handler = loaded.target.do_event if loaded.kind == "model" else loaded.target
    awaited = loaded.concurrency > 1 or is_async(handler)
    route = Route(key, step, loaded.object, handler, full_event=loaded.full_event, is_async=awaited)
    route.called = loaded.object if called is None else called
    return route


def quicken(router: ParallelRun, step: RouterStep, routes: Mapping[str, Route], loaded: dict[str, Loaded]) -> None:
    """Let a router replace what its models do around `predict`, where it has no use for it."""
    for key, route in routes.items():
        made = loaded[key]
        if made.kind != "model" or step.routes[key].options.max_batch_size > 1:
            continue
        handler = router.quick(route)
        if handler is not None:
            route.bind(handler)
            loaded[key] = Loaded("map", handler, full_event=True, concurrency=made.concurrency, object=made.object)


def check_in_line(step: RouterStep) -> None:
    """Refuse options of routes that the engine does not run.

    Raises
    ------
    GraphError
        There are some.
    """
    for key, route in step.routes.items():
        given = "batch" if route.options.max_batch_size > 1 else "timeout" if route.options.timeout else ""
        if given:
            raise GraphError(f"route '{key}': its router calls it itself, so it cannot have .{given}()")


def calls_of(do_event: Callable[[Any], Any], routes: Mapping[str, Any]) -> int:
    """Return how many calls of a router's own routing may be in flight."""
    waits = is_async(do_event) or any(getattr(route, "is_async", False) for route in routes.values())
    return _ASYNC_CALLS if waits else 1
