"""The calls of the Open Inference Protocol that are no inference: what is served, and is it ready.

The HTTP server asks here for every GET below ``/v2``; it passes on to the graph what gets None.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from penstock._version import __version__
from penstock.ensemble import VotingEnsemble

if TYPE_CHECKING:
    from penstock.models import V2ModelServer
    from penstock.server import GraphServer

Answer = tuple[int, dict[str, Any]]


class Frontend:
    """Answers for the models of one server; safe to call from any thread that holds the GIL.

    Parameters
    ----------
    server : GraphServer
        Its `init_states` has run.
    """

    def __init__(self, server: GraphServer) -> None:
        compiled = server.compiled
        self._name = server.name or "penstock"
        self._models: dict[str, V2ModelServer] = compiled.models if compiled else {}
        self._names = list(self._models)
        for router in compiled.routers if compiled else []:
            if isinstance(router, VotingEnsemble):
                self._names.append(router.name)
        self.closing = False

    def get(self, path: str) -> Answer | None:  # noqa: PLR0911  # a table of paths
        """Answer a GET: status and body; None if the path is none of the protocol's."""
        parts = [unquote(part) for part in path.partition("?")[0].strip("/").split("/")]
        if parts[0] != "v2":
            return None
        if parts[1:2] == ["models"] and len(parts) > 2:
            return self._of_model(parts[2], parts[3:])
        match parts[1:]:
            case []:
                return 200, {"name": self._name, "version": __version__, "extensions": []}
            case ["health"]:
                return 200, {"name": self._name, "version": "v2", "extensions": []}
            case ["health", "live"]:
                return 200, {"live": True}
            case ["health", "ready"]:
                return self.ready()
            case ["models"]:
                return 200, {"models": self._names}
        return None

    def _of_model(self, model: str, rest: list[str]) -> Answer | None:
        if rest[:1] == ["versions"] and len(rest) > 1:
            model, rest = f"{model}:{rest[1]}", rest[2:]
        if not rest:
            return self._metadata(model)
        return self._model_ready(model) if rest == ["ready"] else None

    def ready(self) -> Answer:
        """Say whether requests are welcome: all models loaded, and not closing."""
        ready = not self.closing and all(model.ready for model in self._models.values())
        return (200 if ready else 503), {"live": True, "ready": ready}

    def _metadata(self, name: str) -> Answer:
        model = self._models.get(name)
        if model is None:
            return self._ensemble(name)
        base = name.partition(":")[0]
        versions = [key.partition(":")[2] for key in self._models if key.partition(":")[0] == base]
        body = model.metadata() | {"platform": "penstock"}
        if any(versions):
            body["versions"] = [version for version in versions if version]
        return 200, body

    def _ensemble(self, name: str) -> Answer:
        if name not in self._names:
            return self._unknown(name)
        first = next(iter(self._models.values()), None)
        inputs = first.inputs if first is not None else []
        outputs = first.outputs if first is not None else []
        return 200, {"name": name, "platform": "penstock_ensemble", "inputs": inputs, "outputs": outputs}

    def _model_ready(self, name: str) -> Answer:
        if name in self._models:
            ready = self._models[name].ready
        elif name in self._names:
            ready = all(model.ready for model in self._models.values())
        else:
            return self._unknown(name)
        return (200 if ready else 503), {"name": name.partition(":")[0], "ready": ready}

    def _unknown(self, name: str) -> Answer:
        return 404, {"error": f"model {name} doesnt exist, available models: {' | '.join(self._names)}"}
