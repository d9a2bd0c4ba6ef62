"""One `predict` for the requests of several callers, each of whom gets the rows that are his."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
from collections.abc import Mapping
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import TYPE_CHECKING, Any

from penstock.batch_handlers import alone_after_failure, in_lists_of_one
from penstock.batch_rows import form_of, join, rows_of, split
from penstock.counting import now
from penstock.errors import GraphError, PenstockError
from penstock.operations import PREDICT, operation_of, request_of
from penstock.tenancy import Tenant, Vacancy

if TYPE_CHECKING:
    from penstock.models import V2ModelServer
    from penstock.spec import Options

# What a request says to the server, not to the model: callers may differ in it and share a batch.
_TO_THE_SERVER = ("timeout", "priority", "binary_data_output")
_MOST = 2**31 - 1


@dataclasses.dataclass(frozen=True)
class Rules:
    """How requests are put together."""

    max_rows: int = _MOST
    pad: Any = None  # what rows of different lengths are filled up with; None if they are not joined
    isolate: bool = True  # each is tried alone when all together have failed


_DEFAULT = Rules()


def in_batches(name: str, kind: str, target: Any, options: Options) -> Any:
    """Make of a step's target one for batches.

    Raises
    ------
    GraphError
        A plain handler is told to pad: it gets a list of bodies, and nothing is joined.
    """
    if kind == "model":
        isolate = options.isolate is not False
        return BatchedModel(target, Rules(options.max_batch_size, options.pad, isolate))
    if options.pad is not None:
        raise GraphError(f"step '{name}': pad= is for models, whose rows are joined; a handler gets a list of bodies")
    if options.max_batch_size == 1:
        return in_lists_of_one(target)
    return alone_after_failure(target) if options.isolate else target


def batch_options(options: Options) -> dict[str, Any]:
    """Return what the core is told about a step's batches, if it has them."""
    if options.max_batch_size <= 1:
        return {}
    return {
        "batch_delay": options.max_delay,
        "preferred": options.preferred,
        "adaptive": options.adaptive,
        "target_latency": options.target_latency or 0.0,
        "ragged": options.pad is not None,
    }


class BatchedModel:
    """A model as the engine calls it with a batch.

    Requests of tensors that are alike go from the wire straight to `predict`, by the core; all others come here.

    Examples
    --------
    >>> from penstock.serving import V2ModelServer
    >>> model = BatchedModel(V2ModelServer(name="m"), Rules())
    >>> model.measure({"inputs": [[1, 2], [3, 4]], "parameters": {"priority": 3}})[1:]
    (2, 3)
    """

    def __init__(self, model: V2ModelServer | Tenant | Vacancy, rules: Rules) -> None:
        self.model: Any = model
        self.isolate = rules.isolate
        self._rules = rules
        from penstock.models import V2ModelServer as Base

        kind = type(model.instance) if isinstance(model, Tenant) else type(model)
        self._own = kind.do_events is not Base.do_events

    def do_events(self, events: list[Any]) -> Any:
        """Answer each event; a coroutine of that if need be."""
        return self.model.do_events(events) if self._own else infer_batch(self.model, events, self._rules)

    def measure(self, body: Any) -> tuple[int, int, int]:
        """Return a number that tells whose rows may be joined, how many rows there are, and the priority."""
        for key in self.model._input_path:
            body = body.get(key) if isinstance(body, Mapping) else None
        if not isinstance(body, Mapping):
            return 0, 1, 0
        parameters = body.get("parameters")
        priority = parameters.get("priority") if isinstance(parameters, Mapping) else 0
        if type(priority) is not int or not 0 <= priority <= _MOST:
            priority = 0
        inputs = body.get("inputs")
        try:
            form = form_of(inputs, padded=self._rules.pad is not None)
            return hash(form) & (2**64 - 1), min(max(rows_of(inputs), 1), _MOST), priority
        except Exception:  # what is wrong with the inputs is said when they are validated
            return 0, 1, priority


@dataclasses.dataclass
class _Call:
    """One caller's request, prepared."""

    place: int  # in the batch
    body: Any
    request: dict[str, Any]
    request_id: str
    names: list[str] | None  # of tensors; None for plain rows
    operation: str
    padded: bool

    @functools.cached_property
    def rows(self) -> int:
        return rows_of(self.request["inputs"])

    @functools.cached_property
    def form(self) -> Any:
        return form_of(self.request["inputs"], padded=self.padded)

    @functools.cached_property
    def rest(self) -> dict[str, Any]:
        own = ("id", "inputs") if self.names is None else ("id", "inputs", "outputs")
        rest = {key: value for key, value in self.request.items() if key not in own}
        return rest | {"parameters": _to_the_model(self.request)}

    def fits(self, other: _Call) -> bool:
        """Tell whether both may be rows of one request: same inputs, nothing else different."""
        return self.names == other.names and self.form == other.form and self.rest == other.rest


class _Group:
    """Calls for one `predict`."""

    def __init__(self, call: _Call) -> None:
        self.calls = [call]
        self.rows = call.rows
        self.begun = self.prepared = self.inferred = 0  # nanoseconds, of its execution

    def takes(self, call: _Call, rules: Rules) -> bool:
        return self.rows + call.rows <= rules.max_rows and self.calls[0].fits(call)

    def add(self, call: _Call) -> None:
        self.calls.append(call)
        self.rows += call.rows

    def request(self, rules: Rules) -> dict[str, Any]:
        """Return the one request of all."""
        first = self.calls[0].request
        if len(self.calls) == 1:
            return first
        joined = first | {"inputs": join([call.request["inputs"] for call in self.calls], rules.pad)}
        joined.pop("id", None)
        if "parameters" in first:
            joined["parameters"] = _to_the_model(first)
        if any(call.request.get("outputs") != first.get("outputs") for call in self.calls):
            joined.pop("outputs", None)  # then all are needed, and each caller gets those that he asked for
        return joined


def _to_the_model(request: Mapping[str, Any]) -> Any:
    parameters = request.get("parameters")
    if not isinstance(parameters, Mapping):
        return parameters or {}
    return {key: value for key, value in parameters.items() if key not in _TO_THE_SERVER}


@dataclasses.dataclass
class _Batch:
    """The events of one call of the step, and what becomes of them."""

    model: V2ModelServer
    events: list[Any]
    rules: Rules
    answers: list[Any]
    groups: list[_Group]
    begun: int  # nanoseconds

    def start(self) -> Any:
        return self.model._tracker.start() if self.model._tracker is not None else None

    def waited(self, place: int) -> int:
        waited: int = getattr(self.events[place], "_waited", 0)
        return waited

    def count_failed(self, place: int) -> None:
        if self.model._stats is not None:
            self.model._stats.failed(self.waited(place), now() - self.begun)

    def count(self, group: _Group) -> None:
        stats = self.model._stats
        if stats is None:
            return
        end = now()
        stats.executed(group.rows, group.begun, group.prepared, group.inferred, end)
        for call in group.calls:
            if isinstance(self.answers[call.place], Exception):
                self.count_failed(call.place)
            else:
                stats.succeeded(call.rows, self.waited(call.place), end - self.begun)


def infer_batch(model: V2ModelServer, events: list[Any], rules: Rules = _DEFAULT) -> Any:
    """Answer each event, with the event or with the exception that it alone gets; a coroutine of that if need be."""
    batch = _Batch(model, events, rules, [None] * len(events), [], now())
    _sort(batch)
    if model.is_async:
        return _infer_later(batch)
    for group in batch.groups:
        start = batch.start()
        result = _predict(batch, group)
        if isinstance(result, Exception) and len(group.calls) > 1 and rules.isolate:
            for call in group.calls:
                alone = _Group(call)
                _share_out(batch, alone, _predict(batch, alone), start)
        else:
            _share_out(batch, group, result, start)
    return batch.answers


def _predict(batch: _Batch, group: _Group) -> Any:
    """Return the result, or the exception."""
    group.begun = now()
    try:
        request = group.request(batch.rules)
        group.prepared = now()
        result = batch.model.predict(request)
        if isinstance(result, (GeneratorType, AsyncGeneratorType)):
            raise PenstockError(f"model '{batch.model.name}' answers in parts, so its step cannot have .batch()")
    except Exception as error:
        return error
    group.inferred = now()
    return result


async def _infer_later(batch: _Batch) -> list[Any]:
    answers = batch.answers

    async def answer(place: int) -> None:
        try:
            answers[place] = await answers[place]
        except Exception as error:
            answers[place] = error

    async def predict(group: _Group) -> None:
        start = batch.start()
        result = _predict(batch, group)
        try:
            result = await result if isinstance(result, CoroutineType) else result
            group.inferred = now()
        except Exception as error:
            result = error
        if isinstance(result, Exception) and len(group.calls) > 1 and batch.rules.isolate:
            await asyncio.gather(*(predict(_Group(call)) for call in group.calls))
        else:
            _share_out(batch, group, result, start)

    waiting = [answer(place) for place, given in enumerate(answers) if isinstance(given, CoroutineType)]
    await asyncio.gather(*waiting, *(predict(group) for group in batch.groups))
    return answers


def _sort(batch: _Batch) -> None:
    """Prepare the requests, and put together those that fit; what is no prediction is answered."""
    for place, event in enumerate(batch.events):
        try:
            call = _prepare(batch, place, event)
            if call is None:
                batch.answers[place] = batch.model.do_event(event)
                continue
            group = next((group for group in batch.groups if group.takes(call, batch.rules)), None)
            if group is None:
                batch.groups.append(_Group(call))
            else:
                group.add(call)
        except Exception as error:
            batch.answers[place] = error
            batch.count_failed(place)


def _prepare(batch: _Batch, place: int, event: Any) -> _Call | None:
    model = batch.model
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
    return _Call(place, body, request, request_id, names, operation, batch.rules.pad is not None)


def _share_out(batch: _Batch, group: _Group, result: Any, start: Any) -> None:
    """Give each caller of a group its rows of the result, or the exception that the result is."""
    parts: list[Any] = [result] * len(group.calls)
    if len(group.calls) > 1 and not isinstance(result, Exception):
        try:
            parts = split(result, [call.rows for call in group.calls])
        except Exception as error:
            parts = [error] * len(group.calls)
    for call, part in zip(group.calls, parts, strict=True):
        _answer(batch, call, part, start)
    if isinstance(result, Exception):
        for call in group.calls:
            batch.count_failed(call.place)
    else:
        batch.count(group)


def _answer(batch: _Batch, call: _Call, part: Any, start: Any) -> None:
    """Give one caller its rows, or the exception."""
    model, event = batch.model, batch.events[call.place]
    try:
        if isinstance(part, Exception):
            raise part
        reply = model._reply(call.request, call.request_id, part, call.names, call.operation)
        event.body = model._answer(call.body, reply)
        batch.answers[call.place] = event
    except Exception as error:
        batch.answers[call.place] = error
        if model._tracker is not None:
            model._tracker.failed(start, call.request, error, call.operation)
        return
    if model._tracker is not None:
        model._tracker.answered(start, call.request, reply, call.operation)
