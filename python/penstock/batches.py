"""One `predict` for the requests of several callers, each of whom gets the rows that are his."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Mapping
from types import CoroutineType
from typing import TYPE_CHECKING, Any

from penstock.errors import PenstockError
from penstock.operations import PREDICT, operation_of, request_of

if TYPE_CHECKING:
    from penstock.models import V2ModelServer


@dataclasses.dataclass
class _Call:
    """One caller's request, prepared."""

    place: int  # in the batch
    body: Any
    request: dict[str, Any]
    request_id: str
    names: list[str] | None  # of tensors; None for plain rows
    operation: str

    @property
    def rows(self) -> int:
        inputs = self.request["inputs"]
        return len(next(iter(inputs.values())) if isinstance(inputs, Mapping) else inputs)

    def rest(self) -> dict[str, Any]:
        return {key: value for key, value in self.request.items() if key not in ("id", "inputs")}

    def fits(self, other: _Call) -> bool:
        """Tell whether both may be rows of one request: same inputs, nothing else different."""
        return (
            self.names == other.names
            and _form(self.request["inputs"]) == _form(other.request["inputs"])
            and (self.rest() == other.rest())
        )


def infer_batch(model: V2ModelServer, events: list[Any]) -> Any:
    """Answer each event, with the event or with the exception that it alone gets; a coroutine of that if need be."""
    answers, groups = _sort(model, events)
    if model.is_async:
        return _infer_later(model, events, answers, groups)
    for group in groups:
        start = _start(model)
        try:
            result: Any = model.predict(_joined(group))
        except Exception as error:
            result = error
        _share_out(model, group, events, answers, result, start)
    return answers


async def _infer_later(
    model: V2ModelServer, events: list[Any], answers: list[Any], groups: list[list[_Call]]
) -> list[Any]:
    async def answer(place: int) -> None:
        try:
            answers[place] = await answers[place]
        except Exception as error:
            answers[place] = error

    async def predict(group: list[_Call]) -> None:
        start = _start(model)
        try:
            result: Any = model.predict(_joined(group))
            result = await result if isinstance(result, CoroutineType) else result
        except Exception as error:
            result = error
        _share_out(model, group, events, answers, result, start)

    waiting = [answer(place) for place, given in enumerate(answers) if isinstance(given, CoroutineType)]
    await asyncio.gather(*waiting, *(predict(group) for group in groups))
    return answers


def _sort(model: V2ModelServer, events: list[Any]) -> tuple[list[Any], list[list[_Call]]]:
    """Prepare the requests, and put together those that fit; what is no prediction is answered."""
    answers: list[Any] = [None] * len(events)
    groups: list[list[_Call]] = []
    for place, event in enumerate(events):
        try:
            call = _prepare(model, place, event)
            if call is None:
                answers[place] = model.do_event(event)
                continue
            group = next((group for group in groups if group[0].fits(call)), None)
        except Exception as error:
            answers[place] = error
            continue
        if group is None:
            groups.append([call])
        else:
            group.append(call)
    return answers, groups


def _prepare(model: V2ModelServer, place: int, event: Any) -> _Call | None:
    operation = operation_of(event)
    if operation not in PREDICT or hasattr(model, "op_" + operation):
        return None
    if model._loading is not None:
        model._loading.check(event)
    body = event.body
    request = request_of(event, model._input_path)
    given = request.get("id")
    try:
        request, names = model._prepare(request, operation)
    except Exception as error:
        if model._tracker is not None:
            model._tracker.failed(model._tracker.start(), request, error, operation)
        raise
    request_id = given or (event.id if names is None else "")
    return _Call(place, body, request, request_id, names, operation)


def _start(model: V2ModelServer) -> Any:
    return model._tracker.start() if model._tracker is not None else None


def _joined(group: list[_Call]) -> dict[str, Any]:
    return group[0].request | {"inputs": _join([call.request["inputs"] for call in group])}


def _share_out(  # noqa: PLR0917  # the rest of `infer_batch`
    model: V2ModelServer, group: list[_Call], events: list[Any], answers: list[Any], result: Any, start: Any
) -> None:
    """Give each caller of a group its rows of the result, or the exception that the result is."""
    parts: list[Any] = [result] * len(group)
    if len(group) > 1 and not isinstance(result, Exception):
        try:
            parts = _split(result, [call.rows for call in group])
        except Exception as error:
            parts = [error] * len(group)
    for call, part in zip(group, parts, strict=True):
        event = events[call.place]
        try:
            if isinstance(part, Exception):
                raise part
            reply = model._reply(call.request, call.request_id, part, call.names, call.operation)
            event.body = model._answer(call.body, reply)
            answers[call.place] = event
        except Exception as error:
            answers[call.place] = error
            if model._tracker is not None:
                model._tracker.failed(start, call.request, error, call.operation)
            continue
        if model._tracker is not None:
            model._tracker.answered(start, call.request, reply, call.operation)


def _form(inputs: Any) -> Any:
    """Say what rows must have in common to be joined."""
    if isinstance(inputs, Mapping):
        return {name: _form(array) for name, array in inputs.items()}
    if hasattr(inputs, "shape"):
        # an array without rows stays alone
        return (str(inputs.dtype), inputs.shape[1:]) if inputs.ndim else object()
    first = inputs[0] if inputs else None
    return len(first) if isinstance(first, list) else None


def _join(parts: list[Any]) -> Any:
    if len(parts) == 1:
        return parts[0]
    first = parts[0]
    if isinstance(first, Mapping):
        return {name: _join([part[name] for part in parts]) for name in first}
    if hasattr(first, "shape"):
        import numpy as np

        return np.concatenate(parts)
    return [row for part in parts for row in part]


def _split(result: Any, counts: list[int]) -> list[Any]:
    if isinstance(result, Mapping):
        by_name = {name: _split(rows, counts) for name, rows in result.items()}
        return [{name: parts[place] for name, parts in by_name.items()} for place in range(len(counts))]
    if len(result) != sum(counts):
        raise PenstockError(f"predict returned {len(result)} results for {sum(counts)} rows")
    parts, start = [], 0
    for count in counts:
        parts.append(result[start : start + count])
        start += count
    return parts
