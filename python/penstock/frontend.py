"""The calls of the Open Inference Protocol that are no inference: what is served, is it ready, what has it done.

The plan has a step for them, apart from the graph: the HTTP server sends every GET below ``/v2`` to it, and all that
is below ``/v2/repository``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from penstock._version import __version__
from penstock.ensemble import VotingEnsemble
from penstock.event import Response
from penstock.inspection import Inspection
from penstock.verbs import POST_ONLY, verbs
from penstock.versions import find, split, unknown, versions_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from penstock._core import PlanBuilder
    from penstock.model_control import ModelControl
    from penstock.models import V2ModelServer

Answer = tuple[int, Any]

EXTENSIONS = [
    "binary_tensor_data",
    "classification",
    "generate",
    "model_configuration",
    "model_repository",
    "parameters",
    "statistics",
]
_CHANGES = 64  # that may be under way at once


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
    left_out : list of str
        Versions that are not served.
    control : ModelControl, optional
        What loads and unloads models.
    inspection : Inspection, optional
        Counts for several processes; without one, what these models have done in this one counts.
    """

    def __init__(
        self,
        name: str,
        models: dict[str, V2ModelServer],
        routers: list[Any],
        left_out: Sequence[str] = (),
        control: ModelControl | None = None,
        *,
        inspection: Inspection | None = None,
    ) -> None:
        self._name = name or "penstock"
        self._models = models
        self._left_out = left_out
        self._inspection = inspection or Inspection(name, models, routers)
        self.control = control
        self._names = list(models)
        self._names += [router.name for router in routers if isinstance(router, VotingEnsemble)]

    def choose(self, event: Any) -> int:
        """Say where an event goes: 0 if its body is now the answer, 1 if it is for the graph, 3 for `control`."""
        if self.control is not None and event.method == "POST" and _changes_models(event.path):
            return 3
        if event.method in ("", "GET", "HEAD"):
            answer = self.get(event.path)
        else:
            answer = self._refused(event) or self.post(event.path, event.method, event.body)
        if answer is None:
            return 1
        status, body = answer
        if status == 200:
            event.body = body
        else:
            headers = {"Allow": verbs(_parts(event.path)) or "POST"} if status == 405 else {}
            event.body = Response(headers, body, "application/json", status)
        return 0

    def get(self, path: str) -> Answer | None:
        """Answer a GET: status and body; None if the path is none of the protocol's."""
        parts = _parts(path)
        if parts[0] != "v2":
            return self._description() if parts == ["openapi.json"] else None
        if parts[1:2] == ["models"] and len(parts) > 2 and parts[2:] != ["stats"]:
            return self._of_model(parts[2], parts[3:])
        match parts[1:]:
            case []:
                return 200, {"name": self._name, "version": __version__, "extensions": EXTENSIONS}
            case ["health"]:
                return 200, {"name": self._name, "version": "v2", "extensions": []}
            case ["models"]:
                return 200, {"models": self._names}
        return self._of_all(parts[1:])

    def _refused(self, event: Any) -> Answer | None:
        """Refuse a method that a path of the protocol does not take; a model's own operation is left to it."""
        parts = _parts(event.path)
        allowed = verbs(parts)
        if allowed is None or event.method in allowed.split(", "):
            return None
        if event.method == "POST" and any(hasattr(model, f"op_{parts[-1]}") for model in self._models.values()):
            return None
        return 405, {"error": f"method {event.method} not allowed, use {allowed.split(', ')[0]}"}

    def _description(self) -> Answer:
        from penstock.openapi import describe

        return 200, describe(self._name, self._names)

    def post(self, path: str, method: str, body: Any) -> Answer | None:
        """Answer a call of the model repository: status and body; None if the path is none of its."""
        parts = _parts(path)
        if parts[:2] != ["v2", "repository"]:
            return None
        place = _place(parts)
        if place == ["index"]:
            return self._index(body) if method == "POST" else _wrong_verb(method)
        if len(place) == 3 and place[0] == "models" and place[2] in ("load", "unload"):
            if method != "POST":
                return _wrong_verb(method)
            return 501, {
                "error": f"to {place[2]} a model is not offered: the graph says which models there are; "
                "penstock serve --model-control lets callers with a token do it"
            }
        return 404, {"error": "Not Found"}

    def _index(self, body: Any) -> Answer:
        if body is not None and not isinstance(body, Mapping):
            return 400, {"error": "the body of an index is an object"}
        ready = (body or {}).get("ready", False)
        if not isinstance(ready, bool):
            return 400, {"error": "ready must be true or false"}
        return 200, [model for model in self._all_listed() if not ready or model["state"] == "READY"]

    def _all_listed(self) -> list[dict[str, str]]:
        return [self._listed(name) for name in [*self._names, *self._left_out]]

    def _of_all(self, path: list[str]) -> Answer | None:
        match path:
            case ["models", "stats"]:
                return 200, self._inspection.statistics(self._names)
            case ["repository", "index"]:
                return 200, self._all_listed()
            case ["repository", *_, "load" | "unload"]:
                return _wrong_verb("GET")
        return None

    def _of_model(self, model: str, rest: list[str]) -> Answer | None:
        if rest[:1] == ["versions"] and len(rest) > 1:
            model, rest = f"{model}:{rest[1]}", rest[2:]
        if len(rest) == 1 and rest[0] in POST_ONLY:
            return _wrong_verb("GET")
        if rest == ["stats"]:
            named = [
                key for key in self._names if key == model or (split(key)[0] == model and model not in self._names)
            ]
            return (200, self._inspection.statistics(named)) if named else self._unknown(model)
        if model not in self._names:  # its newest version, of those that are ready
            model = find(model, self._models, lambda found: found.ready) or model
        if not rest:
            return self._metadata(model)
        if rest == ["config"]:
            return self._config(model)
        return self._model_ready(model) if rest == ["ready"] else None

    def _metadata(self, name: str) -> Answer:
        model = self._models.get(name)
        if model is None:
            return self._ensemble(name)
        body = model.metadata() | {"platform": "penstock"}
        if versions := versions_of(split(name)[0], self._models):
            body["versions"] = versions
        return 200, body

    def _config(self, name: str) -> Answer:
        """Describe a model as its configuration: in the words of the protocol, and in those of Triton's files."""
        status, known = self._metadata(name)
        if status != 200:
            return status, known
        inputs, outputs = known.get("inputs", []), known.get("outputs", [])
        return 200, {
            "name": known["name"],
            "platform": known["platform"],
            "backend": "python",
            "max_batch_size": 0,
            "version_policy": self._policy(known.get("versions", [])),
            "input": [_config_tensor(tensor) for tensor in inputs],
            "output": [_config_tensor(tensor) for tensor in outputs],
            "inputs": inputs,
            "outputs": outputs,
        }

    def _policy(self, versions: list[str]) -> dict[str, Any]:
        """Describe which versions of a model are served: those that the graph names, or some of them."""
        return {"specific": {"versions": versions}} if versions and self._left_out else {"all": {}}

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
        base, version = split(name)
        state, reason = "UNAVAILABLE", "its version policy leaves it out"
        place = None if self.control is None else self.control.places.get(name)
        if place is not None:
            state, reason = place.state, place.reason
        elif name in self._names:
            ready = self._model_ready(name)[0] == 200
            state, reason = "READY" if ready else "LOADING" if self._is_loading(name) else "UNAVAILABLE", ""
        return {"name": base, "version": version, "state": state, "reason": reason}

    def _is_loading(self, name: str) -> bool:
        loading = getattr(self._models.get(name), "_loading", None)
        return loading is not None and not loading.ended

    def _unknown(self, name: str) -> Answer:
        return 404, {"error": unknown(name, self._names)}


def add_frontend(core: PlanBuilder, frontend: Frontend, inspection: Inspection, entries: Iterable[int]) -> None:
    """Add the steps that answer for a graph to its plan."""
    choice = core.add_step("GET /v2", "route", inspection.over(frontend.choose))
    answer = core.add_step("GET /v2, answered", "pass", responder=True)
    graph = core.add_step("GET /v2, for the graph", "pass")
    inspected = core.add_step("GET /v2, inspected", "map", inspection.answer, full_event=True, responder=True)
    outlets = [answer, graph, inspected]
    if frontend.control is not None:
        change = frontend.control.answer
        outlets.append(
            core.add_step("GET /v2, changed", "map", change, full_event=True, responder=True, concurrency=_CHANGES)
        )
    for outlet in outlets:
        core.connect(choice, outlet)
    for entry in entries:
        core.connect(graph, entry)
    core.frontend(choice)


def _place(parts: list[str]) -> list[str]:
    """Return what follows the repository's name, if there is one."""
    return parts[2:] if parts[2:3] in (["index"], ["models"]) else parts[3:]


def _changes_models(path: str) -> bool:
    parts = _parts(path)
    place = _place(parts)
    return parts[:2] == ["v2", "repository"] and len(place) == 3 and place[2] in ("load", "unload")


def _parts(path: str) -> list[str]:
    return [unquote(part) for part in path.partition("?")[0].strip("/").split("/")]


def _wrong_verb(method: str) -> Answer:
    return 405, {"error": f"method {method} not allowed, use POST"}


def _config_tensor(tensor: dict[str, Any]) -> dict[str, Any]:
    datatype = tensor.get("datatype", "")
    kind = "STRING" if datatype == "BYTES" else datatype
    return {"name": tensor.get("name", ""), "data_type": f"TYPE_{kind}", "dims": tensor.get("shape", [])}
