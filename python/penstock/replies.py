"""What goes back to a model's caller: plain rows for plain rows, tensors for tensors."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from penstock import tensors

if TYPE_CHECKING:
    from penstock.models import V2ModelServer


def reply_in_rows(model: V2ModelServer, request_id: str, result: Any, operation: str) -> dict[str, Any]:
    """Return the reply to a request of plain rows."""
    if operation == "explain":
        return {"id": request_id, "model_name": model.name, "outputs": plain_rows(result)}
    reply = {
        "id": request_id,
        "model_name": model.name.partition(":")[0],
        "outputs": plain_rows(result),
        "timestamp": datetime.now(timezone.utc).isoformat(sep=" ", timespec="microseconds"),
    }
    if model.model_endpoint_uid:
        reply["model_endpoint_uid"] = model.model_endpoint_uid
    return reply


def reply_in_tensors(  # noqa: PLR0917  # what a reply is made of
    model: V2ModelServer, request: dict[str, Any], request_id: str, result: Any, names: list[str], operation: str
) -> dict[str, Any]:
    """Return the reply to a request of tensors; the model learns what it is from its first one."""
    reply: dict[str, Any] = {"id": request_id} if request_id else {}
    reply["model_name"] = model.name if operation == "explain" else model.name.partition(":")[0]
    outputs = tensors.to_tensors(result, [str(output.get("name")) for output in model.outputs])
    halves = {output.get("name") for output in model.outputs if output.get("datatype") == "BF16"}
    for output in outputs:
        if output["name"] in halves and output["datatype"] == "FP32":  # what NumPy has for it
            output["datatype"] = "BF16"
    if model.version:
        reply["model_version"] = model.version
    if not model.inputs or not model.outputs:
        inputs = request["inputs"]
        model.learn(inputs if isinstance(inputs, Mapping) else {names[0]: inputs}, outputs)
    reply["outputs"] = tensors.chosen(outputs, request.get("outputs"))
    return reply


def metadata_of(inputs: Any) -> list[dict[str, Any]]:
    """Describe the arrays of a request."""
    import numpy as np

    named = inputs if isinstance(inputs, Mapping) else {"input0": inputs}
    return [tensors.metadata_of(name, np.asarray(array)) for name, array in named.items()]


def plain_rows(result: Any) -> Any:
    """Make arrays into rows: a caller of plain rows gets plain rows.

    Examples
    --------
    >>> import numpy as np
    >>> plain_rows({"scores": np.array([1.5, 2.5])})
    {'scores': [1.5, 2.5]}
    """
    if isinstance(result, dict):
        return {key: plain_rows(value) for key, value in result.items()}
    return result.tolist() if hasattr(result, "tolist") else result
