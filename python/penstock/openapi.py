"""The OpenAPI description of what a graph serves: the protocol's calls, for its models by name, and its own."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from penstock._version import __version__
from penstock.openapi_schemas import SCHEMAS, TEXT, named

Document = dict[str, Any]

_JSON, _BYTES, _LINES = "application/json", "application/octet-stream", "application/x-ndjson"
_LENGTH = "Inference-Header-Content-Length"
_REFUSALS = {
    400: "The request is wrong.",
    401: "A token is needed.",
    404: "There is no such model, version or path.",
    405: "This method is not for this path.",
    408: "The request took too long to arrive.",
    413: "The body is too large.",
    415: "This coding of the body is not served.",
    431: "The headers are too large.",
    500: "A step of the graph failed.",
    501: "This is not offered.",
    503: "The server is full, not ready, or stopping.",
    504: "The deadline has passed.",
}
_METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
_READING = (400, 401, 404, 408, 413, 415, 431, 503, 504)
_WORKING = (*_READING, 500, 501)


def describe(name: str, models: list[str]) -> Document:
    """Return the description of a server of these models, of which "m:v2" has a version.

    Examples
    --------
    >>> described = describe("shop", ["m1"])
    >>> described["paths"]["/v2/models/{model}/infer"]["post"]["operationId"]
    'infer'
    """
    model = _parameter("model", {plain.partition(":")[0] for plain in models})
    version = _parameter("version", {known.partition(":")[2] for known in models} - {""})
    paths = _server_paths() | _model_paths("", [model]) | _model_paths("/versions/{version}", [model, version])
    return {
        "openapi": "3.1.0",
        "info": {"title": name, "version": __version__},
        "paths": paths | _repository_paths(model) | _graph_paths(),
        "components": {"schemas": SCHEMAS, "responses": {str(status): _refusal(status) for status in _REFUSALS}},
    }


def _server_paths() -> Document:
    return {
        "/v2": {"get": _call("server_metadata", named("ServerMetadata"))},
        "/v2/health/live": {"get": _call("server_live", named("Live"))},
        "/v2/health/ready": {"get": _call("server_ready", named("Ready"), instead={503: named("Ready")})},
        "/v2/models": {"get": _call("models", named("Models")), "post": _event("by_body")},
        "/v2/models/stats": {"get": _call("all_statistics", named("Statistics"))},
        "/metrics": {"get": _call("metrics", TEXT, kinds=("text/plain",))},
        "/openapi.json": {"get": _call("description", {"type": "object"})},
    }


def _model_paths(place: str, parameters: list[Document]) -> Document:
    suffix = "_of_version" if place else ""
    infer = _call(
        f"infer{suffix}", named("InferResponse"), _WORKING, body=named("InferRequest"), kinds=(_JSON, _BYTES, _LINES)
    )
    infer["requestBody"]["content"][_BYTES] = {"schema": {"type": "string", "format": "binary"}}
    infer["parameters"] = [
        {
            "name": _LENGTH,
            "in": "header",
            "description": "Bytes of the body that are JSON; those of the inputs follow. 0: all are the one input's.",
            "schema": {"type": "integer", "minimum": 0},
        }
    ]
    infer["responses"]["200"]["headers"] = {_LENGTH: {"schema": {"type": "integer", "minimum": 0}}}
    generate, events = named("GenerateRequest"), ("text/event-stream",)
    calls = {
        "": ("get", _call(f"model_metadata{suffix}", named("ModelMetadata"))),
        "/ready": ("get", _call(f"model_ready{suffix}", named("ModelReady"), instead={503: named("ModelReady")})),
        "/config": ("get", _call(f"model_config{suffix}", named("ModelConfig"))),
        "/stats": ("get", _call(f"model_statistics{suffix}", named("Statistics"))),
        "/infer": ("post", infer),
        "/generate": ("post", _call(f"generate{suffix}", named("GenerateResponse"), _WORKING, body=generate)),
        "/generate_stream": (
            "post",
            _call(f"generate_stream{suffix}", TEXT, _WORKING, body=generate, kinds=events),
        ),
    }
    paths: Document = {
        f"/v2/models/{{model}}{place}{path}": {"parameters": parameters, verb: call}
        for path, (verb, call) in calls.items()
    }
    paths[f"/v2/models/{{model}}{place}"]["post"] = _event(f"model_by_body{suffix}")
    return paths


def _repository_paths(model: Document) -> Document:
    index = _call("repository_index", named("Index"), body=named("IndexRequest"), required=False)
    index_too = _call("repository_index_too", named("Index"))
    return {"/v2/repository/index": {"post": index, "get": index_too}} | {
        f"/v2/repository/models/{{model}}/{operation}": {
            "parameters": [model],
            "post": _call(f"repository_{operation}", {}, _WORKING, body=named("LoadRequest"), required=False),
        }
        for operation in ("load", "unload")
    }


def _graph_paths() -> Document:
    """Any other path is the graph's, whose steps see it; this one stands for all."""
    return {"/": {method: _event(f"event_{method}", body=method == "post") for method in _METHODS}}


def _event(operation: str, *, body: bool = True) -> Document:
    """Describe what is a matter of the graph: any body, any answer."""
    event = _call(operation, {}, (*_WORKING, 405), body={} if body else None, required=False)
    event["responses"]["200"] = {"description": "What the graph answers."}
    event["responses"]["204"] = {"description": "The event was filtered out."}
    return event


def _call(
    operation: str,
    answer: Document,
    refusals: Iterable[int] = _READING,
    *,
    instead: dict[int, Document] | None = None,
    body: Document | None = None,
    required: bool = True,
    kinds: tuple[str, ...] = (_JSON,),
) -> Document:
    schemas = {kind: {"schema": answer} if kind in (_JSON, "text/plain") else {} for kind in kinds}
    responses: Document = {"200": {"description": "The answer.", "content": schemas}}
    responses |= {str(status): {"$ref": f"#/components/responses/{status}"} for status in refusals}
    for status, schema in (instead or {}).items():
        responses[str(status)] = _response(_REFUSALS[status], {"anyOf": [schema, named("Error")]})
    call: Document = {"operationId": operation, "responses": responses}
    if body is not None:
        call["requestBody"] = {"required": required, "content": {_JSON: {"schema": body}}}
    return call


def _parameter(name: str, known: set[str]) -> Document:
    schema: Document = {"type": "string", "minLength": 1}
    if known:
        schema["enum"] = sorted(known)
    return {"name": name, "in": "path", "required": True, "schema": schema}


def _refusal(status: int) -> Document:
    refusal = _response(_REFUSALS[status], named("Error"))
    if status == 503:
        refusal["headers"] = {
            "Retry-After": {"description": "In seconds.", "schema": {"type": "integer", "minimum": 1}}
        }
    if status == 405:
        refusal["headers"] = {"Allow": {"schema": TEXT}}
    return refusal


def _response(text: str, schema: Document) -> Document:
    return {"description": text, "content": {_JSON: {"schema": schema}}}
