"""Routers: what all of them have, and the one that asks one model, by its path or by the name in the request."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from io import BytesIO
from typing import Any
from urllib.parse import unquote

from penstock.data_url import read_url
from penstock.errors import BadRequest, ModelNotFound, NotOffered, PathNotFound, blame
from penstock.versions import find, split, unknown

_READS = ("GET", "HEAD")
_NOT_OFFERED = ("/v2/systemsharedmemory", "/v2/cudasharedmemory", "/v2/trace", "/v2/logging")  # extensions of Triton


class Route:
    """One route of a router; `run` calls it in line, for routers that do their own routing.

    Attributes
    ----------
    name : str
        The route's key.
    step : str
        The name of its step, as statistics and errors have it.
    object : object
        What runs: the model server, or another class's object; None for a function.
    is_async : bool
        Whether `run` has to be awaited.
    """

    def __init__(
        self,
        name: str,
        step: str,
        target: Any,
        handler: Callable[[Any], Any],
        *,
        full_event: bool,
        is_async: bool = False,
    ) -> None:
        self.name = name
        self.step = step
        self.object = target
        self.is_async = is_async
        self.called = target  # the object, or what stands for it where others may take its place
        self._handler = handler
        self._full_event = full_event

    def bind(self, handler: Callable[[Any], Any]) -> None:
        """Let another handler of events do the route's work; the graph does that, when it is made."""
        self._handler, self._full_event = handler, True

    def run(self, event: Any) -> Any:
        """Run the route on an event, and return the event with the result as its body.

        A route whose handler is an async function returns an awaitable of that.
        """
        if self.is_async:
            return self._run_later(event)
        try:
            if self._full_event:
                return self._handler(event)
            event.body = self._handler(event.body)
        except Exception as error:
            blame(error, self.step)
            raise
        return event

    async def _run_later(self, event: Any) -> Any:
        try:
            if self._full_event:
                return await self._handler(event)
            event.body = await self._handler(event.body)
        except Exception as error:
            blame(error, self.step)
            raise
        return event


class BaseModelRouter:
    """What all routers have: a request made of the body, hooks before and after, paths below a prefix.

    A class of its own routing subclasses this (or `ModelRouter`) and writes ``do_event(event)``, plain or async: it
    has ``self.routes``, a dict of `Route`, calls ``self.routes[name].run(event)`` on those it wants, and returns
    the event.

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
    allow_data_url : bool or list of str
        Whether a request may say ``{"data_url": url}`` and have the server read its input there. Off by default, as
        callers then choose what the server reads: True allows any URL but those of local files, a list
        those that start with one of its texts.
    version_policy : str or dict, optional
        Which versions of a model are served, of those that the graph has as "name:version": ``"all"``, the default,
        ``"latest"``, ``{"latest": n}`` or ``{"specific": [version, ...]}``; or a dict of these by the models' names.
        The others are not even loaded.
    **class_args
        What `get_param` returns.

    Examples
    --------
    >>> import penstock
    >>> class ByKind(penstock.serving.BaseModelRouter):
    ...     def do_event(self, event):
    ...         return self.routes[event.body.pop("kind")].run(event)
    >>> fn = penstock.new_function("kinds")
    >>> router = fn.set_topology("router", ByKind)
    >>> _ = router.add_route("add", handler="(event['x'] + 1)")
    >>> _ = router.add_route("double", handler="(event['x'] * 2)")
    >>> with fn.to_mock_server() as server:
    ...     server.test(body={"kind": "double", "x": 4})
    8
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
        allow_data_url: bool | Sequence[str] = False,
        version_policy: Any = None,
        **class_args: Any,
    ) -> None:
        self.context = context
        self.name = name or type(self).__name__
        self.routes = routes or {}
        self.version_policy = version_policy
        self.url_prefix = (url_prefix or "/v2/models").rstrip("/")
        self.health_prefix = (health_prefix or "/v2/health").rstrip("/")
        self._input_path = input_path.split(".") if input_path else []
        self._result_path = result_path.split(".") if result_path else []
        self.allow_data_url = allow_data_url
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
        """Make a request of the body, which is not empty: a dict, JSON text, or an image; called after `preprocess`.

        An override may return the event or the request.
        """
        body = event.body
        if not isinstance(body, Mapping):
            if (event.content_type or "").startswith("image/"):
                body = {"inputs": [BytesIO(body)]}
            else:
                try:
                    body = json.loads(body)
                except (TypeError, ValueError) as error:
                    raise BadRequest("Unrecognized request format") from error
        if isinstance(body, Mapping) and "data_url" in body:
            more = {key: value for key, value in body.items() if key != "data_url"}
            body = more | {"inputs": [BytesIO(read_url(body["data_url"], self.allow_data_url))]}
        event.body = body
        return event

    def preprocess(self, event: Any) -> Any:
        """Change the event before it is routed."""
        return event

    def postprocess(self, event: Any) -> Any:
        """Change the event before it leaves the router."""
        return event

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

    async def _leave_later(self, answer: Awaitable[Any]) -> Any:
        return self.leave(await answer)

    @property
    def leaves(self) -> bool:
        """Whether events have to come back to the router before they go on."""
        return type(self).postprocess is not BaseModelRouter.postprocess or bool(self._result_path)

    def _enter(self, event: Any) -> None:
        """Run the hooks ahead of the routing; the core goes on with the event it gave, so that one is changed."""
        self._take(event)
        if event.method in _READS or is_empty(event.body):
            return
        parsed = self.parse_event(event)
        if hasattr(parsed, "body"):
            if parsed is not event:
                event.body, event.path = parsed.body, parsed.path
        elif parsed is not None:
            event.body = parsed

    def _take(self, event: Any) -> None:
        """Find the request in the body, and let `preprocess` have it."""
        if self._result_path:
            event.penstock_outer = event.body
        for key in self._input_path:
            event.body = event.body.get(key) if isinstance(event.body, Mapping) else None
        changed = self.preprocess(event)
        if changed is not None and changed is not event:
            event.body, event.path = changed.body, changed.path

    def _parts(self, event: Any) -> list[str] | None:
        """Split the path behind the prefix; None if the router itself has answered."""
        path = (event.path or "/").partition("?")[0]
        health = path == self.health_prefix or path.startswith(self.health_prefix + "/")
        if event.method in _READS and (path == "/" or health):
            event.body = {"name": type(self).__name__, "version": "v2", "extensions": []}
            return None
        if path == "/":
            return []
        if path != self.url_prefix and not path.startswith(self.url_prefix + "/"):
            if path.startswith(_NOT_OFFERED):
                raise NotOffered(f"{path} is not offered")
            raise PathNotFound(f"illegal path prefix {path}, must start with {self.url_prefix}")
        rest = path[len(self.url_prefix) :].strip("/")
        return [unquote(part) for part in rest.split("/")] if rest else []

    def key_of(self, name: str) -> str | None:
        """Return the route that is asked for by a name: its own, else that of the newest version that is ready."""
        return find(name, self.routes, lambda route: bool(getattr(route.object, "ready", True)))

    def _named(self, event: Any, parts: list[str]) -> tuple[str, str]:
        """Return the model and the operation that the path, or else the body, names; "" for none."""
        if parts:
            if parts[1:2] == ["versions"] and len(parts) > 2:
                return f"{parts[0]}:{parts[2]}", "/".join(parts[3:])
            return parts[0], "/".join(parts[1:])
        body = event.body if isinstance(event.body, Mapping) else {}
        return str(body.get("model") or ""), str(body.get("operation") or "")


class ModelRouter(BaseModelRouter):
    """Sends an event to the model that its path, or its body's "model", names.

    Subclass it to change `parse_event`, `preprocess` or `postprocess`; write `do_event` to do all of the routing.
    It takes what `BaseModelRouter` takes.
    """

    def do_event(self, event: Any) -> Any:
        """Route an event and run its route in line."""
        names = list(self.routes)
        outlet = self.choose(event)
        if outlet == len(names):
            return event
        route = self.routes[names[outlet]]
        return self._leave_later(route.run(event)) if route.is_async else self.leave(route.run(event))

    def choose(self, event: Any) -> int:
        """Return the number of the route for an event; one more than there are if its body is the answer."""
        self._enter(event)
        parts = self._parts(event)
        if parts is None:
            return len(self.routes)
        name, operation = self._named(event, parts)
        if not name:
            if event.method in _READS:
                event.body = self.models()
                return len(self.routes)
            name = next(iter(self.routes))
        key = self.key_of(name)
        for outlet, known in enumerate(self.routes):
            if known == key:
                event.path = operation
                return outlet
        raise ModelNotFound(unknown(name, self.routes))

    def models(self) -> dict[str, Any]:
        """List the models."""
        return {"models": list(self.routes)}

    @property
    def table(self) -> dict[str, int] | None:
        """Model names to route numbers, if nothing but the name decides; the core then routes without Python."""
        kind = type(self)
        hooks = ("parse_event", "preprocess", "choose", "do_event", "_enter", "_parts", "_named")
        own = all(getattr(kind, hook) is getattr(ModelRouter, hook) for hook in hooks)
        if not own or self._input_path or self.allow_data_url:
            return None
        outlets = {name: outlet for outlet, name in enumerate(self.routes)}
        if all(route.called is route.object and is_settled(route.object) for route in self.routes.values()):
            names = {split(key)[0] for key in self.routes}
            outlets |= {name: outlets[self.key_of(name) or name] for name in names}
        return outlets


def is_settled(model: Any) -> bool:
    """Tell whether a model is as ready as it will ever be."""
    return getattr(model, "_loading", None) is None


def is_empty(body: Any) -> bool:
    """Tell whether there is no request in a body."""
    return body is None or (isinstance(body, (str, bytes)) and not body)
