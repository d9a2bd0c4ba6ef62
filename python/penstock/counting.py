"""Counting what models do, for the statistics of the protocol: requests, and the executions that answer them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator
from time import perf_counter_ns
from types import AsyncGeneratorType, GeneratorType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from penstock._core import InferenceStats

now = perf_counter_ns  # nanoseconds
_END = object()


class Count:
    """Counts one request to a model from here on, once it has ended.

    Parameters
    ----------
    stats : InferenceStats, optional
        Where it is counted; without them, nowhere: the model is in no graph.
    waited : int
        Nanoseconds that the request has waited before.
    since : int
        Nanoseconds that it has been worked on already.
    """

    __slots__ = ("_begun", "_prepared", "_rows", "_stats", "_waited")  # _stats: None once it is counted

    def __init__(self, stats: InferenceStats | None, waited: int = 0, since: int = 0) -> None:
        self._stats = stats
        self._waited = waited
        self._begun = self._prepared = now() - since
        self._rows = 1

    def asked(self, rows: int) -> None:
        """Note that so many rows are asked for, with nothing to prepare."""
        self._rows = rows

    def prepared(self, rows: int) -> None:
        """Note that the model is about to get so many rows."""
        self._rows = rows
        self._prepared = now()

    def answered(self, inferred: int) -> None:
        """Count it: all is done, and the model was done at `inferred`."""
        stats, self._stats = self._stats, None
        if stats is not None:
            stats.answered(self._rows, self._waited, self._begun, self._prepared, inferred, now())

    def failed(self) -> None:
        """Count it as failed, unless it is counted already."""
        stats, self._stats = self._stats, None
        if stats is not None:
            stats.failed(self._waited, now() - self._begun)

    def part(self, number: int, begun: int, inferred: int) -> None:
        """Count one of its several answers, which is made now."""
        if self._stats is not None:
            self._stats.response(number, "success", inferred - begun, now() - inferred)

    def broken(self, number: int, begun: int, end: str) -> None:
        """Count it as failed before all of its answers were made: `end` is "fail" or "cancel"."""
        if self._stats is not None:
            self._stats.response(number, end, now() - begun, 0)
        self.failed()


def parts_of(result: Any, make: Callable[[Any], Any], count: Count) -> Any:
    """Return a generator of what `make` makes of each part of an answer; None if it does not come in parts.

    Whoever closes it closes the model's own, so that its ``finally`` runs then and there.

    Examples
    --------
    >>> list(parts_of((word for word in ("a", "b")), str.upper, Count(None)))
    ['A', 'B']
    """
    if isinstance(result, GeneratorType):
        return _parts(result, make, count)
    if isinstance(result, AsyncGeneratorType):
        return _parts_later(result, make, count)
    return None


def _parts(pieces: Generator[Any, None, None], make: Callable[[Any], Any], count: Count) -> Generator[Any, None, None]:
    number, begun = 0, now()
    try:
        while (piece := next(pieces, _END)) is not _END:
            inferred = now()
            part = make(piece)
            count.part(number, begun, inferred)
            yield part
            number, begun = number + 1, now()
        count.answered(now())
    except GeneratorExit:
        count.broken(number + 1, now(), "cancel")
        raise
    except BaseException:
        count.broken(number, begun, "fail")
        raise
    finally:
        pieces.close()


async def _parts_later(
    pieces: AsyncGenerator[Any, None], make: Callable[[Any], Any], count: Count
) -> AsyncGenerator[Any, None]:
    number, begun = 0, now()
    try:
        async for piece in pieces:
            inferred = now()
            part = make(piece)
            count.part(number, begun, inferred)
            yield part
            number, begun = number + 1, now()
        count.answered(now())
    except GeneratorExit:
        count.broken(number + 1, now(), "cancel")
        raise
    except BaseException:
        count.broken(number, begun, "fail")
        raise
    finally:
        await pieces.aclose()
