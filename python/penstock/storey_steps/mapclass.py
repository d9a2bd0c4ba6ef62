"""The base of users' own steps, and how one of its events is filtered out."""

from __future__ import annotations

import contextvars
import functools
import inspect
from collections.abc import Awaitable, Callable
from typing import Any

from penstock.errors import GraphError
from penstock.resolve import is_async
from penstock.storey_steps.base import Runs, Step, dropped

_filtered: contextvars.ContextVar[list[bool] | None] = contextvars.ContextVar("penstock_filtered", default=None)


def mark_filtered() -> None:
    """Remember that the event which the running `do` was given is filtered out."""
    mark = _filtered.get()
    if mark is not None:
        mark[0] = True


def filtering(do: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Wrap a `do` in which `mark_filtered` may be called: the mark belongs to the call, not to the object."""
    if is_async(do):

        @functools.wraps(do)
        async def call_async(element: Any) -> Any:
            mark = [False]
            before = _filtered.set(mark)
            try:
                result = await do(element)
            finally:
                _filtered.reset(before)
            return dropped() if mark[0] else result

        return call_async

    @functools.wraps(do)
    def call(element: Any) -> Any:
        mark = [False]
        before = _filtered.set(mark)
        try:
            result = do(element)
        finally:
            _filtered.reset(before)
        if inspect.iscoroutine(result):
            return _finish(result, mark)
        return dropped() if mark[0] else result

    return call


async def _finish(coroutine: Awaitable[Any], mark: list[bool]) -> Any:
    before = _filtered.set(mark)
    try:
        result = await coroutine
    finally:
        _filtered.reset(before)
    return dropped() if mark[0] else result


class MapClass(Step):
    """The base of steps with a `do` of their own: a plain or an async function, or a generator.

    Parameters
    ----------
    long_running : bool, optional
        Accepted, as storey takes it; here slow steps are found out.

    Examples
    --------
    >>> class Positive(MapClass):
    ...     def do(self, event):
    ...         return event if event > 0 else self.filter()
    """

    def __init__(self, long_running: bool | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.long_running = bool(long_running)

    def do(self, event: Any) -> Any:  # noqa: ARG002  # for subclasses
        """Return the new body, or the event with `full_event`."""
        raise TypeError(f"{type(self).__name__} has no do(); a subclass of MapClass defines it")

    def filter(self) -> None:
        """Filter the event out that `do` was called with."""
        mark_filtered()

    def _runs(self) -> Runs:
        if type(self).do is MapClass.do:
            raise GraphError(f"{type(self).__name__} has no do(); a subclass of MapClass defines it")
        return filtering(self.do), self.full_event
