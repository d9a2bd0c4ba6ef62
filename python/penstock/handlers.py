"""From a step of the spec to what the core calls for it."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

from penstock.errors import GraphError, NameNotFound, PenstockError, StepNotReady
from penstock.models import V2ModelServer
from penstock.natives import Built, adopt, build, is_storey_name
from penstock.resolve import Resolver, is_async, make_object, nearest, qualified_name, signature_of, with_context
from penstock.steps import TaskStep

_ASYNC_CALLS = 64  # calls of an `async def` handler that may be in flight at once


@dataclasses.dataclass
class Loaded:
    """What the core runs for a step, with the kind of step that runs it."""

    kind: str
    target: Any
    full_event: bool = False
    concurrency: int = 1
    object: Any = None
    select: Callable[[Any], Any] | None = None  # names the steps that an event goes on to
    empty_drops: bool = False  # what it means if it names none


def load_step(step: TaskStep, name: str, context: Any, resolver: Resolver, **extras: Any) -> Loaded:
    """Find and make what a step runs.

    Parameters
    ----------
    step : TaskStep
        The step; its name as the plan has it is `name`.
    **extras
        What else its class's constructor may take.

    Raises
    ------
    GraphError
        A name leads nowhere, an argument does not fit, or there is nothing to call; the text names the step.
    """
    try:
        return _load(step, name, context, resolver, extras)
    except PenstockError as error:
        text = str(error)
        if text.startswith(("step '", "model '")):
            raise
        raise type(error)(f"step '{name}': {text}") from error.__cause__


def _load(step: TaskStep, name: str, context: Any, resolver: Resolver, extras: dict[str, Any]) -> Loaded:
    target = step.target
    if target.class_object is None and is_storey_name(step.class_name):
        return _of_storey(step, context, resolver, extras.get("outlets", ()))
    if target.class_object is None and not step.class_name:
        return _of_function(step, target.handler_object or resolver.function(step.handler), context, resolver)
    found = target.class_object if target.class_object is not None else resolver.find(step.class_name)
    if inspect.isroutine(found) and not step.handler:
        return _of_function(step, found, context, resolver)
    arguments = resolver.class_args(step.class_args)
    if inspect.isclass(found):
        offered = _offered(step, context) | _taken(found, extras | {"resolver": resolver})
        made = make_object(found, arguments, offered, name)
    else:
        made = _adopt(step, found, arguments, context)
    _start(made, name)
    if not step.handler and target.handler_object is None:
        paths = (step.input_path, step.result_path)
        built = adopt(made, context=context, outlets=extras.get("outlets", ()), paths=paths)
        if built is not None:
            return _of_built(built, step.full_event)
    loaded = _of_object(step, made)
    if callable(getattr(made, "select_outlets", None)) and loaded.kind != "stage":
        loaded.select = made.select_outlets
        loaded.empty_drops = bool(getattr(made, "empty_drops", False))
    return loaded


def _of_storey(step: TaskStep, context: Any, resolver: Resolver, outlets: Sequence[str]) -> Loaded:
    built = build(
        step.class_name,
        resolver.class_args(step.class_args),
        context=context,
        name=step.name,
        find=resolver.function,
        full_event=_told_full_event(step),
        input_path=step.input_path,
        result_path=step.result_path,
        outlets=outlets,
    )
    return _of_built(built, False)


def _of_built(built: Built, full_event: bool) -> Loaded:
    """Turn what stands for a step of storey into what the core runs."""
    loaded = _loaded(built.kind, built.target, built.full_event or full_event, built.object)
    if built.kind == "stage":
        return Loaded("stage", built.target, object=built.target)
    if built.select is not None:
        loaded.select = built.select
        loaded.empty_drops = built.empty_drops
    return loaded


def _of_function(step: TaskStep, function: Callable[..., Any], context: Any, resolver: Resolver) -> Loaded:
    bound = with_context(function, context)
    arguments = resolver.class_args(step.class_args)
    if arguments:
        signature = signature_of(bound)
        if signature is not None:
            try:
                signature.bind_partial(**arguments)
            except TypeError:
                key = next((key for key in arguments if key not in signature.parameters), next(iter(arguments)))
                raise GraphError(
                    f"{qualified_name(function)} takes no argument '{key}'{nearest(key, signature.parameters)}"
                ) from None
        bound = functools.partial(bound, **arguments)
    return _loaded("map", bound, step.full_event)


def _told_full_event(step: TaskStep) -> bool | None:
    return False if step.bodies_only else step.full_event or None


def _offered(step: TaskStep, context: Any) -> dict[str, Any]:
    """Return what a constructor gets without being told, if it takes it; None counts as nothing."""
    return {
        "context": context,
        "name": step.name or None,
        "input_path": step.input_path,
        "result_path": step.result_path,
        "full_event": _told_full_event(step),
    }


def _taken(class_object: Any, extras: dict[str, Any]) -> dict[str, Any]:
    """Return those extras that the constructor names; they are not for those that take anything."""
    signature = signature_of(class_object)
    return {key: value for key, value in extras.items() if signature is not None and key in signature.parameters}


def _adopt(step: TaskStep, made: Any, arguments: dict[str, Any], context: Any) -> Any:
    """Take an object that was given ready-made."""
    if isinstance(made, V2ModelServer):
        made.adopt(step.name, arguments, context)
        if step.input_path or step.result_path:
            made.set_paths(step.input_path, step.result_path)
    elif arguments:
        raise GraphError(f"a {type(made).__name__} object is made already, it takes no {', '.join(arguments)}")
    return made


def _start(made: Any, name: str) -> None:
    """Call `post_init`, where there is one: models load in it."""
    post_init = getattr(made, "post_init", None)
    if not callable(post_init):
        return
    signature = signature_of(post_init)
    takes_mode = signature is not None and "mode" in signature.parameters
    try:
        post_init(mode="sync") if takes_mode else post_init()
    except GraphError:
        raise
    except Exception as error:
        raise StepNotReady(f"step '{name}': post_init failed: {type(error).__name__}: {error}") from error


def _of_object(step: TaskStep, made: Any) -> Loaded:
    handler = step.target.handler_object
    if handler is not None:
        return _loaded("map", functools.partial(handler, made), step.full_event, made)
    if step.handler:
        return _loaded("map", _method(made, step.handler), step.full_event, made)
    if callable(getattr(made, "take", None)):
        return Loaded("stage", made, object=made)
    if isinstance(made, V2ModelServer):
        return _of_model(step, made)
    if getattr(made, "selects_only", False):
        return Loaded("pass", None, object=made)
    whole = callable(getattr(made, "do_event", None))
    return _loaded("map", _own_choice(made), step.full_event or whole, made)


def _method(made: Any, name: str) -> Callable[..., Any]:
    method = getattr(made, name, None)
    if callable(method):
        return method  # type: ignore[no-any-return]
    kind = type(made).__name__
    methods = [each for each in dir(made) if not each.startswith("_") and callable(getattr(made, each))]
    raise NameNotFound(f"handler ({name}) specified but doesnt exist in class {kind}{nearest(name, methods)}")


def _own_choice(made: Any) -> Callable[..., Any]:
    """Return the method that a class's events go to if the step names none."""
    for name in ("do_event", "do"):
        method = getattr(made, name, None)
        if callable(method):
            return method  # type: ignore[no-any-return]
    if callable(made):
        return made  # type: ignore[no-any-return]
    kind = type(made).__name__
    raise GraphError(f"class {kind} has no do, no do_event and no __call__; name its method with handler=")


def _of_model(step: TaskStep, made: V2ModelServer) -> Loaded:
    if made.is_async and step.options.max_batch_size <= 1:
        return Loaded("map", made.do_event, True, _ASYNC_CALLS, made)
    return Loaded("model", made, True, _ASYNC_CALLS if made.is_async else 1, made)


def _loaded(kind: str, target: Any, full_event: bool, made: Any = None) -> Loaded:
    return Loaded(kind, target, full_event, _ASYNC_CALLS if is_async(target) else 1, made)
