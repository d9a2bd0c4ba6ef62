"""Handlers of batches as the engine calls them: for a body alone, and for each alone when all together have failed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import CoroutineType
from typing import Any


def in_lists_of_one(handler: Callable[[list[Any]], Any]) -> Callable[[Any], Any]:
    """Call a handler of batches for each body as it comes.

    Examples
    --------
    >>> in_lists_of_one(lambda bodies: [body + 1 for body in bodies])(1)
    2
    """

    def call(body: Any) -> Any:
        results = handler([body])
        return _only_later(results) if type(results) is CoroutineType else _only(results)

    return call


def _only(results: Any) -> Any:
    if isinstance(results, (str, bytes, dict, set, frozenset)):  # they can be walked through, but hold no results
        raise TypeError("a step with .batch() must return a list of results")
    if not isinstance(results, (list, tuple)):
        results = list(results)
    if len(results) != 1:
        raise ValueError(f"the batch had 1 event, the handler returned {len(results)} results")
    if isinstance(results[0], BaseException):
        raise results[0]
    return results[0]


async def _only_later(results: Any) -> Any:
    return _only(await results)


def alone_after_failure(handler: Callable[[list[Any]], Any]) -> Callable[[list[Any]], Any]:
    """Have a handler of batches called for each body alone when it has failed for all together.

    Examples
    --------
    >>> handler = alone_after_failure(lambda bodies: [10 // body for body in bodies])
    >>> handler([5, 2]), handler([5, 0])
    ([2, 5], [2, ZeroDivisionError('integer division or modulo by zero')])
    """

    def call(bodies: list[Any]) -> Any:
        try:
            result = handler(bodies)
        except Exception:
            if len(bodies) == 1:
                raise
            return [_alone(handler, body) for body in bodies]
        return _alone_later(handler, result, bodies) if type(result) is CoroutineType else result

    return call


def _alone(handler: Callable[[list[Any]], Any], body: Any) -> Any:
    try:
        return handler([body])[0]
    except Exception as error:
        return error


async def _alone_later(handler: Callable[[list[Any]], Any], coroutine: Any, bodies: list[Any]) -> Any:
    async def alone(body: Any) -> Any:
        try:
            return (await handler([body]))[0]
        except Exception as error:
            return error

    try:
        return await coroutine
    except Exception:
        if len(bodies) == 1:
            raise
        return await asyncio.gather(*(alone(body) for body in bodies))
