"""What the native steps have in common: their arguments, what of an event they see, and where results go."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from penstock.errors import GraphError

Key = Callable[[Any], Any]
Runs = tuple[Callable[..., Any], bool]


class Port(Protocol):
    """How a step that holds events tells the core what becomes of them; any thread."""

    def emit(self, tokens: list[int], value: Any, *, keep: bool = False, outlet: int | None = None) -> None:
        """Send one event on, which stands for those of all tokens."""

    def drop(self, tokens: list[int]) -> None:
        """Filter events out."""

    def fail(self, tokens: list[int], error: BaseException) -> None:
        """Let events fail at this step."""

    def wake_after(self, seconds: float) -> None:
        """Have `wake` called once, later; replaces an earlier call."""


class Step:
    """The base of all native steps; takes what every step of storey takes.

    Parameters
    ----------
    name : str, optional
        The step's name; the class's name if there is none.
    context : GraphContext, optional
        The graph's context.
    full_event : bool, optional
        Whether functions get the event and not only its body.
    input_path, result_path : str, optional
        The part of the body, as "a.b", that functions get, and where their result goes in it.
    graph_step, outlets : object, optional
        The step of the graph that this is, and the names of those that follow.
    """

    kind: str = "map"

    def __init__(
        self,
        *,
        name: str | None = None,
        context: Any = None,
        full_event: bool | None = None,
        input_path: str | None = None,
        result_path: str | None = None,
        graph_step: Any = None,
        outlets: Any = None,
    ) -> None:
        self.graph_step = graph_step
        self.outlets = outlets
        self.name = name or type(self).__name__
        self.context = context
        self.logger = getattr(context, "logger", None)
        self.verbose = bool(getattr(context, "verbose", False))
        self.full_event = bool(full_event)
        self.input_path = input_path
        self.result_path = result_path

    def lowered(self) -> tuple[str, Callable[..., Any], bool] | None:
        """Return what the core runs: its kind of step, a function, whether it gets the event; None for a stage."""
        runs = self._runs()
        return None if runs is None else (self.kind, *runs)

    def _runs(self) -> Runs | None:
        """Return the function, and whether it gets the event."""
        if hasattr(self, "do_event"):
            return self.do_event, True
        return (self.do, False) if hasattr(self, "do") else None

    def element(self, event: Any) -> Any:
        """Return what a function gets of an event."""
        if self.full_event:
            return event
        return event.body if not self.input_path else get_in(event.body, self.input_path)

    def put(self, event: Any, result: Any) -> Any:
        """Make a function's result the event's body, or a part of it; returns the event."""
        if self.full_event:
            return result
        if self.result_path and event.body:
            set_in(event.body, self.result_path, result)
        else:
            event.body = result
        return event


def get_in(body: Any, path: str) -> Any:
    """Return what is at a path of a body; None if there is nothing.

    Examples
    --------
    >>> get_in({"a": {"b": 1}}, "a.b"), get_in({"a": None}, "a.b")
    (1, None)
    """
    if not hasattr(body, "__getitem__"):
        raise TypeError("input_path parameter supports only dict-like event bodies")
    for part in path.split("."):
        if not body or part not in body:
            return None
        body = body[part]
    return body


def set_in(body: Any, path: str, value: Any) -> None:
    """Put a value at a path of a body, making the dicts on the way.

    Examples
    --------
    >>> body = {"a": 1}
    >>> set_in(body, "b.c", 2)
    >>> body
    {'a': 1, 'b': {'c': 2}}
    """
    if not hasattr(body, "__getitem__"):
        raise TypeError("result_path parameter supports only dict-like event bodies")
    *parents, last = path.split(".")
    for part in parents:
        inner = body.get(part)
        if inner is None:
            inner = body[part] = {}
        body = inner
    body[last] = value


def attribute_of(event: Any, name: str) -> Any:
    """Return an event's attribute by the name that storey knows it by."""
    return event.time if name in ("processing_time", "time") else getattr(event, name)


def dict_body(event: Any, what: str) -> dict[str, Any]:
    """Return a copy of an event's body, which has to be a dict."""
    if not isinstance(event.body, Mapping):
        raise TypeError(f"{what} changes a dict, the body is {type(event.body).__name__}")
    return dict(event.body)


def key_of(key: Any, argument: str, *, drop: bool = False) -> Key | None:
    """Return the function that takes an event's key; None for none.

    Parameters
    ----------
    key : str or callable, optional
        "$name" is an attribute of the event, any other text a field of its body; a function gets the event.
    argument : str
        What the argument is called, for the error.
    drop : bool
        Whether the field leaves the body.
    """
    if key is None:
        return None
    if callable(key):
        given: Key = key
        return given
    if not isinstance(key, str):
        raise GraphError(
            f"{argument} is a field's name, '$' and an attribute of the event, or a function, not {type(key).__name__}"
        )
    if key.startswith("$"):
        return functools.partial(_attribute_key, name=key[1:])
    return functools.partial(_field_key, name=key, drop=drop)


def _attribute_key(event: Any, name: str) -> Any:
    return attribute_of(event, name)


def _field_key(event: Any, name: str, drop: bool) -> Any:
    if not isinstance(event.body, dict):
        raise TypeError(f"the key is the field '{name}' of a dict, the body is {type(event.body).__name__}")
    if name not in event.body:
        raise KeyError(f"the body has no field '{name}' to be the key")
    if not drop:
        return event.body[name]
    event.body = dict(event.body)
    return event.body.pop(name)


def function_of(value: Any, argument: str, step: str) -> Callable[..., Any]:
    """Check that an argument is a function."""
    if not callable(value):
        raise GraphError(f"{step} needs a function for {argument}, got {value!r:.60}")
    checked: Callable[..., Any] = value
    return checked


def whole(value: Any, argument: str, least: int) -> int:
    """Check that an argument is a whole number, not below `least`."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise GraphError(f"{argument} is a whole number, not {value!r:.60}")
    if value < least:
        raise GraphError(f"{argument} is at least {least}, not {value}")
    return value


def seconds(value: Any, argument: str) -> float:
    """Check that an argument is a number of seconds."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise GraphError(f"{argument} is a number of seconds, not {value!r:.60}")
    if not value >= 0:
        raise GraphError(f"{argument} is a number of seconds from 0 on, not {value}")
    return float(value)


def dropped() -> Any:
    """Return what a handler returns so that its event is filtered out."""
    from penstock.event import DROPPED

    return DROPPED


def wait_for(result: Any) -> Any:
    """Return a result, waiting for it if it is a coroutine's."""
    if not inspect.iscoroutine(result):
        return result
    from penstock.engine import loop

    return asyncio.run_coroutine_threadsafe(result, loop.start()).result()
