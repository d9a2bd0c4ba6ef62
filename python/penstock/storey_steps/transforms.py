"""Steps that call a function for each event."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection
from typing import Any

from penstock.errors import GraphError
from penstock.resolve import is_async, with_context
from penstock.storey_steps.base import Runs, Step, function_of, wait_for


class _Function(Step):
    """A step that calls a function.

    Parameters
    ----------
    fn : callable
        Gets the body, or the event with `full_event`; may be an async function.
    long_running : bool, optional
        Accepted, as storey takes it; here slow functions are found out and given a thread of their own.
    pass_context : bool, optional
        Whether the function gets the context as the argument `context`; it does as well if it has a parameter of
        that name.
    fn_select_outlets : callable, optional
        Gets the result and returns the names of the steps that it goes to; None for all.
    """

    def __init__(
        self,
        fn: Callable[..., Any],
        long_running: bool | None = None,
        pass_context: bool | None = None,
        fn_select_outlets: Callable[[Any], Collection[str] | None] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        what = type(self).__name__
        self.fn = with_context(function_of(fn, "fn", what), self.context)
        self.long_running = bool(long_running)
        if pass_context and self.fn is fn:
            self.fn = functools.partial(fn, context=self.context)
        if fn_select_outlets is not None:
            self.select_outlets = function_of(fn_select_outlets, "fn_select_outlets", what)

    def _runs(self) -> Runs:
        return self.fn, self.full_event


class Map(_Function):
    """Makes a new body of each: `fn`'s result.

    Examples
    --------
    >>> Map(str.upper).fn("a")
    'A'
    """


class Filter(_Function):
    """Lets those events pass for which `fn` returns something true."""

    kind = "filter"


class FlatMap(_Function):
    """Makes one event of each element that `fn` returns."""

    kind = "flat_map"


class Extend(_Function):
    """Adds the fields of the dict that `fn` returns to the body."""

    kind = "extend"


class Flatten(Step):
    """Makes one event of each element of the body."""

    kind = "flat_map"

    def _runs(self) -> Runs:
        return _same, False


def _same(body: Any) -> Any:
    return body


class ForEach(_Function):
    """Calls `fn` on each event, and sends the event on as it came."""

    def _runs(self) -> Runs:
        return (self._call_async if is_async(self.fn) else self._call), True

    def _call(self, event: Any) -> Any:
        self.fn(self.element(event))
        return event

    async def _call_async(self, event: Any) -> Any:
        await self.fn(self.element(event))
        return event


class MapWithState(Step):
    """Makes a new body of each and of a state, which `fn` changes.

    Parameters
    ----------
    initial_state : object
        The state that the first call gets; with `group_by_key`, a dict from key to state, where a new key has {}.
    fn : callable
        Gets the body (or event) and the state, returns the new body and the new state; may be an async function.
    group_by_key : bool
        Whether each key has its own state.
    """

    def __init__(
        self,
        initial_state: Any,
        fn: Callable[[Any, Any], Any],
        group_by_key: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.fn = function_of(fn, "fn", "MapWithState")
        self.group_by_key = bool(group_by_key)
        if group_by_key and not isinstance(initial_state, dict):
            raise GraphError(
                f"with group_by_key, initial_state is a dict from key to state, not {type(initial_state).__name__}"
            )
        self._state = dict(initial_state) if group_by_key else initial_state

    def do_event(self, event: Any) -> Any:
        """Handle one event."""
        state = self._state.get(event.key, {}) if self.group_by_key else self._state
        made = wait_for(self.fn(self.element(event), state))
        try:
            result, state = made
        except (TypeError, ValueError):
            raise TypeError(f"the function of MapWithState returns a body and a state, not {made!r:.60}") from None
        if self.group_by_key:
            self._state[event.key] = state
        else:
            self._state = state
        return self.put(event, result)
