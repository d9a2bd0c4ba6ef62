"""The classes to use in graphs and to subclass, under the names that users of MLRun know."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from penstock.context import GraphContext
    from penstock.ensemble import VotingEnsemble
    from penstock.event import Event, MockEvent, Response
    from penstock.models import V2ModelServer
    from penstock.parallel import ParallelRun
    from penstock.remote import BatchHttpRequests, RemoteStep
    from penstock.routers import BaseModelRouter, ModelRouter
    from penstock.server import GraphServer, create_graph_server

_HOMES = {
    "BaseModelRouter": "penstock.routers",
    "BatchHttpRequests": "penstock.remote",
    "Event": "penstock.event",
    "GraphContext": "penstock.context",
    "GraphServer": "penstock.server",
    "MockEvent": "penstock.event",
    "ModelRouter": "penstock.routers",
    "ParallelRun": "penstock.parallel",
    "RemoteStep": "penstock.remote",
    "Response": "penstock.event",
    "V2ModelServer": "penstock.models",
    "VotingEnsemble": "penstock.ensemble",
    "create_graph_server": "penstock.server",
}

__all__ = [
    "BaseModelRouter",
    "BatchHttpRequests",
    "Event",
    "GraphContext",
    "GraphServer",
    "MockEvent",
    "ModelRouter",
    "ParallelRun",
    "RemoteStep",
    "Response",
    "V2ModelServer",
    "VotingEnsemble",
    "create_graph_server",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        import importlib

        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'penstock.serving' has no attribute '{name}'")
