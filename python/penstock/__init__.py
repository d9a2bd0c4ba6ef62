"""penstock serves event graphs written in Python from a compiled core.

Importing it is cheap: the core, NumPy and the classes load when they are first used.

Examples
--------
>>> import penstock
>>> fn = penstock.new_function("double")
>>> _ = fn.set_topology("flow").to(handler=lambda body: 2 * body, name="double").respond()
>>> with fn.to_mock_server() as server:
...     server.test(body=21)
42
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from penstock._version import __version__

if TYPE_CHECKING:
    from penstock import errors, serving, store
    from penstock.context import GraphContext
    from penstock.dataitem import DataItem, get_dataitem
    from penstock.ensemble import VotingEnsemble
    from penstock.event import Event, MockEvent, Response
    from penstock.factories import code_to_function, deploy_function, import_function, new_function
    from penstock.function import ServingFunction
    from penstock.models import V2ModelServer
    from penstock.routers import ModelRouter
    from penstock.server import GraphServer, create_graph_server
    from penstock.store import log_artifact, log_dataset, log_model

_HOMES = {
    "DataItem": "penstock.dataitem",
    "Event": "penstock.event",
    "GraphContext": "penstock.context",
    "GraphServer": "penstock.server",
    "MockEvent": "penstock.event",
    "ModelRouter": "penstock.routers",
    "Response": "penstock.event",
    "ServingFunction": "penstock.function",
    "V2ModelServer": "penstock.models",
    "VotingEnsemble": "penstock.ensemble",
    "code_to_function": "penstock.factories",
    "create_graph_server": "penstock.server",
    "deploy_function": "penstock.factories",
    "get_dataitem": "penstock.dataitem",
    "import_function": "penstock.factories",
    "log_artifact": "penstock.store",
    "log_dataset": "penstock.store",
    "log_model": "penstock.store",
    "new_function": "penstock.factories",
}
_MODULES = ("errors", "serving", "store")

__all__ = [
    "DataItem",
    "Event",
    "GraphContext",
    "GraphServer",
    "MockEvent",
    "ModelRouter",
    "Response",
    "ServingFunction",
    "V2ModelServer",
    "VotingEnsemble",
    "__version__",
    "code_to_function",
    "create_graph_server",
    "deploy_function",
    "errors",
    "get_dataitem",
    "import_function",
    "log_artifact",
    "log_dataset",
    "log_model",
    "new_function",
    "serving",
    "store",
]


def __getattr__(name: str) -> Any:
    import importlib

    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    if name in _MODULES:
        return importlib.import_module(f"penstock.{name}")
    raise AttributeError(f"module 'penstock' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
