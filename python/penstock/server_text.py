"""A server as text: what a deployed function is started with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from penstock.documents import to_json, to_yaml
from penstock.errors import GraphError
from penstock.function_spec import LOAD_MODES
from penstock.graph import graph_from_dict
from penstock.secret_store import SecretStore
from penstock.spec import plain, without_empty
from penstock.steps import MonitoringApplicationStep
from penstock.walks import every_step

if TYPE_CHECKING:
    from penstock.server import GraphServer


class WrittenServer:
    """The part of a server that writes it down."""

    def to_dict(self) -> dict[str, Any]:
        """Write down what a deployed function is started with, in MLRun's field names."""
        return server_to_dict(cast("GraphServer", self))

    def to_json(self) -> str:
        """Write it down as JSON."""
        return to_json(self.to_dict())

    def to_yaml(self) -> str:
        """Write it down as YAML."""
        return to_yaml(self.to_dict())


def server_to_dict(server: GraphServer) -> dict[str, Any]:
    """Write a server down; secrets without their values."""
    metadata, context = server.metadata, server.context
    sources = server._secrets.to_list()
    return {
        "function_name": metadata.name,
        "function_tag": metadata.tag,
        "function_uri": metadata.uri,
        "function_hash": metadata.hash,
        "project": metadata.project,
        "version": "v2",
        "parameters": plain(server._parameters),
        "graph": server.graph.to_dict() if server.graph is not None else None,
        "load_mode": server.load_mode,
        "functions": dict(server.functions),
        "graph_initializer": plain(server.graph_initializer),
        "error_stream": server.error_stream or None,
        "track_models": server.track_models,
        "default_content_type": server.default_content_type,
        "streaming": server.streaming,
        "filename": server.filename or None,
        "verbose": context.verbose,
    } | without_empty({"secret_sources": sources, "trusted_model_paths": list(context.trusted_model_paths)})


def server_arguments(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Turn what `server_to_dict` has written, or MLRun, into the arguments of a server; unknown fields are left out.

    Raises
    ------
    GraphError
        The version is one that is not known here, or the load mode is.
    """
    version = fields.get("version") or "v2"
    if version != "v2":
        raise GraphError(f"the serving specification has version {version!r}; 'v2' is known here")
    if fields.get("load_mode") not in LOAD_MODES:
        raise GraphError(f"load_mode is 'sync' or 'async', not {fields['load_mode']!r}")
    graph = fields.get("graph")
    uri = str(fields.get("function_uri") or "")
    name = fields.get("function_name") or uri.rpartition("/")[2].partition(":")[0]
    given = {
        "graph": graph_from_dict(graph) if isinstance(graph, dict) and graph else graph or None,
        "name": name,
        "project": fields["project"] or "" if "project" in fields else uri.partition("/")[0],
        "tag": fields.get("function_tag") or "",
        "function_hash": fields.get("function_hash") or "",
        "parameters": dict(fields.get("parameters") or {}),
        "verbose": bool(fields.get("verbose")),
        "secrets": SecretStore.from_list(fields.get("secret_sources") or []),
        "functions": dict(fields.get("functions") or {}),
        "track_models": bool(fields.get("track_models")),
        "trusted_model_paths": list(fields.get("trusted_model_paths") or []),
        "filename": fields.get("filename") or "",
    }
    as_they_are = ("load_mode", "graph_initializer", "error_stream", "default_content_type", "streaming")
    return given | {key: fields.get(key) for key in as_they_are}


def refuse_foreign(graph: Any) -> None:
    """Raise for steps that can be read and written, but not run here."""
    for step in every_step(graph):
        if isinstance(step, MonitoringApplicationStep):
            raise GraphError(
                f"step '{step.name}': a monitoring application runs on the MLRun platform only; take the step out, "
                "and read what models write with fn.set_tracking(stream_path)"
            )
