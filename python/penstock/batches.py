"""One `predict` for the requests of several callers, each of whom gets the rows that are his."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from penstock.errors import PenstockError

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


def infer_batch(model: V2ModelServer, events: list[Any]) -> list[Any]:
    """Answer each event, with the event or with the exception that it alone gets."""
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
    for group in groups:
        _predict(model, group, events, answers)
    return answers


def _prepare(model: V2ModelServer, place: int, event: Any) -> _Call | None:
    operation = model._operation(event, event.body)
    if operation not in ("infer", "predict") or hasattr(model, "op_" + operation):
        return None
    request = model._request(event)
    given = request.get("id")
    request, names = model._prepare(request, operation)
    request_id = given or (event.id if names is None else "")
    return _Call(place, event.body, request, request_id, names)


def _predict(model: V2ModelServer, group: list[_Call], events: list[Any], answers: list[Any]) -> None:
    try:
        inputs = _join([call.request["inputs"] for call in group])
        result = model.predict(group[0].request | {"inputs": inputs})
        counts = [call.rows for call in group]
        parts = _split(result, counts) if len(group) > 1 else [result]
    except Exception as error:
        for call in group:
            answers[call.place] = error
        return
    for call, part in zip(group, parts, strict=True):
        event = events[call.place]
        try:
            reply = model._reply(call.request, call.request_id, part, call.names, "infer")
            event.body = model._answer(call.body, reply)
            answers[call.place] = event
        except Exception as error:
            answers[call.place] = error


def _form(inputs: Any) -> Any:
    """Say what rows must have in common to be joined."""
    if isinstance(inputs, Mapping):
        return {name: _form(array) for name, array in inputs.items()}
    if hasattr(inputs, "shape"):
        # an array without rows stays alone
        return (str(inputs.dtype), inputs.shape[1:]) if inputs.ndim else object()
    return None


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
