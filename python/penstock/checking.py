"""Everything that can be found wrong with a function without running it."""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import inspect
import os
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from penstock.checks import EMPTY, Shape, check_routes
from penstock.errors import GraphError, NameNotFound, PenstockError
from penstock.files import local_copy
from penstock.function import ServingFunction
from penstock.guarantees import exactly_once_of
from penstock.natives import is_storey_name
from penstock.partition import part_of
from penstock.resolve import Resolver, fit_arguments, nearest, signature_of
from penstock.server_text import refuse_foreign
from penstock.steps import BaseStep, ErrorStep, QueueStep, RouterStep, TaskStep
from penstock.streams import scheme_of, schemes
from penstock.walks import child_functions, children, every_step, queue_links

_DISTRIBUTION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_INJECTED = (
    "context",
    "name",
    "input_path",
    "result_path",
    "full_event",
    "graph_step",
    "outlets",
    "routes",
    "resolver",
)
_DEFAULT_ROUTER = "penstock.serving.ModelRouter"


def check_graph(
    graph: Any, function: str | None = None, triggers: Mapping[str, Mapping[str, Any]] | None = None
) -> None:
    """Check all that needs neither names nor a run, of the whole graph or of what one function runs and triggers.

    Raises
    ------
    GraphError
        What is wrong.

    Examples
    --------
    >>> from penstock.graph import RootFlowStep
    >>> check_graph(RootFlowStep())
    Traceback (most recent call last):
        ...
    penstock.errors.GraphError: no models or steps were set, use function.set_topology() and add steps
    """
    if graph is None:
        raise GraphError(EMPTY)
    if isinstance(graph, RouterStep):
        check_routes(graph, graph.name)
    else:
        part = part_of(graph, function)
        exactly_once_of(part, Shape(part.graph), triggers or {})


def problems_of(fn: ServingFunction, namespace: Any = None) -> list[str]:
    """List what is wrong with a function: one line for each problem, none twice.

    Parameters
    ----------
    fn : ServingFunction
        The function.
    namespace : module, dict, or a list of them, optional
        Where class and handler names are looked up, beside the function's source.

    Examples
    --------
    >>> import penstock
    >>> fn = penstock.new_function("f")
    >>> _ = fn.set_topology("flow").to("no_such_handler", name="a").to("json.dumpz", name="b")
    >>> for line in problems_of(fn): print(line)
    step 'a': there is no class 'no_such_handler'
    step 'b': there is no class 'json.dumpz': 'json' has no 'dumpz'; did you mean 'dump' or 'dumps'?
    """
    lines = [" ".join(line.split()) for line in _Check(fn, namespace).problems()]
    return list(dict.fromkeys(lines))


def summary_of(fn: ServingFunction) -> str:
    """Say on one line what was found to be fine."""
    graph = fn.spec.graph
    steps = list(every_step(graph))
    routers = [step for step in [graph, *steps] if isinstance(step, RouterStep)]
    routes = sum(len(router.routes) for router in routers)
    kind = "router" if isinstance(graph, RouterStep) else "flow"
    parts = [
        _count(len(steps) - routes, "step"),
        _count(routes, "route"),
        _count(len(child_functions(graph)), "child function"),
    ]
    return f"'{fn.metadata.name}': {kind} of {', '.join(filter(None, parts))}; nothing wrong was found"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}" if number else ""


class _Check:
    def __init__(self, fn: ServingFunction, namespace: Any) -> None:
        self._fn = fn
        self._namespace = namespace
        self._resolver = Resolver()

    def problems(self) -> Iterator[str]:
        graph, spec = self._fn.spec.graph, self._fn.spec
        yield from _raised(spec.check)
        if graph is None or not children(graph):
            yield EMPTY
        else:
            yield from self._shape(graph)
            yield from self._sources()
            for name, step in _named(graph):
                yield from self._step(step, name)
            yield from self._functions(graph)
        if spec.graph_initializer is not None:
            yield from _raised(lambda: self._resolver.function(spec.graph_initializer, what="graph_initializer"))
        yield from _stream(spec.error_stream, "error_stream")
        for one in (self._fn, *spec.function_refs.values()):
            for name, trigger in one.triggers.items():
                yield from _raised(functools.partial(_read_trigger, name, trigger))
        yield from spec.secret_sources.missing()
        for line in _missing_packages(spec.build.requirements):
            yield f"{line} of function '{self._fn.metadata.name}'"

    def _shape(self, graph: Any) -> Iterator[str]:
        """Find what is wrong with the order of steps: each step by itself first, then the whole."""
        if isinstance(graph, RouterStep):
            yield from _raised(lambda: check_routes(graph, graph.name))
            return
        found = [line for name, step in _named(graph) for line in _order(graph, step, name)]
        yield from found
        yield from _raised(lambda: refuse_foreign(graph))
        if not found:
            yield from _raised(lambda: check_graph(graph, triggers=self._fn.triggers))

    def _sources(self) -> Iterator[str]:
        found: list[Any] = []
        yield from _raised(lambda: found.extend(self._fn._sources("*", None)))
        self._resolver = Resolver(self._namespace, *found)

    def _step(self, step: BaseStep, name: str) -> Iterator[str]:
        if isinstance(step, QueueStep):
            yield from _stream(step.path, f"step '{name}'")
            yield from _raised(lambda: _read_queue(step), name)
        if not isinstance(step, TaskStep) or step.kind in ("model_runner", "monitoring_application"):
            return
        if is_storey_name(step.class_name) and step.target.class_object is None:
            yield from _raised(lambda: self._build_storey(step), name)
            return
        found: list[Any] = []
        yield from _raised(lambda: found.append(self._target(step)), name)
        if found:
            yield from _raised(lambda: self._call(step, found[0], name), name)
            yield from _package(found[0], name)
        path = step.class_args.get("model_path")
        if isinstance(path, (str, os.PathLike)):
            yield from _raised(lambda: _look(os.fspath(path), name))

    def _build_storey(self, step: TaskStep) -> None:
        from penstock.natives import build

        arguments = self._resolver.class_args(step.class_args)
        context = None
        build(step.class_name, arguments, context=context, name=step.name, find=self._resolver.function)

    def _target(self, step: TaskStep) -> Any:
        """Return the class, object or function that a step runs."""
        target = step.target
        if target.class_object is not None:
            return target.class_object
        if isinstance(step, RouterStep) or step.class_name:
            return self._resolver.find(step.class_name or _DEFAULT_ROUTER)
        return target.handler_object or self._resolver.function(step.handler)

    def _call(self, step: TaskStep, found: Any, name: str) -> None:
        """Check that the arguments fit, and that there is something to call."""
        arguments = self._resolver.class_args(step.class_args)
        if inspect.isclass(found):
            extras = dict.fromkeys(_INJECTED)
            fitting = fit_arguments(found, arguments, extras, name)
            signature = signature_of(found)
            try:
                if signature is not None:
                    signature.bind(**fitting)
            except TypeError as error:
                raise GraphError(f"{found.__name__}: {error}") from None
        if step.handler and step.class_name and not callable(getattr(found, step.handler, step.target.handler_object)):
            methods = [key for key in dir(found) if not key.startswith("_")]
            kind = getattr(found, "__name__", type(found).__name__)
            near = nearest(step.handler, methods)
            raise NameNotFound(f"handler ({step.handler}) specified but doesnt exist in class {kind}{near}")

    def _functions(self, graph: Any) -> Iterator[str]:
        used, defined = child_functions(graph), self._fn.spec.function_refs
        for name in used:
            if name not in defined:
                yield (
                    f"function {name} is used in steps and is not defined, use the .add_child_function() to define it"
                    f"{nearest(name, defined)}"
                )
        for name, child in defined.items():
            if name not in used:
                yield f"child function '{name}' runs no step: no step has function='{name}'{nearest(name, used)}"
            for line in _missing_packages(child.spec.build.requirements):
                yield f"{line} of child function '{name}'"
        if used and hasattr(graph, "get_queue_links"):
            yield from _raised(lambda: queue_links(graph))
            for name in used:
                triggers = defined[name].triggers if name in defined else {}
                yield from _raised(functools.partial(check_graph, graph, name, triggers))


def _raised(call: Callable[[], Any], step: str = "") -> list[str]:
    """Say what a call refuses; nothing if it does not."""
    try:
        call()
    except PenstockError as error:
        text = str(error)
    except Exception as error:  # a class of the user's that fails when it is looked at
        text = f"{type(error).__name__}: {error}"
    else:
        return []
    return [text if not step or text.startswith(("step '", "model '")) else f"step '{step}': {text}"]


def _named(graph: Any, prefix: str = "") -> Iterator[tuple[str, BaseStep]]:
    """Go through all steps, with the names that errors have for them."""
    if not prefix and isinstance(graph, RouterStep):
        yield graph.name or "router", graph
    for key, step in children(graph).items():
        name = prefix + key
        yield name, step
        yield from _named(step, f"{name}/")


def _order(graph: Any, step: BaseStep, name: str) -> Iterator[str]:
    flow: Any = step._parent if hasattr(step._parent, "known") else graph
    if not isinstance(step._parent, RouterStep):
        for earlier in [*step.after, *step.cycle_from]:
            yield from _raised(lambda earlier=earlier: flow.known(earlier, "after"), name)  # type: ignore[misc]  # as above
        for later in step.before if isinstance(step, ErrorStep) else []:
            yield from _raised(lambda later=later: flow.known(later, "before"), name)  # type: ignore[misc]  # as above
        if step.on_error and step.on_error not in flow:
            near = nearest(step.on_error, flow)
            yield f"the error handler of step '{name}' is to be '{step.on_error}', there is no step of that name{near}"
    if isinstance(step, RouterStep):
        yield from _raised(lambda: check_routes(step, name))


def _stream(path: str | None, where: str) -> Iterator[str]:
    if path and scheme_of(path) not in schemes():
        known = schemes()
        yield f"{where}: there is no kind of stream '{scheme_of(path)}://'{nearest(scheme_of(path), known)}"


def _read_queue(step: QueueStep) -> None:
    """Raise for what a queue says wrongly about the topic that is read; who its brokers are may be said later."""
    if scheme_of(step.path) == "kafka":
        from penstock.kafka.settings import of_queue

        options = dict(step.queue_options)
        named = options.get("kafka_brokers") or (step.path or "").partition("://")[2].partition("/")[0]
        of_queue(step.path or "", options | {"kafka_brokers": named or "said-later:9092"}, group="checked")


def _read_trigger(name: str, trigger: Mapping[str, Any]) -> None:
    """Raise for what a trigger says wrongly, if penstock serves it."""
    if trigger["kind"] in ("kafka-cluster", "kafka"):
        from penstock.kafka.settings import of_trigger

        of_trigger(trigger, group="checked")
    elif trigger["kind"] == "cron":
        from penstock.cron import CronSource

        CronSource(name, trigger, _take_nothing)


def _take_nothing(event: Any) -> None:
    """Stand for a graph that takes events."""


def _package(found: Any, name: str) -> Iterator[str]:
    """Find a ready-made server's framework missing."""
    package, extra = getattr(found, "package", ""), getattr(found, "extra", "")
    if isinstance(package, str) and package and extra and importlib.util.find_spec(package) is None:
        kind = getattr(found, "__name__", type(found).__name__)
        yield f"step '{name}': {kind} needs the package '{package}': pip install \"penstock[{extra}]\""


def _look(path: str, name: str) -> None:
    """Raise if a model is not there; one that lies elsewhere is looked for, not fetched."""
    if "://" not in path or path.startswith(("file://", "store://")):
        local_copy(path, f"model '{name}'")
        return
    import fsspec

    try:
        files: Any
        files, remote = fsspec.core.url_to_fs(path)
        there = files.exists(remote)
    except (ImportError, ValueError, OSError) as error:
        raise GraphError(f"model '{name}': cannot read {path}: {error}") from None
    if not there:
        raise GraphError(f"model '{name}': there is no file or directory {path}")


def _missing_packages(requirements: list[str]) -> Iterator[str]:
    for requirement in requirements:
        found = _DISTRIBUTION.match(requirement.strip())
        if found is None or "://" in requirement.partition("#")[0].partition("@")[0]:
            continue
        name = found[0]
        try:
            importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            if importlib.util.find_spec(name.partition(".")[0].replace("-", "_")) is None:
                yield f"the package '{name}' is not installed here, it is a requirement"
