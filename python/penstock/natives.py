"""Steps of storey: what runs natively, what runs in the package itself, and what is said of the rest.

A graph names a step ("storey.Batch") or has an object of storey's, or of a subclass. Most are run by the core or by
penstock's own classes; storey is imported only for the others.
"""

from __future__ import annotations

import dataclasses
import functools
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from penstock.errors import GraphError, PenstockError
from penstock.hosting_events import chooses
from penstock.resolve import is_async, nearest, signature_of, with_context

PREFIX = "storey."
_PREFIXES = (PREFIX, "penstock.storey_steps.")

Lowered = tuple[str, Callable[..., Any], bool]

_RENAMED = {
    "AsyncSource": "AsyncEmitSource",
    "JoinWithHttp": "SendToHttp",
    "MapWithHttp": "SendToHttp",
    "NoopPersist": "NoSqlTarget",
    "Persist": "NoSqlTarget",
    "QueryAggregationByKey": "QueryByKey",
    "ReadCSV": "CSVSource",
    "ReadParquet": "ParquetSource",
    "Source": "SyncEmitSource",
    "WriteToCSV": "CSVTarget",
    "WriteToKafka": "KafkaTarget",
    "WriteToNoSql": "NoSqlTarget",
    "WriteToParquet": "ParquetTarget",
    "WriteToTSDB": "TSDBTarget",
    "WriteToTable": "NoSqlTarget",
    "WriteToV3IOStream": "StreamTarget",
}
_HOSTED = (
    "AggregateByKey",
    "JoinWithTable",
    "JoinWithV3IOTable",
    "NoSqlTarget",
    "OTelMetricsExporter",
    "ParallelExecution",
    "QueryByKey",
    "TSDBTarget",
    "TimescaleDBTarget",
)
_SOURCES = ("AsyncEmitSource", "CSVSource", "DataframeSource", "ParquetSource", "SQLSource", "SyncEmitSource")
_INSTEAD = {
    "KafkaTarget": 'write a queue: .to(">>", "out", path="kafka://host:9092/topic")',
    "StreamTarget": 'write a queue: .to(">>", "out", path="v3io://host/container/stream")',
    "Recover": 'write step.error_handler("name") or graph.error_handler("name")',
    "Flow": "subclass it, or storey.MapClass",
    **dict.fromkeys(_SOURCES, "a source feeds a graph, it is no step of one: graph.set_flow_source(...)"),
}
_LOWERED_CLASSES = {"Map": "map", "Filter": "filter", "FlatMap": "flat_map", "Extend": "extend"}
_FUNCTIONS = frozenset({"event_processor", "fn", "join_from_response", "predicate", "request_builder"})
_INJECTED = frozenset({"clock", "context", "graph_step", "name", "outlets"})
_HOOKS = (
    "__getattribute__",
    "_call",
    "_do",
    "_do_and_recover",
    "_do_downstream",
    "_do_internal",
    "_emit_streaming_chunks",
    "_get_event_or_body",
    "_init",
    "_user_fn_output_to_event",
    "run",
)


@dataclasses.dataclass
class Built:
    """What stands for a step of storey.

    Attributes
    ----------
    kind : str
        The core's kind of step: map, filter, extend, flat_map, pass, or "stage" for one with a `take` of its own.
    target : object
        The function, or the stage.
    full_event : bool
        Whether the function gets events.
    object : object
        The step's object.
    select : callable, optional
        Gets the body and returns the names of the steps that it goes to.
    empty_drops : bool
        Whether naming none filters the event out; else it goes to all.
    """

    kind: str
    target: Any
    full_event: bool = False
    object: Any = None
    select: Callable[[Any], Any] | None = None
    empty_drops: bool = False


def is_storey_name(class_name: str) -> bool:
    """Tell whether a class name is storey's.

    Examples
    --------
    >>> is_storey_name("storey.FlatMap"), is_storey_name("my.FlatMap")
    (True, False)
    """
    return class_name.startswith(_PREFIXES)


def is_storey_step(target: Any) -> bool:
    """Tell whether an object, or a class, is a step of the storey package; storey is not imported."""
    kind = target if isinstance(target, type) else type(target)
    return any(base.__name__ == "Flow" and base.__module__.startswith(PREFIX) for base in kind.__mro__)


def is_own_step(made: Any) -> bool:
    """Tell whether an object is one of penstock's own steps of storey; their module is not loaded for it."""
    base = sys.modules.get("penstock.storey_steps.base")
    return base is not None and isinstance(made, base.Step)


def build(
    class_name: str,
    arguments: Mapping[str, Any],
    *,
    context: Any = None,
    name: str = "",
    find: Callable[[Any], Callable[..., Any]] | None = None,
    full_event: bool | None = None,
    input_path: str | None = None,
    result_path: str | None = None,
    outlets: Sequence[str] = (),
) -> Built:
    """Make what a step that is named "storey.X" runs.

    Parameters
    ----------
    class_name : str
        The name, such as "storey.Batch".
    arguments : mapping
        The class's arguments.
    context, name, full_event, input_path, result_path
        What the step has besides; they give way to arguments of the same name.
    find : callable, optional
        Makes a function of the text of an expression or of a name.
    outlets : sequence of str
        The names of the steps that follow.

    Raises
    ------
    GraphError
        There is no such step, or an argument does not fit.

    Examples
    --------
    >>> build("storey.Filter", {"fn": bool}).kind
    'filter'
    """
    last = class_name.rpartition(".")[2]  # storey itself writes "storey.flow.Map"
    short = _RENAMED.get(last, last)
    if short in _INSTEAD:
        raise GraphError(f"{class_name} is no step of a graph: {_INSTEAD[short]}")
    offered = {
        "name": name or None,
        "context": context,
        "full_event": full_event,
        "input_path": input_path,
        "result_path": result_path,
    }
    found = _native_class(short, arguments)
    if found is None:
        made = _make(_storey_class(class_name, short), class_name, offered, dict(arguments), strict=False)
        return _built(made, context, outlets)
    given = dict(arguments)
    known = _arguments_of(found)
    for key in _FUNCTIONS & known:
        if find is not None and isinstance(given.get(key), str):
            given[key] = find(given[key])
    if "fn" in known and given.get("fn") is None:
        raise GraphError(f"{class_name} needs the argument _fn, a function or an expression")
    return _built(_make(found, class_name, offered, given), context, outlets)


def lower(made: Any) -> Lowered | None:
    """Return what the core runs for an object, if it is a step that needs neither storey nor a stage.

    Returns
    -------
    tuple or None
        The kind of step, the function, and whether it gets events; kind "select" means that the object only routes.

    Examples
    --------
    >>> from penstock.storey_steps import Filter
    >>> lower(Filter(bool))
    ('filter', <class 'bool'>, False)
    """
    if is_own_step(made):
        own: Lowered | None = made.lowered()
        return own
    return _lower_storey(made) if is_storey_step(made) and getattr(made, "_recovery_step", None) is None else None


def _lower_storey(made: Any) -> Lowered | None:
    full_event = bool(getattr(made, "_full_event", False))
    kind = type(made).__name__
    own = type(made).__module__.startswith(PREFIX)
    if own and kind in _LOWERED_CLASSES:
        function = with_context(made._fn, made.context)
        if made._pass_context and function is made._fn:
            function = functools.partial(function, context=made.context)
        return _LOWERED_CLASSES[kind], function, full_event
    if not _inherits(made, _HOOKS):
        return None
    if _base_name(made) == "Choice":
        return "select", made.select_outlets, full_event
    if _base_name(made) != "MapClass" or own:
        return None
    from penstock.storey_steps.mapclass import filtering, mark_filtered

    if _inherits(made, ("filter",)):
        made.filter = mark_filtered  # storey's own keeps the mark on the object, where events would share it
    return "map", filtering(made.do), full_event


def host(*made: Any, context: Any = None, outlets: Sequence[str] = ()) -> Any:
    """Return a stage that runs steps of storey, in a line, with the package itself.

    Raises
    ------
    GraphError
        storey is not installed.
    """
    _storey("a step of storey")
    from penstock.hosting import StoreyHost

    return StoreyHost(*made, context=context, outlets=list(outlets))


def adopt(
    made: Any, *, context: Any = None, outlets: Sequence[str] = (), paths: tuple[str | None, str | None] = (None, None)
) -> Built | None:
    """Return what stands for an object that a graph was given; None if it is no step of storey or of ours.

    Parameters
    ----------
    made : object
        The object.
    context, outlets
        As for `build`.
    paths : tuple
        The step's own `input_path` and `result_path`; those of the object count if there are none.
    """
    if not is_own_step(made) and not is_storey_step(made):
        return None
    built = _built(made, context, outlets)
    own = (getattr(made, "input_path", None), getattr(made, "result_path", None))
    if is_storey_step(made):
        own = (getattr(made, "_input_path", None), getattr(made, "_result_path", None))
    if any(own) and not any(paths) and built.kind in ("map", "filter") and not built.full_event:
        built.target, built.full_event = _with_paths(built.target, built.kind, own), True
    return built


def _with_paths(function: Callable[..., Any], kind: str, paths: tuple[str | None, str | None]) -> Callable[..., Any]:
    """Make a function of a body, or of a part of it, one of an event."""
    from penstock.storey_steps.base import Step, dropped

    step = Step(input_path=paths[0], result_path=paths[1])

    def put(event: Any, result: Any) -> Any:
        return result if kind == "filter" or result is dropped() else step.put(event, result)

    if is_async(function):

        async def call_async(event: Any) -> Any:
            return put(event, await function(step.element(event)))

        return call_async

    def call(event: Any) -> Any:
        return put(event, function(step.element(event)))

    return call


def _built(made: Any, context: Any, outlets: Sequence[str]) -> Built:
    lowered = lower(made)
    if lowered is None:
        if hasattr(made, "take"):
            return Built("stage", made, True, made)
        return Built("stage", host(made, context=context, outlets=outlets), True)
    kind, target, full_event = lowered
    if kind == "select":
        return Built("pass", None, False, made, target, empty_drops=True)
    if is_storey_step(made):
        select = getattr(made, "_outlets_selector", None) or (made.select_outlets if chooses(made) else None)
    else:
        select = getattr(made, "select_outlets", None)
    return Built(kind, target, full_event, made, select)


def _native_class(short: str, given: Mapping[str, Any]) -> Any:
    from penstock import storey_steps
    from penstock.storey_steps.base import Step

    if short == "MapWithState" and given.get("group_by_key") and not isinstance(given.get("initial_state"), dict):
        return None  # a table of storey's
    found = getattr(storey_steps, short, None) if short in storey_steps.__all__ else None
    return found if isinstance(found, type) and issubclass(found, Step) else None


def _storey_class(class_name: str, short: str) -> Any:
    from penstock import storey_steps

    known = {*storey_steps.__all__, *_HOSTED, *_RENAMED, *_INSTEAD}
    if short not in known:
        raise GraphError(
            f"there is no step '{class_name}' in storey{nearest(class_name, [PREFIX + name for name in known])}"
        )
    return getattr(_storey(class_name), short)


def _storey(what: str) -> Any:
    import importlib

    try:
        return importlib.import_module("storey")
    except ImportError as error:
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        hint = "" if version in ("3.11", "3.12") else f", this is Python {version}"
        raise GraphError(
            f"{what} needs the package '{error.name or 'storey'}': "
            f'pip install "penstock[storey]" (Python 3.11 and 3.12 only{hint})'
        ) from error


def _arguments_of(kind: type) -> set[str]:
    """Return the names of the arguments of a class, with those that it hands to its bases."""
    names: set[str] = set()
    for base in kind.__mro__:
        signature = signature_of(vars(base)["__init__"]) if "__init__" in vars(base) else None
        if signature is None or base is object:
            continue
        names.update(key for key, value in signature.parameters.items() if value.kind is not value.VAR_KEYWORD)
        if not any(value.kind is value.VAR_KEYWORD for value in signature.parameters.values()):
            break
    return names - {"self", "args"} | {"name", "context", "full_event", "input_path", "result_path"}


def _make(
    kind: Any, class_name: str, offered: Mapping[str, Any], given: Mapping[str, Any], *, strict: bool = True
) -> Any:
    """Make an object; storey takes more arguments than it names, so of those only what looks misspelt is refused."""
    known = _arguments_of(kind)
    shown = {f"_{name}" if name in _FUNCTIONS else name for name in known - _INJECTED}
    for key in given:
        near = nearest(key, shown)
        if key not in known and (strict or near):
            raise GraphError(f"{class_name} takes no argument '{key}'{near}")
    try:
        return kind(**{key: value for key, value in offered.items() if value is not None} | dict(given))
    except PenstockError:
        raise
    except Exception as error:
        raise GraphError(f"{class_name}: {error}") from error


def _base_name(made: Any) -> str:
    """Return the name of the nearest class of storey's that an object's class derives from."""
    return next((base.__name__ for base in type(made).__mro__ if base.__module__.startswith(PREFIX)), "")


def _inherits(made: Any, hooks: Sequence[str]) -> bool:
    """Tell whether an object has these methods from storey, not from its own class."""
    for hook in hooks:
        if hook in vars(made):
            return False
        for base in type(made).__mro__:
            if hook in vars(base):
                if not base.__module__.startswith(PREFIX) and base is not object:
                    return False
                break
    return True
