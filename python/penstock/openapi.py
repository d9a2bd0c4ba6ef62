"""The OpenAPI description of what a graph serves: the calls of the Open Inference Protocol, for its models by name."""

from __future__ import annotations

from typing import Any

from penstock._version import __version__

_DATATYPES = ["BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64"]
_DATATYPES += ["FP16", "FP32", "FP64", "BF16", "BYTES"]
_TEXT = {"type": "string"}
_OBJECT: dict[str, Any] = {"type": "object"}
_PARAMETERS = {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}}
_TENSOR = {
    "name": _TEXT,
    "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}},
    "datatype": {"type": "string", "enum": _DATATYPES},
    "parameters": _PARAMETERS,
    "data": {"type": "array", "items": {}},
}


def describe(name: str, models: list[str]) -> dict[str, Any]:
    """Return the description of a server of these models.

    Examples
    --------
    >>> described = describe("shop", ["m1"])
    >>> described["paths"]["/v2/models/{model}/infer"]["post"]["operationId"]
    'infer'
    """
    model = {"name": "model", "in": "path", "required": True, "schema": {"type": "string"}}
    known = [plain for plain in models if ":" not in plain]
    if known:
        model["schema"] = {"type": "string", "enum": known}
    return {
        "openapi": "3.1.0",
        "info": {"title": name, "version": __version__},
        "paths": _server_paths() | _model_paths(model) | _repository_paths(),
        "components": {"schemas": _schemas()},
    }


def _server_paths() -> dict[str, Any]:
    return {
        "/v2": {"get": _call("server_metadata", _object("name", "version", "extensions"))},
        "/v2/health/live": {"get": _call("server_live", _object("live"))},
        "/v2/health/ready": {"get": _call("server_ready", _object("ready"), 503)},
        "/v2/models": {"get": _call("models", _object("models"))},
        "/v2/models/stats": {"get": _call("all_statistics", _object("model_stats"))},
    }


def _model_paths(model: dict[str, Any]) -> dict[str, Any]:
    generated = {
        "type": "object",
        "required": ["text_input"],
        "properties": {"id": _TEXT, "text_input": _TEXT, "parameters": _PARAMETERS},
    }
    calls = {
        "": ("get", _call("model_metadata", _object("name", "platform"), 404)),
        "/ready": ("get", _call("model_ready", _object("name", "ready"), 404, 503)),
        "/config": ("get", _call("model_config", _object("name", "platform"), 404)),
        "/stats": ("get", _call("model_statistics", _object("model_stats"), 404)),
        "/infer": ("post", _call("infer", _named("InferResponse"), 400, 404, 503, 504, body=_named("InferRequest"))),
        "/generate": ("post", _call("generate", _object("model_name", "text_output"), 400, 404, 503, body=generated)),
    }
    return {f"/v2/models/{{model}}{path}": {"parameters": [model], verb: call} for path, (verb, call) in calls.items()}


def _repository_paths() -> dict[str, Any]:
    body = {"type": "object", "properties": {"ready": {"type": "boolean"}}}
    return {
        "/v2/repository/index": {
            "post": _call("repository_index", {"type": "array", "items": _OBJECT}, 400, body=body, required=False)
        }
    }


def _schemas() -> dict[str, Any]:
    tensor = {"type": "object", "required": ["name", "shape", "datatype"], "properties": _TENSOR}
    asked = {"type": "object", "required": ["name"], "properties": {"name": _TEXT, "parameters": _PARAMETERS}}
    head = {"id": _TEXT, "parameters": _PARAMETERS}
    return {
        "Error": _object("error") | {"properties": {"error": _TEXT}},
        "InferRequest": {
            "type": "object",
            "required": ["inputs"],
            "properties": {
                **head,
                "inputs": {"type": "array", "minItems": 1, "items": tensor},
                "outputs": {"type": "array", "items": asked},
            },
        },
        "InferResponse": {
            "type": "object",
            "required": ["model_name", "outputs"],
            "properties": {**head, "model_name": _TEXT, "model_version": _TEXT, "outputs": {"type": "array"}},
        },
    }


def _call(
    operation: str, answer: dict[str, Any], *refusals: int, body: dict[str, Any] | None = None, required: bool = True
) -> dict[str, Any]:
    responses = {"200": {"description": "the answer", "content": _json(answer)}}
    responses |= {
        str(status): {"description": "why not", "content": _json(_named("Error") if status != 503 else _OBJECT)}
        for status in refusals
    }
    call: dict[str, Any] = {"operationId": operation, "responses": responses}
    if body is not None:
        call["requestBody"] = {"required": required, "content": _json(body)}
    return call


def _object(*required: str) -> dict[str, Any]:
    return {"type": "object", "required": list(required)}


def _named(schema: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{schema}"}


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}
