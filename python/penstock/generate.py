"""`generate` and `generate_stream`: text in, text out, for models whose `predict` gives text, at once or bit by bit."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from types import CoroutineType, GeneratorType
from typing import TYPE_CHECKING, Any

from penstock.counting import Count, now, parts_of
from penstock.errors import BadBody
from penstock.event import Response
from penstock.loading import run_coroutine
from penstock.operations import request_of

if TYPE_CHECKING:
    from penstock.models import V2ModelServer

GENERATE = ("generate", "generate_stream")
_EVENTS = "text/event-stream; charset=utf-8"


def generate(model: V2ModelServer, event: Any, operation: str) -> Any:
    """Answer the event with the text that `predict` gives; a coroutine of that, where the model has to wait.

    `predict` gets ``{"id", "inputs": [text], "parameters": {...}}`` and returns a text, a list of one, or yields it
    in pieces, which `generate_stream` answers one by one: over HTTP, each is an event of ``text/event-stream``.

    Raises
    ------
    BadBody
        There is no text in the request.
    """
    request = _prepared(model, event)
    count = Count(model._stats, getattr(event, "_waited", 0))
    try:
        result = model.predict(request)
        if type(result) is CoroutineType:
            return _later(model, event, request, result, operation, count)
        answered = _answered(model, event, request, result, operation, count)
        return run_coroutine(answered) if type(answered) is CoroutineType else answered
    except Exception:
        count.failed()
        raise


async def _later(  # noqa: PLR0917  # the rest of `generate`
    model: V2ModelServer, event: Any, request: dict[str, Any], result: Any, operation: str, count: Count
) -> Any:
    try:
        answered = _answered(model, event, request, await result, operation, count)
        return await answered if type(answered) is CoroutineType else answered
    except BaseException:  # it may be cancelled, too
        count.failed()
        raise


def _prepared(model: V2ModelServer, event: Any) -> dict[str, Any]:
    body = request_of(event, model._input_path)
    text, parameters = body.pop("text_input", None), body.pop("parameters", None)
    if not isinstance(text, str):
        raise BadBody('Exception: Expected a text as "text_input" in request body')
    if parameters is not None and not isinstance(parameters, Mapping):
        raise BadBody('Exception: Expected "parameters" to be an object')
    request_id = body.pop("id", None)
    if request_id is not None and not isinstance(request_id, str):
        raise BadBody('Exception: Expected "id" to be a text')
    request = {"id": request_id or "", "inputs": [text], "parameters": body | dict(parameters or {})}
    return model.validate(model.preprocess(request, "generate"), "generate")


def _answered(  # noqa: PLR0917  # the rest of `generate`
    model: V2ModelServer, event: Any, request: dict[str, Any], result: Any, operation: str, count: Count
) -> Any:
    head = {"id": request["id"]} if request.get("id") else {}
    name, _, version = model.name.partition(":")
    head |= {"model_name": name, "model_version": version or "1"}
    streams = operation == "generate_stream"
    inferred = now()
    parts = parts_of(result, (lambda piece: _whole(head, [piece])) if streams else _text, count)
    if parts is None:
        event.body = _event(head, result) if streams else _whole(head, [result])
        count.answered(inferred)
    elif streams:
        event.body = parts
    elif isinstance(parts, GeneratorType):
        event.body = _whole(head, list(parts))
    else:
        return _whole_later(head, event, parts)
    return event


async def _whole_later(head: dict[str, Any], event: Any, pieces: AsyncGenerator[Any, None]) -> Any:
    event.body = _whole(head, [piece async for piece in pieces])
    return event


def _whole(head: dict[str, Any], pieces: list[Any]) -> dict[str, Any]:
    return head | {"text_output": "".join(map(_text, pieces))}


def _event(head: dict[str, Any], piece: Any) -> Response:
    """Make the one event of a stream that has no more."""
    import orjson

    data = orjson.dumps(_whole(head, [piece]))
    return Response(body=b"data: " + data + b"\n\n", content_type=_EVENTS)


def _text(result: Any) -> str:
    """Return what `predict` gives as text: a text, or the one in a list or an array.

    Examples
    --------
    >>> _text(["hello"]), _text(7)
    ('hello', '7')
    """
    if hasattr(result, "tolist"):
        result = result.tolist()
    if isinstance(result, (list, tuple)):
        return _text(result[0]) if result else ""
    return result.decode("utf-8", "replace") if isinstance(result, bytes) else str(result)
