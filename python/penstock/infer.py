"""One request to a model on its way: prepared, predicted, answered; counted and tracked."""

from __future__ import annotations

from collections.abc import Coroutine
from types import CoroutineType
from typing import TYPE_CHECKING, Any

from penstock.batch_rows import rows_of
from penstock.counting import Count, now, parts_of

if TYPE_CHECKING:
    from penstock.models import V2ModelServer


def infer(model: V2ModelServer, request: dict[str, Any], operation: str, event_id: str, waited: int = 0) -> Any:
    """Return the reply, a coroutine of it, or a generator of replies if `predict` is one."""
    return _Call(model, request, operation, event_id, waited).run()


def parts(  # noqa: PLR0917  # what the core has at hand
    model: V2ModelServer, request: dict[str, Any], request_id: str, result: Any, names: list[str], waited: int
) -> Any:
    """Return a generator of the replies of a `predict` that the core has called."""
    call = _Call(model, request, "infer", request_id, waited)
    call._names = names
    call._count.prepared(rows_in(request))
    return call._answer(result)


class _Call:
    __slots__ = ("_count", "_id", "_model", "_names", "_operation", "_request", "_start")

    def __init__(
        self, model: V2ModelServer, request: dict[str, Any], operation: str, event_id: str, waited: int
    ) -> None:
        self._model = model
        self._request = request
        self._operation = operation
        self._id = event_id
        self._names: list[str] | None = None
        self._start = model._tracker.start() if model._tracker is not None else None
        self._count = Count(model._stats if operation != "explain" else None, waited)

    def run(self) -> Any:
        model, given = self._model, self._request.get("id")
        try:
            self._request, self._names = model._prepare(self._request, self._operation)
            self._id = given or (self._id if self._names is None else "")
            self._count.prepared(rows_in(self._request))
            result = (model.explain if self._operation == "explain" else model.predict)(self._request)
            return self._later(result) if type(result) is CoroutineType else self._answer(result)
        except Exception as error:
            self._failed(error)
            raise

    async def _later(self, result: Coroutine[Any, Any, Any]) -> Any:
        try:
            return self._answer(await result)
        except BaseException as error:  # it may be cancelled, too
            self._failed(error)
            raise

    def _answer(self, result: Any) -> Any:
        inferred = now()
        parts = parts_of(result, self._reply, self._count)
        if parts is not None:
            return parts
        reply = self._reply(result)
        tracker = self._model._tracker
        if tracker is not None and self._start is not None:
            tracker.answered(self._start, self._request, reply, self._operation)
        self._count.answered(inferred)
        return reply

    def _reply(self, result: Any) -> dict[str, Any]:
        return self._model._reply(self._request, self._id, result, self._names, self._operation)

    def _failed(self, error: BaseException) -> None:
        self._count.failed()
        tracker = self._model._tracker
        if tracker is not None and self._start is not None and isinstance(error, Exception):
            tracker.failed(self._start, self._request, error, self._operation)


def rows_in(request: Any) -> int:
    """Return the number of rows of a request; 1 for what has none, which a `validate` of one's own may let pass.

    Examples
    --------
    >>> rows_in({"inputs": [[1, 2], [3, 4]]}), rows_in("text")
    (2, 1)
    """
    try:
        return rows_of(request["inputs"])
    except (AttributeError, TypeError, IndexError, KeyError, StopIteration):
        return 1
