"""What a request to a model asks for: the operation, and rows in the model's own order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any

from penstock.errors import BadBody
from penstock.event import decode_body
from penstock.tensors import of_bytes

PREDICT = ("infer", "predict", "infer_dict", "predict_dict")
_JSON_LENGTH = "inference-header-content-length"
_PREFIX = "/v2/models/"


def operation_of(event: Any) -> str:
    """Return the operation that an event's path, or else its body, names; "" to describe the model."""
    path = (event.path or "").partition("?")[0]
    if path.startswith(_PREFIX):
        parts = path[len(_PREFIX) :].strip("/").split("/")
        path = "/".join(parts[3:] if parts[1:2] == ["versions"] else parts[1:])
    operation = path.strip("/")
    if not operation and isinstance(event.body, Mapping) and event.method != "GET":
        operation = str(event.body.get("operation") or "")
    return operation or ("" if event.method == "GET" else "infer")


def request_of(event: Any, input_path: list[str], inputs: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any]:
    """Take the request out of an event's body: a dict of its own, so that hooks may change it.

    A body that its headers declare to be nothing but the bytes of a tensor is that of the one of `inputs`.

    Raises
    ------
    BadBody
        There is none.
    """
    body = event.body
    for key in input_path:
        body = body.get(key) if isinstance(body, Mapping) else None
    if (event.content_type or "").startswith("image/") and not isinstance(body, Mapping):  # a router may have read it
        return {"inputs": [BytesIO(body)]}
    if isinstance(body, bytes) and _is_raw(event):
        if len(inputs) != 1:
            raise BadBody(f"Exception: the bytes alone do not say which of the {len(inputs)} known inputs they are")
        return {"inputs": [of_bytes(inputs[0], body)]}
    if isinstance(body, (str, bytes, bytearray)):
        body = decode_body(bytes(body) if isinstance(body, bytearray) else body, declared_json=True)
    if not isinstance(body, Mapping):
        raise BadBody('Exception: Expected key "inputs" in request body')
    return dict(body)


def _is_raw(event: Any) -> bool:
    return any(str(name).lower() == _JSON_LENGTH and value == "0" for name, value in (event.headers or {}).items())


def put_reply(body: Any, result_path: list[str], reply: Any) -> Any:
    """Put a reply where `result_path` says, and return what goes on.

    Examples
    --------
    >>> put_reply({"kept": 1}, ["model", "reply"], 5)
    {'kept': 1, 'model': {'reply': 5}}
    """
    if not result_path or not isinstance(body, dict):
        return reply
    place = body
    for key in result_path[:-1]:
        place = place.setdefault(key, {})
    place[result_path[-1]] = reply
    return body


def check_inputs(request: Mapping[str, Any]) -> None:
    """Refuse a request without rows.

    Raises
    ------
    BadBody
        There are no inputs, or they are neither a list nor arrays.
    """
    if "inputs" not in request:
        raise BadBody('Exception: Expected key "inputs" in request body')
    inputs = request["inputs"]
    if isinstance(inputs, list):
        return
    arrays = list(inputs.values()) if isinstance(inputs, Mapping) else [inputs]
    if not arrays or not all(hasattr(array, "shape") and hasattr(array, "dtype") for array in arrays):
        raise BadBody('Exception: Expected "inputs" to be a list')


def rows_of_dicts(request: dict[str, Any], columns: list[str]) -> dict[str, Any]:
    """Write the inputs of an ``infer_dict``, a dict or a list of them, as rows in the order of the columns.

    Raises
    ------
    BadBody
        There are no columns to order by, the inputs are no dicts, or keys are missing.

    Examples
    --------
    >>> rows_of_dicts({"inputs": [{"b": 2, "a": 1}]}, ["a", "b"])
    {'inputs': [[1, 2]]}
    """
    if not columns:
        raise BadBody(
            "Exception: In order to use predict_dict or infer_dict operation you have to provide `model_path` "
            "of a model whose model_spec.yaml names its inputs, or `inputs` on the model's class"
        )
    if "inputs" not in request:
        raise BadBody('Exception: Expected key "inputs" in request body')
    inputs = request["inputs"]
    rows = [inputs] if isinstance(inputs, Mapping) else inputs
    if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
        raise BadBody(
            f'Exception: Expected "inputs" to be a dict or a list of dicts, there is one of type {_kind(inputs)}'
        )
    for number, row in enumerate(rows):
        missing = [column for column in columns if column not in row]
        if missing:
            raise BadBody(f'Exception: row {number} of "inputs" misses {", ".join(missing)}')
    return request | {"inputs": [[row[column] for column in columns] for row in rows]}


def _kind(inputs: Any) -> str:
    """Return the type of what is no dict."""
    rows = inputs if isinstance(inputs, list) else [inputs]
    return next(type(row).__name__ for row in rows if not isinstance(row, Mapping))
