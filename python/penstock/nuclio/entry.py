"""The functions that Nuclio calls, and where it finds the one that prepares a worker."""

from __future__ import annotations

import functools
import inspect
import sys
import types
from collections.abc import Callable
from typing import Any

from penstock.nuclio import answers, events
from penstock.nuclio.worker import Worker, worker_of

_HOME = "penstock.nuclio"
_importers: list[str] = []  # modules that have a handler: a function's own, where its names are


def init_context(context: Any, *, namespace: Any = None) -> None:
    """Make the graph ready, once for each worker process; Nuclio calls it, and takes events afterwards.

    Parameters
    ----------
    context : nuclio_sdk.Context
        The worker's context.
    namespace : module, dict, or a list of them, optional
        Where class and handler names are looked up first.

    Raises
    ------
    GraphError
        There is no specification, or the graph is wrong.
    """
    if worker_of(context) is not None:
        return
    try:
        Worker(context, [namespace, *(sys.modules.get(module) for module in _importers)])
    except Exception as error:  # Nuclio writes a stack, and not to its log
        context.logger.error(f"the function cannot start: {type(error).__name__}: {error}")
        raise


def nuclio_init_hook(context: Any, data: Any, kind: str = "serving_v2") -> None:
    """Make the graph ready as MLRun's function code asks for it; `context.mlrun_handler` answers events then."""
    if not kind.startswith("serving"):
        raise ValueError(f"penstock serves functions of kind 'serving_v2', not {kind!r}")
    init_context(context, namespace=data)
    context.mlrun_handler = handle


def handle(context: Any, event: Any) -> Any:
    """Answer an event, or a batch of them."""
    worker = worker_of(context)
    if worker is None:
        return _unprepared(context, event) or handle(context, event)
    return worker.answer_all(event) if isinstance(event, list) else worker.answer_here(event)


async def handle_async(context: Any, event: Any) -> Any:
    """Answer an event on a thread, so that others go on meanwhile."""
    worker = worker_of(context)
    if worker is None:
        return _unprepared(context, event) or await handle_async(context, event)
    return await worker.answer_async(event)


def _unprepared(context: Any, event: Any) -> Any:
    """Make the graph ready where no `init_context` has; return what says why that cannot be, else nothing."""
    try:
        init_context(context)
    except Exception as error:  # raised out of a batch, it would end the processor
        said = f"the function cannot start: {type(error).__name__}: {error}"
        if isinstance(event, list):
            return [answers.with_id(answers.error_of(500, said), events.text(one.id)) for one in event]
        return answers.error_of(500, said)
    return None


def bound(name: str, module: str) -> Callable[[Any, Any], Any]:
    """Return a handler for a module that imports it: Nuclio finds its `init_context`, and penstock's.

    Parameters
    ----------
    name : {"handler", "async_handler"}
        Which one.
    module : str
        The module's name; empty for a handler that is nobody's.
    """
    return _made(name, _home_of(module).__name__ if module and not module.startswith(_HOME) else _HOME)


@functools.cache
def _made(name: str, home: str) -> Callable[[Any, Any], Any]:
    """Make a function of its own, as each module needs another `__module__`."""
    plain: Any = handle if name == "handler" else handle_async
    made = types.FunctionType(plain.__code__, plain.__globals__, name)
    made.__doc__ = plain.__doc__
    made.__module__ = home
    return made


@functools.cache
def _home_of(module: str) -> types.ModuleType:
    """Make the module in which Nuclio looks for the `init_context` of the handlers of another one."""
    _importers.append(module)
    home = types.ModuleType(
        f"{_HOME}.for_{module.replace('.', '_')}", f"Where Nuclio prepares the workers of {module}."
    )
    # Looked up when it is asked for: the module that imports the handler goes on to define its own.
    home.__getattr__ = lambda name: _both(module) if name == "init_context" else _missing(name)  # type: ignore[method-assign]
    sys.modules[home.__name__] = home
    return home


def _missing(name: str) -> Any:
    raise AttributeError(name)


def _both(module: str) -> Callable[[Any], Any]:
    """Return what calls the module's own `init_context`, if it has one, and then penstock's."""
    namespace = sys.modules[module]
    own = getattr(namespace, "init_context", None)
    if own is None or own is init_context:
        return lambda context: init_context(context, namespace=namespace)
    if inspect.iscoroutinefunction(own):

        async def init_both_later(context: Any) -> None:
            await own(context)
            init_context(context, namespace=namespace)

        return init_both_later

    def init_both(context: Any) -> None:
        own(context)
        init_context(context, namespace=namespace)

    return init_both
