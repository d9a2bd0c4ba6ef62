"""The schemas of the protocol's requests and answers."""

from __future__ import annotations

from typing import Any

from penstock.tensors import DTYPES

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
PARAMETERS: Schema = {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}}
_WHOLE: Schema = {"type": "integer", "minimum": 0}
_TEXTS: Schema = {"type": "array", "items": TEXT}
_SHAPE: Schema = {"type": "array", "maxItems": 32, "items": _WHOLE}
_DATATYPE: Schema = {"type": "string", "enum": list(DTYPES)}


def named(name: str) -> Schema:
    """Refer to a schema by name.

    Examples
    --------
    >>> named("Error")
    {'$ref': '#/components/schemas/Error'}
    """
    return {"$ref": f"#/components/schemas/{name}"}


def _object(*required: str, **properties: Schema) -> Schema:
    return {"type": "object", "required": list(required), "properties": properties}


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items}


_TENSOR = _object(
    "name", "shape", "datatype",
    name=TEXT, shape=_SHAPE, datatype=_DATATYPE, parameters=PARAMETERS, data=_list({}),
)  # fmt: skip
_DESCRIBED = _object(
    "name", "shape", "datatype",
    name=TEXT, datatype=TEXT, shape=_list({"type": "integer", "minimum": -1}),
)  # fmt: skip
_DURATIONS: Schema = {"type": "object", "additionalProperties": _object("count", "ns", count=_WHOLE, ns=_WHOLE)}
_MODEL_STATISTICS = _object(
    "name", "last_inference", "inference_count", "execution_count", "inference_stats", "batch_stats", "response_stats",
    name=TEXT, version=TEXT, last_inference=_WHOLE, inference_count=_WHOLE, execution_count=_WHOLE,
    inference_stats=_DURATIONS, batch_stats=_list(_object("batch_size", batch_size=_WHOLE)),
    response_stats={"type": "object", "additionalProperties": _DURATIONS}, memory_usage=_list({"type": "object"}),
)  # fmt: skip
_INDEXED = _object("name", "state", "reason", name=TEXT, version=TEXT, state=TEXT, reason=TEXT)

SCHEMAS: dict[str, Schema] = {
    "Error": _object("error", error=TEXT),
    "Live": _object("live", live={"type": "boolean"}),
    "Ready": _object("ready", ready={"type": "boolean"}),
    "ServerMetadata": _object("name", "version", "extensions", name=TEXT, version=TEXT, extensions=_TEXTS),
    "Models": _object("models", models=_TEXTS),
    "ModelReady": _object("name", "ready", name=TEXT, ready={"type": "boolean"}),
    "ModelMetadata": _object(
        "name", "platform", "inputs", "outputs",
        name=TEXT, versions=_TEXTS, platform=TEXT, inputs=_list(_DESCRIBED), outputs=_list(_DESCRIBED),
    ),
    "ModelConfig": _object("name", "platform", name=TEXT, platform=TEXT, max_batch_size=_WHOLE),
    "Statistics": _object("model_stats", model_stats=_list(_MODEL_STATISTICS)),
    "Tensor": _TENSOR,
    # Plain rows are what MLRun's clients send, with anything else beside them.
    "InferRequest": {"anyOf": [named("TensorsRequest"), named("RowsRequest")]},
    "TensorsRequest": _object(
        "inputs",
        id=TEXT,
        parameters=PARAMETERS,
        inputs={"type": "array", "minItems": 1, "items": named("Tensor")},
        outputs=_list(_object("name", name=TEXT, parameters=PARAMETERS)),
    ),
    "RowsRequest": _object("inputs", inputs={"type": "array"}),
    "InferResponse": _object(
        "model_name", "outputs",
        id={}, model_name=TEXT, model_version=TEXT, parameters=PARAMETERS, outputs={},
    ),
    "GenerateRequest": _object(
        "text_input", id={"type": ["string", "null"]}, text_input=TEXT, parameters={"type": ["object", "null"]}
    ),
    "GenerateResponse": _object(
        "model_name", "model_version", "text_output", id=TEXT, model_name=TEXT, model_version=TEXT, text_output=TEXT
    ),
    "IndexRequest": _object(ready={"type": "boolean"}) | {"type": ["object", "null"]},
    "Index": _list(_INDEXED),
    "LoadRequest": _object(parameters={"type": "object"}),
}  # fmt: skip
