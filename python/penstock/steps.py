"""The steps as people write them: tasks, routers with their routes, queues.

These classes only hold what was said; `penstock.compile` checks it and hands it to the core.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from penstock.errors import GraphError
from penstock.spec import Options, Target, check_args, plain, seconds, whole, without_empty

if TYPE_CHECKING:
    from penstock.graph import RootFlowStep

Self = TypeVar("Self", bound="BaseStep")


class BaseStep:
    """What every step of a graph has: a name, what it comes after, and the engine's options."""

    kind = ""

    def __init__(self, name: str = "") -> None:
        self.name = name
        self.after: list[str] = []
        self.on_error: str | None = None
        self.responder = False
        self.function: str | None = None
        self.shape: str | None = None
        self.options = Options()
        self._graph: RootFlowStep | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} '{self.name}'>"

    def to(self, class_name: Any = None, name: str | None = None, handler: Any = None, **arguments: Any) -> BaseStep:
        """Add a step after this one, and return it.

        Parameters
        ----------
        class_name : str, type, callable or object
            The class, or a function; "*Router" for a router, ">>" for a queue.
        name : str, optional
            Default: the last part of the class's or function's name.
        handler : str or callable, optional
            The method of the class, or the function; "(event + 1)" is an expression over the body.
        **arguments
            `full_event`, `input_path`, `result_path`, `function`, and the arguments of the class.

        Examples
        --------
        >>> from penstock.graph import RootFlowStep
        >>> graph = RootFlowStep()
        >>> graph.to("(event + 1)", name="add").to("json.dumps", name="text").after
        ['add']
        """
        return self._in_flow("to").add_step(class_name, name, handler, after=self.name, **arguments)

    def respond(self: Self) -> Self:
        """Answer the caller with this step's result."""
        graph = self._in_flow("respond")
        self.responder = True
        graph.check_one_responder()
        return self

    def error_handler(
        self: Self,
        name: Any = None,
        class_name: Any = None,
        handler: Any = None,
        *,
        before: Any = None,
        **arguments: Any,
    ) -> Self:
        """Send events that fail here to a step; return this step.

        Parameters
        ----------
        name : str
            Alone: the name of a step that is there, or is added later. Else the new step's name.
        class_name, handler, **arguments
            As for `to`: the new step.
        before : str, optional
            The step that the handler's result goes on to.
        """
        self.on_error = self._in_flow("error_handler").add_handler(name, class_name, handler, before, arguments)
        return self

    def after_step(self: Self, *steps: str | BaseStep, append: bool = True) -> Self:
        """Say which steps this one comes after, in addition to what was said or instead."""
        graph = self._in_flow("after_step")
        names = [step.name if isinstance(step, BaseStep) else step for step in steps]
        for name in names:
            graph.known(name, "after")
        kept = self.after if append else []
        self.after = kept + [name for name in names if name not in kept]
        return self

    def batch(self: Self, max_size: int = 32, max_delay: float = 0.0) -> Self:
        """Handle up to `max_size` events in one call, waiting at most `max_delay` seconds for them."""
        self.options.max_batch_size = whole(self.name, "max_size", max_size)
        self.options.max_delay = seconds(self.name, "max_delay", max_delay, above_zero=False)
        return self

    def concurrency(self: Self, calls: int, *, order: str | None = None) -> Self:
        """Let up to `calls` calls of this step run at once; with ``order="key"``, one for each `event.key`."""
        if order not in (None, "key"):
            raise GraphError(f"step '{self.name}': order is 'key' or nothing, not {order!r}")
        self.options.concurrency = whole(self.name, "concurrency", calls)
        self.options.by_key = order == "key"
        return self

    def queue(self: Self, capacity: int = 1024) -> Self:
        """Let up to `capacity` events wait for this step before the steps ahead of it pause."""
        self.options.capacity = whole(self.name, "capacity", capacity)
        return self

    def timeout(self: Self, limit: float) -> Self:
        """Fail an event with 504 after `limit` seconds in this step."""
        self.options.timeout = seconds(self.name, "timeout", limit, above_zero=True)
        return self

    def copy(self: Self, copied: bool = True) -> Self:
        """Say whether further branches after this step get a copy of the body (default) or share it."""
        self.options.copy = bool(copied)
        return self

    def to_dict(self) -> dict[str, Any]:
        """Write the step down with MLRun's field names; what says nothing is left out."""
        return without_empty(
            {
                "kind": self.kind,
                "after": list(self.after),
                "on_error": self.on_error,
                "responder": self.responder,
                "function": self.function,
                "shape": self.shape,
                "engine_options": self.options.to_dict(),
            }
        )

    def _read(self, fields: dict[str, Any]) -> None:
        self.after = list(fields.get("after", []))
        self.on_error = fields.get("on_error")
        self.responder = bool(fields.get("responder", False))
        self.function = fields.get("function")
        self.shape = fields.get("shape")
        self.options = Options(**fields.get("engine_options", {}))

    def _in_flow(self, call: str) -> RootFlowStep:
        if self._graph is None:
            raise GraphError(f"step '{self.name}' is not a step of a flow, so .{call}() means nothing here")
        return self._graph


class TaskStep(BaseStep):
    """A step that runs a function or an object's method."""

    kind = "task"

    def __init__(self, name: str = "", target: Target | None = None, class_args: dict[str, Any] | None = None) -> None:
        super().__init__(name)
        self.target = target or Target()
        self.class_args = class_args or {}
        self.full_event = False
        self.input_path: str | None = None
        self.result_path: str | None = None
        check_args(name, self.class_args)

    @property
    def class_name(self) -> str:
        """The class's name; "" if the step runs a function."""
        return self.target.class_name

    @property
    def handler(self) -> str:
        """The name of the method or function; "" for the class's own choice."""
        return self.target.handler

    def to_dict(self) -> dict[str, Any]:
        """Write the step down; classes and functions that were given as objects by their names."""
        return super().to_dict() | without_empty(
            {
                "class_name": self.class_name,
                "class_args": plain(self.class_args),
                "handler": self.handler,
                "full_event": self.full_event,
                "input_path": self.input_path,
                "result_path": self.result_path,
            }
        )

    def _read(self, fields: dict[str, Any]) -> None:
        super()._read(fields)
        self.target = Target(class_name=fields.get("class_name") or "", handler=fields.get("handler") or "")
        self.class_args = dict(fields.get("class_args") or {})
        self.full_event = bool(fields.get("full_event", False))
        self.input_path = fields.get("input_path")
        self.result_path = fields.get("result_path")


class RouterStep(TaskStep):
    """A step that sends each event to one of its routes, or to all of them."""

    kind = "router"

    def __init__(self, name: str = "", target: Target | None = None, class_args: dict[str, Any] | None = None) -> None:
        super().__init__(name, target, class_args)
        self.routes: dict[str, TaskStep] = {}

    def add_route(
        self,
        key: str,
        route: TaskStep | None = None,
        class_name: Any = None,
        handler: Any = None,
        *,
        function: str | None = None,
        full_event: bool | None = None,
        **class_args: Any,
    ) -> TaskStep:
        """Add a route, usually a model, and return its step; a route of that name is replaced.

        Examples
        --------
        >>> RouterStep("models").add_route("m1:v2", class_name="Model", model_path="m.pkl").name
        'm1:v2'
        """
        if route is None:
            if class_name is None and handler is None:
                raise GraphError(f"route '{key}': route or class_name must be specified")
            route = TaskStep(key, Target.of(class_name, handler), class_args)
        route.name = key
        route.function = function or route.function or self.function
        route.full_event = bool(full_event) or route.full_event
        self.routes[key] = route
        return route

    def to_dict(self) -> dict[str, Any]:
        """Write the router down, with its routes."""
        routes = {key: route.to_dict() for key, route in self.routes.items()}
        return super().to_dict() | without_empty({"name": self.name, "routes": routes})

    def _read(self, fields: dict[str, Any]) -> None:
        super()._read(fields)
        for key, route_fields in fields.get("routes", {}).items():
            self.routes[key] = TaskStep(key)
            self.routes[key]._read(route_fields)


class QueueStep(BaseStep):
    """A queue between steps; in memory unless its path names a stream."""

    kind = "queue"

    def __init__(self, name: str = "", path: str | None = None, **queue_options: Any) -> None:
        super().__init__(name)
        self.path = path
        self.queue_options = queue_options

    def to_dict(self) -> dict[str, Any]:
        """Write the queue down."""
        return super().to_dict() | without_empty({"path": self.path, "options": plain(self.queue_options)})

    def _read(self, fields: dict[str, Any]) -> None:
        super()._read(fields)
        self.path = fields.get("path")
        self.queue_options = dict(fields.get("options") or {})
