"""From a graph's answers to what Nuclio sends: a Response with a body that is text already.

Nuclio makes JSON of dicts at a tenth of the speed, takes a list for a batch, says "None" for nothing, and drops headers
that are no text; a Response with a text goes out as it is.
"""

from __future__ import annotations

from typing import Any

from nuclio_sdk import Response

from penstock.errors import GraphClosed, QueueFull, StepError, describe
from penstock.nuclio.texts import as_text, error_text
from penstock.render import render

_JSON = "application/json"
_REFUSED: dict[type, str] = {QueueFull: "the server is full", GraphClosed: "the server is closing"}
NO_ACK = "X-Nuclio-Stream-No-Ack"


def answer_of(body: Any) -> Response:
    """Make the response of an answer, or of what is wrong with it."""
    try:
        status, content_type, headers, data = render(body)
    except Exception as error:
        status, said = _described(error)
        return error_of(status, f"the answer cannot be sent: {said}")
    return Response(headers, as_text(data), content_type, status)


def nothing() -> Response:
    """Make the response of an event that nothing answers."""
    return Response(None, "", None, 204)


def taken(event_id: str) -> Response:
    """Make the response of an event that a graph without responder takes."""
    return Response(None, f'{{"id":"{event_id}"}}', _JSON)


def received(*, acknowledged: bool) -> Response:
    """Make the response of a stream's record: to be marked now, or when that is told apart."""
    return Response(None if acknowledged else {NO_ACK: True}, "")  # this one header has to be a bool


def failure_of(error: BaseException) -> Response:
    """Make the response of a failure: its status, and what went wrong, without a stack."""
    if isinstance(error, StepError):
        status, said = error.status_code, error.reason
        if status >= 500 and error.step:
            said = f"step '{error.step}': {said}"
    else:
        status, said = _described(error)
    return error_of(status, said)


def _described(error: BaseException) -> tuple[int, str]:
    status, kind, message = describe(error)
    return status, _REFUSED.get(type(error)) or (f"{kind}: {message}" if kind else message)


def error_of(status: int, said: str) -> Response:
    """Make the response that says what is wrong."""
    later = {"Retry-After": "1"} if status in (429, 503) else None
    return Response(later, error_text(said), _JSON, status)


def with_id(response: Response, event_id: Any) -> Response:
    """Say whose response it is: without it, a batch ends the whole processor."""
    response.event_id = event_id
    return response
