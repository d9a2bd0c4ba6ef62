"""The calls of the Open Inference Protocol that are no inference: what is served, and is it ready.

The plan has a step for them, apart from the graph: the HTTP server sends every GET below ``/v2`` to it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from penstock._version import __version__
from penstock.ensemble import VotingEnsemble
from penstock.event import Response

if TYPE_CHECKING:
    from collections.abc import Iterable

    from penstock.models import V2ModelServer

Answer = tuple[int, Any]


class Frontend:
    """Answers for the models of one graph.

    Parameters
    ----------
    name : str
        The function's name.
    models : dict of str to V2ModelServer
        The models, by the names that requests call them.
    routers : list
        The graph's routers; ensembles among them count as models.
    """

    def __init__(self, name: str, models: dict[str, V2ModelServer], routers: list[Any]) -> None:
        self._name = name or "penstock"
        self._models = models
        self._names = list(models)
        self._names += [router.name for router in routers if isinstance(router, VotingEnsemble)]

    def choose(self, event: Any) -> int:
        """Say where an event goes: 0 if its body is now the answer, 1 if it is for the graph."""
        answer = self.get(event.path)
        if answer is None:
            return 1
        status, body = answer
        event.body = body if status == 200 else Response(body=body, status_code=status, content_type="application/json")
        return 0

    def get(self, path: str) -> Answer | None:
        """Answer a GET: status and body; None if the path is none of the protocol's."""
        parts = [unquote(part) for part in path.partition("?")[0].strip("/").split("/")]
        if parts[0] != "v2":
            return None
        if parts[1:2] == ["models"] and len(parts) > 2 and parts[2:] != ["stats"]:
            return self._of_model(parts[2], parts[3:])
        match parts[1:]:
            case []:
                return 200, {"name": self._name, "version": __version__, "extensions": []}
            case ["health"]:
                return 200, {"name": self._name, "version": "v2", "extensions": []}
            case ["models"]:
                return 200, {"models": self._names}
        return self._of_all(parts[1:])

    def _of_all(self, path: list[str]) -> Answer | None:
        match path:
            case ["models", "stats"]:
                return 200, self._statistics(self._models)
            case ["repository", "index"]:
                return 200, [self._listed(name) for name in self._names]
        return None

    def _of_model(self, model: str, rest: list[str]) -> Answer | None:
        if rest[:1] == ["versions"] and len(rest) > 1:
            model, rest = f"{model}:{rest[1]}", rest[2:]
        if not rest:
            return self._metadata(model)
        if rest == ["stats"]:
            return (200, self._statistics([model])) if model in self._models else self._unknown(model)
        return self._model_ready(model) if rest == ["ready"] else None

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

    def _listed(self, name: str) -> dict[str, str]:
        """Describe a model as the repository's index does."""
        base, _, version = name.partition(":")
        ready = self._model_ready(name)[0] == 200
        return {"name": base, "version": version, "state": "READY" if ready else "UNAVAILABLE", "reason": ""}

    def _statistics(self, names: Iterable[str]) -> dict[str, Any]:
        """Tell what models have done; the times are estimates from the calls that are measured."""
        context = next((model.context for model in self._models.values()), None)
        server = getattr(context, "server", None)
        steps = {} if server is None else server.engine.stats()
        return {"model_stats": [self._statistics_of(name, _step_of(name, steps)) for name in names]}

    @staticmethod
    def _statistics_of(name: str, step: dict[str, Any]) -> dict[str, Any]:
        events, failed, batches = (step.get(key, 0) for key in ("events", "failed", "batches"))
        executions = batches or events
        nanoseconds = int(step.get("seconds", 0.0) * executions * 1e9)
        base, _, version = name.partition(":")
        return {
            "name": base,
            "version": version,
            "inference_count": events - failed,
            "execution_count": executions,
            "inference_stats": {
                "success": {"count": events - failed, "ns": nanoseconds},
                "fail": {"count": failed, "ns": 0},
                "compute_infer": {"count": executions, "ns": nanoseconds},
            },
        }

    def _unknown(self, name: str) -> Answer:
        return 404, {"error": f"model {name} doesnt exist, available models: {' | '.join(self._names)}"}


def _step_of(model: str, steps: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return what a model's step has done; the step of a router in a flow has the router's name in front."""
    found = (done for name, done in steps.items() if name == model or name.endswith(f"/{model}"))
    return next(found, {})
