"""What a mock server is asked, and how it answers that."""

from __future__ import annotations

from typing import Any

from penstock.errors import PenstockError, StepError, describe, make_error
from penstock.event import Response, decode_body, is_json


def decoded(body: str | bytes, content_type: str | None) -> Any:
    """Read a body as the answer of a server does; what is wrong with it is the caller's fault."""
    try:
        return decode_body(body, is_json(content_type))
    except PenstockError as error:
        status, kind, message = describe(error)
        raise make_error("", status, kind, message, error) from error


def is_empty(body: Any) -> bool:
    """Tell whether there is no body to speak of."""
    return body is None or (isinstance(body, (str, bytes, dict, list)) and not body)


def text_of_body(body: Any) -> str:
    """Say a body in text."""
    return body.decode("utf-8", "replace") if isinstance(body, bytes) else str(body)


def failed(error: PenstockError) -> Response:
    """Answer with a failure."""
    reason = error.reason if isinstance(error, StepError) else str(error)
    return Response(body=reason, status_code=error.status_code)
