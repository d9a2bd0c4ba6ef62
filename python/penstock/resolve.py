"""From names to objects: classes, handlers and expressions that a graph mentions as text.

A name is looked up in the namespaces given, in order (the caller's module is the last of them), and then as a
dotted path. Names of MLRun and of penstock mean the penstock class.
"""

from __future__ import annotations

import builtins
import difflib
import functools
import importlib
import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from types import CodeType, ModuleType
from typing import Any

from penstock.errors import GraphError, NameNotFound, StepNotReady

_OWN_PREFIXES = ("mlrun.", "penstock.")
_SHORT = {"$remote": "penstock.serving.RemoteStep"}
_SECRET = re.compile(r"secret|password|passwd|token|credential|api_?key|access_?key", re.IGNORECASE)
Namespace = Mapping[str, Any]


def namespaces_of(*given: Any) -> list[Namespace]:
    """Turn modules, dicts, objects and lists of them into the dicts to look names up in.

    Examples
    --------
    >>> [sorted(names) for names in namespaces_of({"a": 1}, None, [{"b": 2}])]
    [['a'], ['b']]
    """
    found: list[Namespace] = []
    for item in given:
        if item is None:
            continue
        if isinstance(item, (list, tuple)):
            found.extend(namespaces_of(*item))
        elif isinstance(item, Mapping):
            found.append(item)
        else:
            found.append(vars(item))
    return found


def is_expression(text: object) -> bool:
    """Tell whether a handler is an expression: text in parentheses, such as ``"(event + 1)"``."""
    return isinstance(text, str) and text.startswith("(") and text.endswith(")")


@functools.lru_cache(maxsize=1024)
def compile_expression(text: str) -> CodeType:
    """Compile an expression over `event`, once for each text.

    Raises
    ------
    GraphError
        It is not a Python expression.
    """
    try:
        return compile(f"lambda event: {text}", f"<expression {text}>", "eval")
    except SyntaxError as error:
        raise GraphError(f"the expression {text} is not valid Python: {error.msg}") from None


def expression(text: str) -> Callable[[Any], Any]:
    """Make the function of an expression.

    Examples
    --------
    >>> expression("(event + 1)")(2)
    3
    """
    made: Callable[[Any], Any] = eval(compile_expression(text), {})  # noqa: S307  # written by the graph's author
    return made


def nearest(name: str, known: Iterable[str]) -> str:
    """Say which known names are near one that is not known, or which there are if there are few.

    Examples
    --------
    >>> nearest("Ecko", ["Echo", "Other"])
    "; did you mean 'Echo'?"
    """
    scores = {candidate: _likeness(name, candidate) for candidate in set(known)}
    least = 0.5 if len(name) <= 3 else 0.6  # short names differ much by one letter
    best = max(scores.values(), default=0.0)
    close = [key for key in scores if scores[key] >= max(least, best - 0.1)]
    close.sort(key=lambda key: (-scores[key], key))
    if not close:
        return ""
    return "; did you mean " + " or ".join(f"'{candidate}'" for candidate in close[:3]) + "?"


def _likeness(name: str, candidate: str) -> float:
    """Say how alike two names are, from 0 to 1; capitals count little."""
    alike = difflib.SequenceMatcher(None, name, candidate).ratio()
    return max(alike, difflib.SequenceMatcher(None, name.lower(), candidate.lower()).ratio() - 0.05)


def qualified_name(item: Any) -> str:
    """Name a class or function so that it can be found again; names of the main script stay short.

    Examples
    --------
    >>> import json
    >>> qualified_name(json.dumps)
    'json.dumps'
    """
    module = getattr(item, "__module__", None)
    name = getattr(item, "__qualname__", None) or getattr(item, "__name__", None) or type(item).__qualname__
    return name if module in (None, "__main__", "builtins") else f"{module}.{name}"


class Resolver:
    """Looks names up, in this order: the namespaces, penstock's own classes, a dotted path."""

    def __init__(self, *namespaces: Any) -> None:
        self._namespaces = namespaces_of(*namespaces)

    def find(self, name: str, *, what: str = "class") -> Any:
        """Return the object of that name.

        Raises
        ------
        NameNotFound
            There is none; the text has the nearest names.

        Examples
        --------
        >>> Resolver().find("json.dumps", what="handler")([1])
        '[1]'
        """
        for names in self._namespaces:
            if name in names:
                return names[name]
        own = _own_name(name)
        if own:
            return self._own(own, what)
        if "." not in name:
            found = _own_class(name)
            if found is not None:
                return found
            if what == "handler" and hasattr(builtins, name):
                return getattr(builtins, name)
            raise NameNotFound(f"there is no {what} '{name}'{nearest(name, self._known())}")
        first, _, rest = name.partition(".")
        for names in self._namespaces:
            if first in names:
                return _attribute(names[first], rest, name, what)
        return _import(name, what)

    def function(self, target: Any, *, what: str = "handler") -> Callable[..., Any]:
        """Return the function that a handler or a class argument such as `_fn` stands for."""
        if isinstance(target, str):
            found = expression(target) if is_expression(target) else self.find(target, what=what)
        else:
            found = target
        if not callable(found):
            raise GraphError(f"the {what} {target!r} is not a function, it is of type {type(found).__name__}")
        return found

    def class_args(self, class_args: Mapping[str, Any]) -> dict[str, Any]:
        """Resolve the arguments whose names start with "_": they are functions, and lose the underscore."""
        resolved: dict[str, Any] = {}
        for key, value in class_args.items():
            if key.startswith("_") and not key.startswith("__"):
                resolved[key[1:]] = self.function(value, what=f"function for {key}")
            else:
                resolved[key] = value
        return resolved

    def _own(self, name: str, what: str) -> Any:
        last = name.rpartition(".")[2]
        own = _own_class(last)
        if own is not None:
            return own
        import penstock.serving

        near = nearest(last, penstock.serving.__all__)
        raise NameNotFound(f"there is no {what} '{name}' in penstock.serving{near}")

    def _known(self) -> list[str]:
        import penstock.serving

        known = [key for names in self._namespaces for key, value in names.items() if callable(value)]
        return [key for key in known if not key.startswith("_")] + list(penstock.serving.__all__)


def _own_name(name: str) -> str:
    """Return the name that penstock has for what is one of its own by the look of it; "" for all other names."""
    if name.startswith("hub://"):
        from penstock.hub import hub_class

        return hub_class(name)
    return _SHORT.get(name, name if name.startswith(_OWN_PREFIXES) else "")


def _own_class(name: str) -> Any:
    import penstock.serving

    return getattr(penstock.serving, name) if name in penstock.serving.__all__ else None


def _attribute(start: Any, path: str, name: str, what: str) -> Any:
    found = start
    for part in path.split("."):
        if not hasattr(found, part):
            owner = getattr(found, "__name__", type(found).__name__)
            raise NameNotFound(f"there is no {what} '{name}': '{owner}' has no '{part}'{nearest(part, dir(found))}")
        found = getattr(found, part)
    return found


def _import(name: str, what: str) -> Any:
    parts = name.split(".")
    module: ModuleType | None = None
    used = 0
    for used in range(1, len(parts)):
        path = ".".join(parts[:used])
        try:
            module = importlib.import_module(path)
        except ModuleNotFoundError as error:
            if error.name is None or not (path == error.name or path.startswith(error.name + ".")):
                raise NameNotFound(
                    f"{what} '{name}': '{path}' needs the module '{error.name}', which is missing"
                ) from error
            used -= 1
            break
    if module is None:
        raise NameNotFound(f"there is no {what} '{name}': no module '{parts[0]}'")
    return _attribute(module, ".".join(parts[used:]), name, what)


def signature_of(target: Any) -> inspect.Signature | None:
    """Return a signature, or None for what has none (functions written in C)."""
    try:
        return inspect.signature(target)
    except (TypeError, ValueError):
        return None


def with_context(function: Callable[..., Any], context: Any) -> Callable[..., Any]:
    """Give a function its `context`, if it has a parameter of that name.

    Examples
    --------
    >>> with_context(lambda body, context: (body, context), "the context")(1)
    (1, 'the context')
    """
    signature = signature_of(function)
    if signature is None or "context" not in signature.parameters:
        return function
    if next(iter(signature.parameters)) == "context":
        return functools.partial(function, context)
    return functools.partial(function, context=context)


def is_async(function: Any) -> bool:
    """Tell whether calling this gives a coroutine."""
    while isinstance(function, functools.partial):
        function = function.func
    if inspect.iscoroutinefunction(function):
        return True
    call = getattr(type(function), "__call__", None)  # noqa: B004  # the method itself is wanted
    return not inspect.isfunction(function) and not inspect.ismethod(function) and inspect.iscoroutinefunction(call)


def fit_arguments(
    class_object: Any, class_args: Mapping[str, Any], extras: Mapping[str, Any], step: str
) -> dict[str, Any]:
    """Return the arguments that a step's class is made with; of `extras` (context, name, ...) it gets what it takes.

    Raises
    ------
    StepNotReady
        It takes no argument of a name; the text has the nearest.
    """
    signature = signature_of(class_object)
    arguments = dict(class_args)
    if signature is None:
        return arguments
    parameters = signature.parameters
    takes_all = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values())
    for key, value in extras.items():
        if (takes_all or key in parameters) and (value is not None or key in parameters):
            arguments.setdefault(key, value)
    for key in () if takes_all else class_args:
        if key not in parameters:
            near = nearest(key, set(parameters) - set(extras))
            raise StepNotReady(f"step '{step}': {class_object.__name__} takes no argument '{key}'{near}")
    return arguments


def make_object(class_object: Any, class_args: Mapping[str, Any], extras: Mapping[str, Any], step: str) -> Any:
    """Make a step's object; of `extras` (context, name, ...) it gets what its constructor takes.

    Raises
    ------
    StepNotReady
        The arguments don't fit, or the constructor failed; the text names the step and both.
    """
    arguments = fit_arguments(class_object, class_args, extras, step)
    try:
        return class_object(**arguments)
    except GraphError:
        raise
    except Exception as error:
        shown = ", ".join(f"{key}={shown_value(key, value)}" for key, value in class_args.items())
        raise StepNotReady(
            f"step '{step}': {class_object.__name__}({shown}) failed: {type(error).__name__}: {error}"
        ) from error


def shown_value(key: str, value: Any) -> str:
    """Say an argument in an error; what is secret by its name is not said.

    Examples
    --------
    >>> shown_value("limit", 3), shown_value("api_key", "s3cret")
    ('3', '***')
    """
    return "***" if _SECRET.search(key) else f"{value!r:.60}"
