"""Models that are loaded, replaced and unloaded while their graph serves, as the graph's author allows.

A request names a model that the graph has, and may change arguments that the graph gives it. What runs, and where files
may lie, is the author's: no class, handler or code is chosen by a request.
"""

from __future__ import annotations

import asyncio
import copy
import json
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from penstock.batches import in_batches
from penstock.errors import (
    BadRequest,
    MLRunNotImplementedServerError,
    ModelNotFound,
    PenstockError,
    StepNotReady,
)
from penstock.event import Response
from penstock.files import may_read
from penstock.handlers import Loaded, load_step
from penstock.models import V2ModelServer
from penstock.tenancy import Tenant, Vacancy
from penstock.versions import unknown, versions_of

if TYPE_CHECKING:
    from penstock._core import Core
    from penstock.parallel import ParallelRun
    from penstock.resolve import Resolver
    from penstock.routers import Route
    from penstock.steps import TaskStep

_CALLS_SECONDS = 30.0  # how long an unload waits for calls that are under way, to tell that it is over
_logger = logging.getLogger("penstock")


class ModelPlace:
    """A place in a graph where a model is, or none; see `ModelControl`.

    Attributes
    ----------
    state, reason : str
        As the repository's index has them.
    """

    def __init__(self, key: str, step: TaskStep, name: str, loaded: Loaded, control: ModelControl) -> None:
        self.state, self.reason = "READY", ""
        self._key = key
        self._step = step
        self._name = name
        self._kind = loaded.kind
        self._control = control
        self._index: int | None = None
        self._route: Route | None = None
        self._router: ParallelRun | None = None  # if it has models of its own quickly asked
        self._lock = threading.Lock()  # one change at a time
        self.tenant: Tenant | None = Tenant(loaded.object)

    def is_run_by(self, index: int | None, route: Route | None = None, router: Any = None, kind: str = "") -> None:
        """Say which of the plan's steps calls the model, and how; and which route it is of which router."""
        self._index, self._route = index, route
        if kind and kind != self._kind:
            self._kind, self._router = kind, router

    def load(self, changes: Mapping[str, Any]) -> None:
        """Load the model anew, then let it take the place; if that fails, all stays as it is.

        Raises
        ------
        PenstockError
            It could not be loaded.
        """
        with self._lock:
            before = self.state
            self.state = "LOADING" if self.tenant is None else before
            try:
                made = self._made(changes)
            except Exception as error:
                self.state, self.reason = before, f"loading failed: {error}"
                raise
            former, self.tenant = self.tenant, Tenant(made)
            self._install(self.tenant, made)
            self.state, self.reason = "READY", ""
        if former is not None:
            instance, left = former.instance, former.left
            del former  # or it would never leave
            _thread("release", self._key, lambda: _released(instance, left))

    def unload(self) -> None:
        """Turn requests away from now on, and release the model when the calls that are under way have ended."""
        with self._lock:
            former, self.tenant = self.tenant, None
            if former is None:
                return
            instance, left = former.instance, former.left
            del former  # or it would never leave
            vacancy = Vacancy(instance)
            self._install(vacancy, vacancy)
            self.state, self.reason = "UNLOADING", ""

        def release() -> None:
            _released(instance, left)
            with self._lock:
                if self.tenant is None:
                    self.state, self.reason = "UNAVAILABLE", "unloaded"

        _thread("release", self._key, release).join(_CALLS_SECONDS)

    def close(self) -> None:
        """Close the model that is here, at the graph's end."""
        if self.tenant is not None:
            _close(self.tenant.instance, ("close",))

    def _made(self, changes: Mapping[str, Any]) -> V2ModelServer:
        step = copy.copy(self._step)
        step.class_args = {**step.class_args, **changes}
        made: V2ModelServer = load_step(step, self._name, self._control.context, self._control.resolver).object
        if made._loading is not None:
            made._loading.wait()
            made._loading.check_loaded()
            made._loading = None
        return made

    def _install(self, called: Tenant | Vacancy, listed: V2ModelServer | Vacancy) -> None:
        handler: Callable[[Any], Any] = called.do_event
        if self._route is not None:
            self._route.object, self._route.called = listed, called
            quick = None
            if self._router is not None and isinstance(called, Tenant):
                quick = self._router.quick(self._route)
                if quick is None:
                    raise StepNotReady(f"model '{self._key}' is not what it was when the graph was made")
            handler = quick or handler
            self._route.bind(handler)
        self._control.models[self._key] = listed
        if self._index is None:
            return
        target: Any = called if self._kind == "model" else handler
        if self._step.options.max_batch_size > 1:
            target = in_batches(self._name, self._kind, called, self._step.options)
        self._control.core.retarget(self._index, target)


class ModelControl:
    """Loads and unloads the models of one graph.

    Parameters
    ----------
    models : dict of str to V2ModelServer
        The graph's models, by the names that requests call them; kept up to date.
    context : GraphContext
        The graph's.
    resolver : Resolver
        Where the graph's names are.

    Attributes
    ----------
    core : Core
        The running graph.
    everywhere : callable, optional
        Has the other processes of the server do the same: gets what, and returns what went wrong.
    """

    core: Core

    def __init__(self, models: dict[str, Any], context: Any, resolver: Resolver) -> None:
        self.models = models
        self.context = context
        self.resolver = resolver
        self.places: dict[str, ModelPlace] = {}
        self.everywhere: Callable[[dict[str, Any]], list[str]] | None = None

    def admit(self, key: str, step: TaskStep, name: str, loaded: Loaded) -> ModelPlace | None:
        """Make a place of where a model is, if one of its class can be made anew."""
        made_here = isinstance(loaded.object, V2ModelServer) and not step.handler and step.target.handler_object is None
        if not made_here or step.target.class_object is loaded.object:
            return None
        place = ModelPlace(key, step, name, loaded, self)
        assert place.tenant is not None  # noqa: S101  # it has just moved in
        loaded.target = place.tenant if loaded.kind == "model" else place.tenant.do_event
        self.places[key] = place
        return place

    def are_run(
        self, routes: Mapping[str, Route], router: Any, loaded: Mapping[str, Loaded], indexes: Sequence[int]
    ) -> None:
        """Say which of the plan's steps run the routes of a router; none, if it runs them itself."""
        for number, key in enumerate(routes):
            if key in self.places:
                index = indexes[number] if indexes else None
                self.places[key].is_run_by(index, routes[key], router, loaded[key].kind)

    async def answer(self, event: Any) -> Any:
        """Answer a request to load or unload, on a thread of its own, as that may take long."""
        name, operation = (unquote(part) for part in event.path.partition("?")[0].rstrip("/").split("/")[-2:])
        event.body = await _in_thread(f"{operation}-{name}", lambda: self._answered(operation, name, event.body))
        return event

    def _answered(self, operation: str, name: str, body: Any) -> Any:
        asked = {"operation": operation, "model": name, "changes": _changes_of(body) if operation == "load" else {}}
        self.perform(asked)
        wrong = self.everywhere(asked) if self.everywhere is not None else []
        if wrong:
            raise StepNotReady("; ".join(wrong))
        return {"name": name, operation: True}

    def perform(self, asked: Mapping[str, Any]) -> None:
        """Do what is asked in this process.

        Raises
        ------
        PenstockError
            It cannot be done; the model is as it was.
        """
        places = self._places(asked["model"], asked["operation"])
        changes = asked["changes"]
        if changes and len(places) > 1:
            raise BadRequest(f"model {asked['model']} has several versions, say which one: {' | '.join(places)}")
        for key, place in places.items():
            if asked["operation"] == "unload":
                place.unload()
            else:
                self._check(key, place, changes)
                place.load(changes)

    def _places(self, name: str, operation: str) -> dict[str, ModelPlace]:
        keys = [name] if name in self.models else [f"{name}:{version}" for version in versions_of(name, self.models)]
        if not keys:
            raise ModelNotFound(unknown(name, self.models))
        for key in keys:
            if key not in self.places:
                raise MLRunNotImplementedServerError(
                    f"to {operation} model {key} is not offered: it is an object that the graph was given, has a "
                    "handler of its own, or runs in a process of its own"
                )
        return {key: self.places[key] for key in keys}

    def _check(self, key: str, place: ModelPlace, changes: Mapping[str, Any]) -> None:
        given = place._step.class_args
        for argument, value in changes.items():
            if argument not in given or argument.startswith("_"):
                known = ", ".join(name for name in given if not name.startswith("_")) or "none"
                raise BadRequest(f"model {key}: the graph gives it no argument '{argument}', it gives {known}")
            for place_named in _places_in(argument, value):
                if not may_read(place_named, self.context):
                    raise BadRequest(
                        f"model {key}: {place_named} lies outside of the model_path that the graph names and of its "
                        "trusted_model_paths"
                    )


def _changes_of(body: Any) -> dict[str, Any]:
    """Read the parameters of a load: the arguments of the class that are to be others."""
    parameters = _object(body, "the body of a load").get("parameters")
    for name in _object(parameters, "parameters"):
        if str(name).startswith("file:"):
            raise BadRequest("files of a model are not taken from a request, they lie where the graph says")
        if name != "config":
            raise BadRequest(f"a load has no parameter '{name}', it has config")
    config = (parameters or {}).get("config")
    try:
        config = json.loads(config) if isinstance(config, str) else config
    except ValueError as error:
        raise BadRequest(f"config is no JSON: {error}") from None
    changes = dict(_object(config, "config"))
    class_args = _object(changes.pop("class_args", None), "class_args of a config")
    for name in changes:
        if name != "model_path":
            raise BadRequest(f"a config has no '{name}', it has model_path and class_args")
    return {**class_args, **changes}


def _object(given: Any, what: str) -> Mapping[str, Any]:
    if given is not None and not isinstance(given, Mapping):
        raise BadRequest(f"{what} is an object")
    return given or {}


def _places_in(argument: str, value: Any) -> list[str]:
    """Return all that an argument names that may be a file or a URL."""
    if isinstance(value, Mapping):
        return [place for key, item in value.items() for place in _places_in(f"{argument} {key}", item)]
    if isinstance(value, (list, tuple)):
        return [place for item in value for place in _places_in(argument, item)]
    named = any(word in argument.lower() for word in ("path", "file", "uri", "url", "dir", "folder"))
    return [value] if isinstance(value, str) and (named or "/" in value or "\\" in value) else []


def _released(instance: V2ModelServer, left: threading.Event) -> None:
    left.wait()
    _close(instance, ("unload", "close"))


def _close(instance: V2ModelServer, methods: tuple[str, ...]) -> None:
    close = next((method for name in methods if callable(method := getattr(instance, name, None))), None)
    try:
        if close is not None:
            close()
    except Exception:
        _logger.exception("model '%s' could not be released cleanly", instance.name)


def _thread(what: str, name: str, run: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=run, name=f"penstock-{what}-{name}", daemon=True)
    thread.start()
    return thread


async def _in_thread(name: str, call: Callable[[], Any]) -> Any:
    """Wait for a call on a new thread; a failure becomes the answer with its status."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Any] = loop.create_future()

    def finish(result: Any) -> None:
        if not done.done():  # else nobody waits any more
            done.set_result(result)

    def run() -> None:
        try:
            result = call()
        except Exception as error:
            status = error.status_code if isinstance(error, PenstockError) and type(error) is not StepNotReady else 500
            result = Response(body={"error": str(error)}, content_type="application/json", status_code=status)
        loop.call_soon_threadsafe(finish, result)

    _thread("model", name, run)
    return await done
