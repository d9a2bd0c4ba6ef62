"""The router that asks all of its routes at once and merges what they answer."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from penstock.errors import GraphError, PenstockError, blame, describe
from penstock.event import _ATOMS as ATOMS
from penstock.event import clone
from penstock.routers import BaseModelRouter, Route

EXECUTORS = ("thread", "process", "array")
_MISTAKES = ("fail", "partial")
_logger = logging.getLogger("penstock")

Parts = list[tuple[int, Any]]  # the number of a route, and an event for it, or what came of that


class ParallelRun(BaseModelRouter):
    """Runs all routes on each event, at the same time, and merges the dicts that they answer.

    Routes are merged in the order in which they were added, whichever is done first. Subclass it to change `merger`,
    `preprocess` or `postprocess`.

    Parameters
    ----------
    extend_event : bool, optional
        Whether the answers are merged into the event's own body; else into an empty dict.
    executor_type : {"thread", "process", "array"}
        Where routes run: on the graph's threads (those that are fast, one after the other); each in a process of its
        own, for models that compute in Python; or always one after the other.
    on_error : {"fail", "partial"}
        What a failing route means: the event fails; or the others answer, and ``"errors"`` in the answer has the
        text of the failure, by the route's name. When all fail, the event does.
    **router_args
        What `BaseModelRouter` takes.

    Examples
    --------
    >>> import penstock
    >>> fn = penstock.new_function("both")
    >>> router = fn.set_topology("router", "ParallelRun", extend_event=True)
    >>> _ = router.add_route("next", handler="({'next': event['x'] + 1})")
    >>> _ = router.add_route("twice", handler="({'twice': event['x'] * 2})")
    >>> with fn.to_mock_server() as server:
    ...     server.test(body={"x": 4})
    {'x': 4, 'next': 5, 'twice': 8}
    """

    def __init__(  # noqa: PLR0917  # the order is MLRun's
        self,
        context: Any = None,
        name: str | None = None,
        routes: dict[str, Route] | None = None,
        protocol: str | None = None,
        url_prefix: str | None = None,
        health_prefix: str | None = None,
        extend_event: bool | None = None,
        executor_type: Any = "thread",
        *,
        on_error: str = "fail",
        **router_args: Any,
    ) -> None:
        super().__init__(context, name, routes, protocol, url_prefix, health_prefix, **router_args)
        executor_type = getattr(executor_type, "value", executor_type) or "thread"  # MLRun has an enum of them
        if executor_type not in EXECUTORS:
            raise GraphError(f"executor_type is 'thread', 'process' or 'array', not {executor_type!r}")
        if on_error not in _MISTAKES:
            raise GraphError(f"on_error is 'fail' or 'partial', not {on_error!r}")
        self.extend_event = bool(extend_event)
        self.executor_type: str = executor_type
        self.on_error = on_error
        self._names = list(self.routes)

    def adopt(self, routes: dict[str, Route]) -> None:
        """Take the routes; called once, when the graph is made, on a router that was given as an object."""
        super().adopt(routes)
        self._names = list(routes)

    def merger(self, body: Any, results: dict[str, Any]) -> Any:
        """Make the answer of what the routes gave, by their names; `body` is what to extend.

        A route that gave None adds nothing.
        """
        for name, result in results.items():
            if result is None:
                continue
            if not isinstance(result, Mapping):
                kind = type(result).__name__
                raise PenstockError(f"route '{name}' answered with {kind}, only dicts can be merged: write a merger")
            body.update(result)
        return body

    def do_event(self, event: Any) -> Any:
        """Ask the routes in line, one after the other."""
        event.penstock_begun = time.perf_counter_ns()
        parts = self.scatter(event)
        if any(route.is_async for route in self.routes.values()):
            return self._in_line_later(event, parts)
        results: Parts = []
        for outlet, part in parts:
            result = part
            if outlet < len(self._names):
                try:
                    result = self.routes[self._names[outlet]].run(part)
                except Exception as error:
                    result = error
            results.append((outlet, result))
            if isinstance(result, Exception) and self.on_error == "fail":
                break  # the others are not asked
        return self.gather(event, results)

    async def _in_line_later(self, event: Any, parts: Parts) -> Any:
        results: Parts = []
        for outlet, part in parts:
            result = part
            if outlet < len(self._names):
                route = self.routes[self._names[outlet]]
                try:
                    result = await route.run(part) if route.is_async else route.run(part)
                except Exception as error:
                    result = error
            results.append((outlet, result))
        return self.gather(event, results)

    def scatter(self, event: Any) -> Parts:
        """Return the routes to ask, each with the event it gets; the number behind the last is the answer itself."""
        self._enter(event)
        return self._to_all(event)

    def gather(self, event: Any, results: Parts) -> Any:
        """Make the answer from what the routes gave."""
        answers, errors = self._sort(results)
        body = event.body
        base = dict(body) if self.extend_event and isinstance(body, Mapping) else {}
        merged = self.merger(base, {name: result.body for name, result in answers.items()})
        event.body = self._with_errors(merged, errors)
        return self.leave(event)

    def quick(self, route: Route) -> Callable[[Any], Any] | None:  # noqa: ARG002  # an ensemble knows one
        """Return a handler of events that does for this router what the route does, sooner; None if there is none."""
        return None

    def _enter(self, event: Any) -> None:
        """Run the hooks; any body will do."""
        self._take(event)

    def _to_all(self, event: Any) -> Parts:
        parts: Parts = []
        for outlet, body in enumerate(copies(event.body, len(self._names))):
            part = event.__copy__()
            part.body = body
            parts.append((outlet, part))
        return parts

    def _sort(self, results: Parts) -> tuple[dict[str, Any], dict[str, BaseException]]:
        """Part answers from failures.

        Raises
        ------
        Exception
            The first failure, where failures are not for the answer, or there is nothing else.
        """
        answers: dict[str, Any] = {}
        errors: dict[str, BaseException] = {}
        for outlet, result in results:
            if isinstance(result, BaseException):
                errors[self._names[outlet]] = result
            else:
                answers[self._names[outlet]] = result
        if errors and (self.on_error == "fail" or not answers):
            name, error = next(iter(errors.items()))
            blame(error, self.routes[name].step)
            raise error
        return answers, errors

    def _with_errors(self, answer: Any, errors: dict[str, BaseException]) -> Any:
        """Name the routes that failed in the answer."""
        if not errors:
            return answer
        texts: dict[str, str] = {}
        for name, error in errors.items():
            _, kind, message = describe(error)
            texts[name] = f"{kind}: {message}" if kind else message
            _logger.warning("step '%s' failed, the answer goes without it: %s", self.routes[name].step, texts[name])
        if not isinstance(answer, dict):
            raise PenstockError(f"{type(self).__name__} made no dict, so it cannot say that {', '.join(texts)} failed")
        answer["errors"] = texts
        return answer


def copies(body: Any, count: int) -> list[Any]:
    """Return as many copies of a body as there are routes, none of which shows changes made to another.

    What requests mostly are, a dict with a list of numbers or of rows of them, is looked at once for all copies.

    Examples
    --------
    >>> copied = copies({"id": "a", "inputs": [[1, 2]]}, 2)
    >>> copied[0] == copied[1], copied[0]["inputs"][0] is copied[1]["inputs"][0]
    (True, False)
    """
    inputs = body.get("inputs") if type(body) is dict else None
    if type(inputs) is list and (len(body) == 1 or _are_flat(value for key, value in body.items() if key != "inputs")):
        kinds = set(map(type, inputs))
        if kinds <= ATOMS:
            return [{**body, "inputs": inputs.copy()} for _ in range(count)]
        if kinds == {list} and _are_flat(itertools.chain.from_iterable(inputs)):
            return [{**body, "inputs": [row.copy() for row in inputs]} for _ in range(count)]
    return [clone(body) for _ in range(count)]


def _are_flat(values: Iterable[Any]) -> bool:
    return set(map(type, values)) <= ATOMS
