"""The router: one model, by its path or by the name in the request."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import unquote

from penstock.errors import BadRequest, ModelNotFound, PathNotFound


class Route:
    """One route of a router; `run` calls it in line, for routers that do their own routing."""

    def __init__(self, name: str, step: str, target: Any, handler: Callable[[Any], Any], *, full_event: bool) -> None:
        self.name = name
        self.step = step
        self.object = target
        self._handler = handler
        self._full_event = full_event

    def run(self, event: Any) -> Any:
        """Run the route on an event, and return the event with the result as its body."""
        if self._full_event:
            return self._handler(event)
        event.body = self._handler(event.body)
        return event


class ModelRouter:
    """Sends an event to the model that its path, or its body's "model", names.

    Subclass it to change `parse_event`, `preprocess` or `postprocess`; write `do_event` to do all of the routing.

    Parameters
    ----------
    context : GraphContext, optional
        Given by the graph.
    name : str, optional
        The name of the router's step.
    routes : dict of str to Route, optional
        Given by the graph.
    protocol : str, optional
        Accepted for MLRun's sake; there is one protocol.
    url_prefix, health_prefix : str, optional
        Where models and health are, by default ``/v2/models`` and ``/v2/health``.
    input_path, result_path : str, optional
        Where in the body the request is, and where the reply is written.
    """

    is_router = True

    def __init__(  # noqa: PLR0917  # the order is MLRun's
        self,
        context: Any = None,
        name: str | None = None,
        routes: dict[str, Route] | None = None,
        protocol: str | None = None,  # noqa: ARG002  # see above
        url_prefix: str | None = None,
        health_prefix: str | None = None,
        input_path: str | None = None,
        result_path: str | None = None,
        **class_args: Any,
    ) -> None:
        self.context = context
        self.name = name or type(self).__name__
        self.routes = routes or {}
        self.url_prefix = (url_prefix or "/v2/models").rstrip("/")
        self.health_prefix = (health_prefix or "/v2/health").rstrip("/")
        self._input_path = input_path.split(".") if input_path else []
        self._result_path = result_path.split(".") if result_path else []
        self._params = class_args

    def adopt(self, routes: dict[str, Route]) -> None:
        """Take the routes; called once, when the graph is made, on a router that was given as an object."""
        self.routes = routes

    def get_param(self, key: str, default: Any = None) -> Any:
        """Return an argument of the router, else a parameter of the function."""
        if key in self._params:
            return self._params[key]
        return default if self.context is None else self.context.get_param(key, default)

    def parse_event(self, event: Any) -> Any:
        """Make a request of the body: a dict, JSON text, or an image."""
        body = event.body
        is_empty = body is None or (isinstance(body, (str, bytes)) and not body)
        if is_empty or event.method == "GET" or isinstance(body, dict):
            return event
        if (event.content_type or "").startswith("image/"):
            return event  # the model makes its input of it
        try:
            event.body = json.loads(body)
        except (TypeError, ValueError) as error:
            raise BadRequest("Unrecognized request format") from error
        return event

    def preprocess(self, event: Any) -> Any:
        """Change the event before it is routed."""
        return event

    def postprocess(self, event: Any) -> Any:
        """Change the event before it leaves the router."""
        return event

    def do_event(self, event: Any) -> Any:
        """Route an event and run its route in line."""
        names = list(self.routes)
        outlet = self.choose(event)
        if outlet == len(names):
            return event
        return self.leave(self.routes[names[outlet]].run(event))

    def choose(self, event: Any) -> int:
        """Return the number of the route for an event; one more than there are if its body is the answer."""
        self._enter(event)
        parts = self._parts(event)
        if parts is None:
            return len(self.routes)
        name, operation = self._named(event, parts)
        if not name:
            if event.method == "GET":
                event.body = self.models()
                return len(self.routes)
            name = next(iter(self.routes))
        for outlet, known in enumerate(self.routes):
            if known == name:
                event.path = operation
                return outlet
        raise ModelNotFound(f"model {name} doesnt exist, available models: {' | '.join(self.routes)}")

    def leave(self, event: Any) -> Any:
        """Finish an event that a route has answered."""
        event = self.postprocess(event)
        if self._result_path:
            outer = getattr(event, "penstock_outer", None)
            if isinstance(outer, dict):
                place = outer
                for key in self._result_path[:-1]:
                    place = place.setdefault(key, {})
                place[self._result_path[-1]] = event.body
                event.body = outer
        return event

    def models(self) -> dict[str, Any]:
        """List the models."""
        return {"models": list(self.routes)}

    @property
    def table(self) -> dict[str, int] | None:
        """Model names to route numbers, if nothing but the name decides; the core then routes without Python."""
        kind = type(self)
        hooks = ("parse_event", "preprocess", "choose", "do_event", "_enter", "_parts", "_named")
        own = all(getattr(kind, hook) is getattr(ModelRouter, hook) for hook in hooks)
        return {name: outlet for outlet, name in enumerate(self.routes)} if own and not self._input_path else None

    @property
    def leaves(self) -> bool:
        """Whether events have to come back to the router before they go on."""
        return type(self).postprocess is not ModelRouter.postprocess or bool(self._result_path)

    def _enter(self, event: Any) -> None:
        if self._result_path:
            event.penstock_outer = event.body
        for key in self._input_path:
            event.body = event.body.get(key) if isinstance(event.body, Mapping) else None
        for hook in (self.parse_event, self.preprocess):
            changed = hook(event)
            if changed is not None and changed is not event:  # the core goes on with the event it gave
                event.body, event.path = changed.body, changed.path

    def _parts(self, event: Any) -> list[str] | None:
        """Split the path behind the prefix; None if the router itself has answered."""
        path = (event.path or "/").partition("?")[0]
        health = path == self.health_prefix or path.startswith(self.health_prefix + "/")
        if event.method == "GET" and (path == "/" or health):
            event.body = {"name": type(self).__name__, "version": "v2", "extensions": []}
            return None
        if path == "/":
            return []
        if path != self.url_prefix and not path.startswith(self.url_prefix + "/"):
            raise PathNotFound(f"illegal path prefix {path}, must start with {self.url_prefix}")
        rest = path[len(self.url_prefix) :].strip("/")
        return [unquote(part) for part in rest.split("/")] if rest else []

    def _named(self, event: Any, parts: list[str]) -> tuple[str, str]:
        """Return the model and the operation that the path, or else the body, names; "" for none."""
        if parts:
            if parts[1:2] == ["versions"] and len(parts) > 2:
                return f"{parts[0]}:{parts[2]}", "/".join(parts[3:])
            return parts[0], "/".join(parts[1:])
        body = event.body if isinstance(event.body, Mapping) else {}
        return str(body.get("model") or ""), str(body.get("operation") or "")
