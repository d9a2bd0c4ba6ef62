"""Steps as data: what a graph says about each step, and how that is written down.

Nothing here knows the engine. `penstock.graph` has the classes that people call.
"""

from __future__ import annotations

import dataclasses
import inspect
import math
import os
from collections.abc import Mapping
from typing import Any

from penstock.errors import GraphError
from penstock.resolve import compile_expression, is_expression, qualified_name


@dataclasses.dataclass
class Options:
    """The engine's options of a step; None where the engine's default holds. Times are seconds."""

    max_batch_size: int = 0  # 0 is no batch; a batch of 1 is still one: a handler gets a list
    max_delay: float = 0.0
    preferred: tuple[int, ...] = ()  # sizes of batches, ascending
    pad: Any = None  # what rows of different lengths are filled up with; None if they are not joined
    adaptive: bool = False
    target_latency: float | None = None
    isolate: bool | None = None  # each alone after all have failed; None: models only
    concurrency: int | None = None
    by_key: bool = False
    capacity: int | None = None
    timeout: float | None = None
    copy: bool = True
    retry_attempts: int = 1  # calls in all: 1 is no retry
    retry_backoff: float = 0.1  # before the second call; doubles with each further one

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Options:
        """Read what `to_dict` wrote; what is not known here is left out."""
        known = {field.name for field in dataclasses.fields(cls)}
        options = cls(**{key: value for key, value in fields.items() if key in known})
        options.preferred = tuple(options.preferred)
        return options

    def to_dict(self) -> dict[str, Any]:
        """Return what differs from the defaults."""
        differing = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if getattr(self, field.name) != field.default
        }
        if self.preferred:
            differing["preferred"] = list(self.preferred)
        return differing


def whole(step: str, option: str, value: Any, least: int = 1) -> int:
    """Check a number of events or calls."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise GraphError(f"step '{step}': {option} is a whole number of at least {least}, not {value!r}")
    return value


def seconds(step: str, option: str, value: Any, *, above_zero: bool) -> float:
    """Check a time in seconds."""
    number = not isinstance(value, bool) and isinstance(value, (int, float)) and math.isfinite(value)
    if not number or value < 0 or (above_zero and value == 0):
        raise GraphError(f"step '{step}': {option} is a number of seconds, not {value!r}")
    return float(value)


@dataclasses.dataclass
class Target:
    """What a step runs: names, and beside them the objects if objects were given."""

    class_name: str = ""
    handler: str = ""
    class_object: Any = None  # a class, or an instance of one
    handler_object: Any = None

    @classmethod
    def of(cls, class_name: Any, handler: Any) -> Target:
        """Read the two arguments of `to` and `add_step`.

        Raises
        ------
        GraphError
            Neither is given, an expression is not valid Python, or the class is none.

        Examples
        --------
        >>> Target.of("my.Echo", None).default_name
        'Echo'
        """
        class_name = None if isinstance(class_name, str) and not class_name else class_name
        handler = None if isinstance(handler, str) and not handler else handler
        if class_name is None and handler is None:
            raise GraphError("class_name or handler must be provided")
        target = cls()
        if handler is None and class_name is not None and _is_function(class_name):
            class_name, handler = None, class_name
        if isinstance(class_name, str):
            target.class_name = class_name
        elif class_name is not None:
            if type(class_name).__module__ == "builtins" and not callable(class_name):
                raise GraphError(
                    f"a step runs a function, a class, an object with a method do, or one's name; not {class_name!r}"
                )
            target.class_object = class_name
            target.class_name = qualified_name(class_name if inspect.isclass(class_name) else type(class_name))
        if isinstance(handler, str):
            target.handler = handler
            if is_expression(handler):
                compile_expression(handler)
        elif handler is not None:
            if not callable(handler):
                raise GraphError(f"handler={handler!r} is not a function, it is of type {type(handler).__name__}")
            target.handler_object = handler
            target.handler = qualified_name(handler)
        return target

    @property
    def default_name(self) -> str:
        """The name of a step that was given none; "" for expressions and lambdas, which have none."""
        text = self.class_name or self.handler
        if is_expression(text) or text.endswith("<lambda>"):
            return ""
        return text.rpartition("/")[2].rpartition(".")[2].lstrip("$")

    @property
    def told(self) -> dict[str, Any]:
        """What an object with a `to_dict` of its own says of how it is made; nothing for all others."""
        made = self.class_object
        if made is None or inspect.isclass(made) or not callable(getattr(made, "to_dict", None)):
            return {}
        told = made.to_dict()
        return told if isinstance(told, dict) and isinstance(told.get("class_name"), str) else {}


class StepToDict:
    """For classes of steps: an object of it can be written down, with the arguments it was made with.

    Arguments are looked for in attributes of their names; others in a dict named ``_kwargs``.

    Examples
    --------
    >>> class Scale(StepToDict):
    ...     def __init__(self, factor=1, name=None): self.factor, self.name = factor, name
    >>> Scale(3, name="triple").to_dict()["class_args"]
    {'factor': 3}
    """

    def to_dict(self) -> dict[str, Any]:
        """Write the object down as the step that makes it."""
        arguments = [key for key in inspect.signature(type(self)).parameters if key not in _OFFERED]
        class_args = {key: getattr(self, key) for key in arguments if getattr(self, key, None) is not None}
        class_args |= getattr(self, "_kwargs", {})
        fields = {
            "class_name": qualified_name(type(self)),
            "name": getattr(self, "name", None) or type(self).__name__,
            "class_args": plain(class_args),
            "kind": getattr(self, "_STEP_KIND", None),
        }
        paths = {key: getattr(self, f"_{key}", None) for key in ("input_path", "result_path", "full_event")}
        return without_empty(fields | paths)


_OFFERED = frozenset({"context", "name", "input_path", "result_path", "full_event", "graph_step", "outlets", "kwargs"})


def _is_function(item: Any) -> bool:
    """Tell functions (and expressions) from classes and from objects with a method for events."""
    if isinstance(item, str):
        return is_expression(item)
    if inspect.isclass(item):
        return False
    return inspect.isroutine(item) or (callable(item) and not hasattr(item, "do") and not hasattr(item, "do_event"))


def check_args(step: str, class_args: dict[str, Any]) -> None:
    """Check the expressions among the arguments that are functions ("_fn")."""
    for key, value in class_args.items():
        if key.startswith("_") and is_expression(value):
            try:
                compile_expression(value)
            except GraphError as error:
                raise GraphError(f"step '{step}': {error}") from None


def plain(value: Any) -> Any:
    """Write a value of class_args down: functions and classes become their names, arrays and sets lists."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if not inspect.isclass(value) and not inspect.isroutine(value):
        for convert in ("to_dict", "tolist"):
            if callable(getattr(value, convert, None)):
                return getattr(value, convert)()
    return qualified_name(value) if callable(value) else value


def without_empty(fields: dict[str, Any]) -> dict[str, Any]:
    """Leave out what says nothing, as MLRun does.

    Examples
    --------
    >>> without_empty({"path": "", "minReplicas": 0, "verbose": False})
    {'minReplicas': 0}
    """
    nothing: tuple[Any, ...] = ("", [], {})
    return {
        key: value for key, value in fields.items() if value is not None and value is not False and value not in nothing
    }
