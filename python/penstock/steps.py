"""The steps as people write them: tasks, routers with their routes, queues.

These classes only hold what was said; `penstock.compile` checks it and hands it to the core.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from penstock.base import BaseStep, Self
from penstock.errors import GraphError, MLRunModelLimitExceededError
from penstock.plotting import Plotted
from penstock.resolve import nearest
from penstock.spec import Target, check_args, plain, without_empty

__all__ = [
    "BaseStep",
    "ErrorStep",
    "HubTaskStep",
    "MonitoringApplicationStep",
    "QueueStep",
    "RouterStep",
    "Self",
    "TaskStep",
]

MAX_ROUTES = 5000


class TaskStep(BaseStep):
    """A step that runs a function or an object's method."""

    kind = "task"
    _written: ClassVar[frozenset[str]] = BaseStep._written | {
        "class_name",
        "class_args",
        "handler",
        "full_event",
        "input_path",
        "result_path",
    }

    def __init__(self, name: str = "", target: Target | None = None, class_args: dict[str, Any] | None = None) -> None:
        super().__init__(name)
        self.target = target or Target()
        self.class_args = class_args or {}
        self.full_event = False
        self.bodies_only = False  # full_event=False was said, which is news to a class whose default is True
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

    def _set_paths(self, full_event: bool | None, input_path: str | None, result_path: str | None) -> None:
        self.full_event = bool(full_event) or self.full_event
        self.bodies_only = self.bodies_only or full_event is False
        self.input_path, self.result_path = input_path or self.input_path, result_path or self.result_path

    def to_dict(self) -> dict[str, Any]:
        """Write the step down; classes and functions that were given as objects by their names."""
        told = self.target.told
        fields = super().to_dict() | without_empty(
            {
                "class_name": told.get("class_name") or self.class_name,
                "class_args": plain((told.get("class_args") or {}) | self.class_args),
                "handler": self.handler,
                "full_event": self.full_event,
                "input_path": self.input_path,
                "result_path": self.result_path,
            }
        )
        return fields | {"full_event": False} if self.bodies_only and not self.full_event else fields

    def _read(self, fields: dict[str, Any]) -> None:
        super()._read(fields)
        self.target = Target(class_name=fields.get("class_name") or "", handler=fields.get("handler") or "")
        self.class_args = dict(fields.get("class_args") or {})
        self.full_event = bool(fields.get("full_event", False))
        self.bodies_only = fields.get("full_event") is False
        self.input_path = fields.get("input_path")
        self.result_path = fields.get("result_path")
        check_args(self.name, self.class_args)


class ErrorStep(TaskStep):
    """The step of an error handler; events come to it only when a step has failed.

    Attributes
    ----------
    before : list of str
        The steps that its results go on to.
    base_step : str, optional
        The step whose failures it gets; none for the whole graph's.
    """

    kind = "error_step"
    _written: ClassVar[frozenset[str]] = TaskStep._written | {"before", "base_step"}

    def __init__(self, name: str = "", target: Target | None = None, class_args: dict[str, Any] | None = None) -> None:
        super().__init__(name, target, class_args)
        self.before: list[str] = []
        self.base_step: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Write the handler down."""
        return super().to_dict() | without_empty({"before": list(self.before), "base_step": self.base_step})

    def _read(self, fields: dict[str, Any]) -> None:
        super()._read(fields)
        before = fields.get("before") or []
        self.before = [before] if isinstance(before, str) else list(before)
        self.base_step = fields.get("base_step")


class HubTaskStep(TaskStep):
    """A step whose class comes from the hub of MLRun; here it has to be in the namespace under its own name."""

    kind = "hub_task"
    _written: ClassVar[frozenset[str]] = TaskStep._written | {"hub_step_class_name"}

    def __init__(self, name: str = "", target: Target | None = None, class_args: dict[str, Any] | None = None) -> None:
        super().__init__(name, target, class_args)
        self.hub_step_class_name = ""

    def to_dict(self) -> dict[str, Any]:
        """Write the step down."""
        return super().to_dict() | without_empty({"hub_step_class_name": self.hub_step_class_name})

    def _read(self, fields: dict[str, Any]) -> None:
        super()._read(fields)
        self.hub_step_class_name = fields.get("hub_step_class_name") or ""
        self.target.class_name = self.hub_step_class_name or self.target.class_name


class MonitoringApplicationStep(TaskStep):
    """A monitoring application of MLRun: graphs that have one can be read and written, but not run."""

    kind = "monitoring_application"


class RouterStep(Plotted, TaskStep):
    """A step that sends each event to one of its routes, or to all of them."""

    kind = "router"
    _written: ClassVar[frozenset[str]] = TaskStep._written | {"routes"}

    def __init__(self, name: str = "", target: Target | None = None, class_args: dict[str, Any] | None = None) -> None:
        super().__init__(name, target, class_args)
        self._routes: dict[str, TaskStep] = {}

    @property
    def routes(self) -> dict[str, TaskStep]:
        """The routes by name; a dict of steps, or of what `to_dict` wrote, may be set."""
        return self._routes

    @routes.setter
    def routes(self, routes: Mapping[str, TaskStep | Mapping[str, Any]]) -> None:
        self._routes = {}
        for key, route in routes.items():
            self._routes[key] = self._owned(key, route if isinstance(route, TaskStep) else _route(key, route))

    def add_route(
        self,
        key: str,
        route: TaskStep | None = None,
        class_name: Any = None,
        handler: Any = None,
        *,
        function: str | None = None,
        full_event: bool | None = None,
        creation_strategy: Any = None,
        input_path: str | None = None,
        result_path: str | None = None,
        **class_args: Any,
    ) -> TaskStep:
        """Add a route, usually a model, and return its step; a route of that name is replaced.

        Parameters
        ----------
        key : str
            The route's name; "name:version" has a version.
        route : TaskStep, optional
            A step to take as it is; else `class_name` or `handler` say what it runs.
        function : str, optional
            The child function that runs it, by default the router's.
        creation_strategy : optional
            Accepted for MLRun's sake.
        **class_args
            Arguments of the class.

        Examples
        --------
        >>> RouterStep("models").add_route("m1:v2", class_name="Model", model_path="m.pkl").name
        'm1:v2'
        """
        if not key:
            raise GraphError(f"router '{self.name}': a route has a name")
        if route is None:
            if class_name is None and handler is None:
                raise GraphError(f"route '{key}': route or class_name must be specified")
            route = TaskStep(key, Target.of(class_name, handler), class_args)
        elif not _is_task(route):
            raise GraphError(f"route '{key}': route= takes a step, not a {type(route).__name__}; see class_name=")
        elif class_name is not None or handler is not None or class_args:
            raise GraphError(f"route '{key}': give route= alone, or a class_name with its arguments")
        if key not in self._routes and len(self._routes) >= MAX_ROUTES:
            raise MLRunModelLimitExceededError(f"route '{key}': a router takes no more than {MAX_ROUTES} models")
        route.function = function or route.function or self.function
        route._set_paths(full_event, input_path, result_path)
        if creation_strategy is not None:
            route._further["model_endpoint_creation_strategy"] = str(
                getattr(creation_strategy, "value", creation_strategy)
            )
        self._routes[key] = self._owned(key, route)
        return route

    def clear_children(self, routes: Iterable[str] | None = None) -> None:
        """Take routes away, all of them if none are named."""
        for key in list(self._routes if routes is None else routes):
            if key not in self._routes:
                raise GraphError(f"router '{self.name}' has no route {key}{nearest(key, self._routes)}")
            del self._routes[key]

    def get_children(self) -> list[TaskStep]:
        """Return the routes' steps."""
        return list(self._routes.values())

    def to_dict(self) -> dict[str, Any]:
        """Write the router down, with its routes."""
        routes = {key: route.to_dict() for key, route in self._routes.items()}
        named = {"class_name": self.class_name}  # "" is the default class
        return super().to_dict() | named | without_empty({"name": self.name, "routes": routes})

    def _owned(self, key: str, route: TaskStep) -> TaskStep:
        route.name = key
        route._parent = self
        return route

    def _read(self, fields: dict[str, Any]) -> None:
        super()._read(fields)
        self.routes = fields.get("routes") or {}


def _is_task(item: object) -> bool:
    return isinstance(item, TaskStep)


def _route(key: str, fields: Mapping[str, Any]) -> TaskStep:
    route = TaskStep(key)
    route._read(dict(fields))
    return route


class QueueStep(BaseStep):
    """A queue between steps; in memory unless its path names a stream.

    Attributes
    ----------
    path : str, optional
        Where its stream is; nothing for a queue in memory.
    queue_options : dict
        What else was said of it: group, shards, trigger_args, kafka_brokers, full_event ...
    """

    kind = "queue"
    _own_fields = ("shards", "retention_in_hours", "trigger_args")
    _written: ClassVar[frozenset[str]] = BaseStep._written | {"path", "options", *_own_fields}

    def __init__(self, name: str = "", path: str | None = None, **queue_options: Any) -> None:
        super().__init__(name)
        if path is not None and not isinstance(path, str):
            raise GraphError(f"step '{name}': a queue's path is text or None, not {path!r}")
        self.path = path
        self.queue_options = queue_options
        self._stream: Any = None  # what it writes to, once the graph runs

    def to_dict(self) -> dict[str, Any]:
        """Write the queue down."""
        own = {key: value for key, value in self.queue_options.items() if key in self._own_fields}
        options = {key: value for key, value in self.queue_options.items() if key not in self._own_fields}
        return super().to_dict() | without_empty({"path": self.path, "options": plain(options)} | plain(own))

    def _read(self, fields: dict[str, Any]) -> None:
        super()._read(fields)
        self.path = fields.get("path")
        own = {key: fields[key] for key in self._own_fields if fields.get(key) is not None}
        self.queue_options = own | dict(fields.get("options") or {})
