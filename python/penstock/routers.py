"""Routers: one model by its path, or the vote of all of them."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import unquote

from penstock import tensors
from penstock.errors import BadRequest, GraphError, ModelNotFound, PathNotFound, PenstockError, blame
from penstock.event import Response, clone
from penstock.resolve import nearest

_OPERATIONS = ("infer", "predict", "explain")


class Route:
    """One route of a router; `run` calls it in line, for routers that do their own routing."""

    def __init__(self, name: str, step: str, target: Any, handler: Callable[[Any], Any], *, full_event: bool) -> None:
        self.name = name
        self.step = step
        self.object = target
        self._handler = handler
        self._full_event = full_event

    def run(self, event: Any) -> Any:
        """Run the route on an event, and return the event with the result as its body."""
        if self._full_event:
            return self._handler(event)
        event.body = self._handler(event.body)
        return event


class ModelRouter:
    """Sends an event to the model that its path, or its body's "model", names.

    Subclass it to change `parse_event`, `preprocess` or `postprocess`; write `do_event` to do all of the routing.

    Parameters
    ----------
    context : GraphContext, optional
        Given by the graph.
    name : str, optional
        The name of the router's step.
    routes : dict of str to Route, optional
        Given by the graph.
    protocol : str, optional
        Accepted for MLRun's sake; there is one protocol.
    url_prefix, health_prefix : str, optional
        Where models and health are, by default ``/v2/models`` and ``/v2/health``.
    input_path, result_path : str, optional
        Where in the body the request is, and where the reply is written.
    """

    is_router = True

    def __init__(
        self,
        context: Any = None,
        name: str | None = None,
        routes: dict[str, Route] | None = None,
        protocol: str | None = None,  # noqa: ARG002  # see above
        url_prefix: str | None = None,
        health_prefix: str | None = None,
        input_path: str | None = None,
        result_path: str | None = None,
        **class_args: Any,
    ) -> None:
        self.context = context
        self.name = name or type(self).__name__
        self.routes = routes or {}
        self.url_prefix = (url_prefix or "/v2/models").rstrip("/")
        self.health_prefix = (health_prefix or "/v2/health").rstrip("/")
        self._input_path = input_path.split(".") if input_path else []
        self._result_path = result_path.split(".") if result_path else []
        self._params = class_args

    def adopt(self, routes: dict[str, Route]) -> None:
        """Take the routes; called once, when the graph is made, on a router that was given as an object."""
        self.routes = routes

    def get_param(self, key: str, default: Any = None) -> Any:
        """Return an argument of the router, else a parameter of the function."""
        if key in self._params:
            return self._params[key]
        return default if self.context is None else self.context.get_param(key, default)

    def parse_event(self, event: Any) -> Any:
        """Make a request of the body: a dict, JSON text, or an image."""
        body = event.body
        if body is None or event.method == "GET" or isinstance(body, dict) or (isinstance(body, (str, bytes)) and not body):
            return event
        if (event.content_type or "").startswith("image/"):
            from io import BytesIO

            event.body = {"inputs": [BytesIO(body)]}
            return event
        try:
            event.body = json.loads(body)
        except (TypeError, ValueError) as error:
            raise BadRequest("Unrecognized request format") from error
        return event

    def preprocess(self, event: Any) -> Any:
        """Change the event before it is routed."""
        return event

    def postprocess(self, event: Any) -> Any:
        """Change the event before it leaves the router."""
        return event

    def do_event(self, event: Any) -> Any:
        """Route an event and run its route in line."""
        names = list(self.routes)
        outlet = self.choose(event)
        if outlet == len(names):
            return event
        return self.leave(self.routes[names[outlet]].run(event))

    def choose(self, event: Any) -> int:
        """Return the number of the route for an event; one more than there are if its body is the answer."""
        self._enter(event)
        parts = self._parts(event)
        if parts is None:
            return len(self.routes)
        name, operation = self._named(event, parts)
        if not name:
            if event.method == "GET":
                event.body = self.models()
                return len(self.routes)
            name = next(iter(self.routes))
        for outlet, known in enumerate(self.routes):
            if known == name:
                event.path = operation
                return outlet
        raise ModelNotFound(f"model {name} doesnt exist, available models: {' | '.join(self.routes)}")

    def leave(self, event: Any) -> Any:
        """Finish an event that a route has answered."""
        event = self.postprocess(event)
        if self._result_path:
            outer = getattr(event, "penstock_outer", None)
            if isinstance(outer, dict):
                place = outer
                for key in self._result_path[:-1]:
                    place = place.setdefault(key, {})
                place[self._result_path[-1]] = event.body
                event.body = outer
        return event

    def models(self) -> dict[str, Any]:
        """List the models."""
        return {"models": list(self.routes)}

    @property
    def table(self) -> dict[str, int] | None:
        """Model names to route numbers, if nothing but the name decides; the core then routes without Python."""
        kind = type(self)
        hooks = ("parse_event", "preprocess", "choose", "do_event", "_enter", "_parts", "_named")
        own = all(getattr(kind, hook) is getattr(ModelRouter, hook) for hook in hooks)
        return {name: outlet for outlet, name in enumerate(self.routes)} if own and not self._input_path else None

    @property
    def leaves(self) -> bool:
        """Whether events have to come back to the router before they go on."""
        return type(self).postprocess is not ModelRouter.postprocess or bool(self._result_path)

    def _enter(self, event: Any) -> None:
        if self._result_path:
            event.penstock_outer = event.body
        for key in self._input_path:
            event.body = event.body.get(key) if isinstance(event.body, Mapping) else None
        for hook in (self.parse_event, self.preprocess):
            changed = hook(event)
            if changed is not None and changed is not event:  # the core goes on with the event it gave
                event.body, event.path = changed.body, changed.path

    def _parts(self, event: Any) -> list[str] | None:
        """Split the path behind the prefix; None if the router itself has answered."""
        path = (event.path or "/").partition("?")[0]
        health = path == self.health_prefix or path.startswith(self.health_prefix + "/")
        if event.method == "GET" and (path == "/" or health):
            event.body = {"name": type(self).__name__, "version": "v2", "extensions": []}
            return None
        if path == "/":
            return []
        if path != self.url_prefix and not path.startswith(self.url_prefix + "/"):
            raise PathNotFound(f"illegal path prefix {path}, must start with {self.url_prefix}")
        rest = path[len(self.url_prefix) :].strip("/")
        return [unquote(part) for part in rest.split("/")] if rest else []

    def _named(self, event: Any, parts: list[str]) -> tuple[str, str]:
        """Return the model and the operation that the path, or else the body, names; "" for none."""
        if parts:
            if parts[1:2] == ["versions"] and len(parts) > 2:
                return f"{parts[0]}:{parts[2]}", "/".join(parts[3:])
            return parts[0], "/".join(parts[1:])
        body = event.body if isinstance(event.body, Mapping) else {}
        return str(body.get("model") or ""), str(body.get("operation") or "")


class VotingEnsemble(ModelRouter):
    """Asks all models at once and answers with their vote.

    A path that names one model, ``/v2/models/m2/infer``, asks that one alone.

    Parameters
    ----------
    vote_type : {"classification", "regression"}, optional
        Majority by weight, or weighted mean. Without it the first predictions decide: whole numbers, and
        what is no number, are classes.
    weights : dict of str to float, optional
        By model; their sum may be anything above 0. A model that is not named has no vote. Default: all the same.
    format_response_with_col_name_flag : bool
        Answer ``{"outputs": {column: [...]}}``.
    prediction_col_name : str
        The column's name.
    **router_args
        What `ModelRouter` takes.
    """

    def __init__(
        self,
        context: Any = None,
        name: str | None = None,
        routes: dict[str, Route] | None = None,
        *,
        vote_type: str | None = None,
        weights: dict[str, float] | None = None,
        format_response_with_col_name_flag: bool = False,
        prediction_col_name: str = "prediction",
        **router_args: Any,
    ) -> None:
        router_args.pop("executor_type", None)  # MLRun's choice of pool: here routes always run in parallel
        super().__init__(context, name, routes, **router_args)
        if vote_type not in (None, "classification", "regression"):
            raise GraphError(f"vote_type is 'classification' or 'regression', not {vote_type!r}")
        self.vote_type = vote_type
        self.weights = weights
        self.format_response_with_col_name_flag = format_response_with_col_name_flag
        self.prediction_col_name = prediction_col_name
        self._shares = self._normalised(weights)

    def adopt(self, routes: dict[str, Route]) -> None:
        """Take the routes, and give each its share of the vote."""
        super().adopt(routes)
        self._shares = self._normalised(self.weights)

    def logic(self, predictions: list[list[Any]], weights: list[float]) -> list[Any]:
        """Decide: one result for each row of `predictions`, which has a column a model; `weights` add up to 1.

        Examples
        --------
        >>> VotingEnsemble(vote_type="regression").logic([[1, 3], [5, 7]], [0.5, 0.5])
        [2.0, 6.0]
        """
        import numpy as np

        votes = np.asarray(predictions)
        if self.vote_type is None:
            whole = votes.dtype.kind not in "fc" or bool(np.all(votes == np.floor(votes.real)))
            self.vote_type = "classification" if whole else "regression"
        if self.vote_type == "regression":
            means: list[Any] = np.average(votes.astype(float), axis=1, weights=weights).tolist()
            return means
        classes, places = np.unique(votes, return_inverse=True)
        places = places.reshape(votes.shape)
        shares = np.zeros((len(votes), *votes.shape[2:], len(classes)))
        for column, weight in enumerate(weights):
            shares += (places[:, column, ..., None] == np.arange(len(classes))) * weight
        winners: list[Any] = classes[shares.argmax(axis=-1)].tolist()
        return winners

    def do_event(self, event: Any) -> Any:
        """Route an event and run its routes in line, one after the other."""
        names = list(self.routes)
        results: list[tuple[int, Any]] = []
        for outlet, part in self.scatter(event):
            results.append((outlet, part if outlet == len(names) else self.routes[names[outlet]].run(part)))
        return self.gather(event, results)

    def scatter(self, event: Any) -> list[tuple[int, Any]]:
        """Return the routes to ask, each with the event it gets; the number behind the last is the answer itself."""
        self._enter(event)
        names = list(self.routes)
        event.penstock_asked = "self"
        parts = self._parts(event)
        if parts is None:
            return [(len(names), event)]
        name, operation = self._asked(event, parts)
        if event.method == "GET" and name in ("", self.name) and self._describe(event, name, operation):
            return [(len(names), event)]
        if name in self.routes:
            event.penstock_asked = "one"
            event.path = operation
            return [(names.index(name), copy.copy(event))]
        if name not in ("", self.name):
            raise ModelNotFound(
                f"model {name} doesnt exist, available models: {' | '.join([*names, self.name])} "
                "or an operation alone for ensemble operation"
            )
        if operation not in ("", *_OPERATIONS):
            raise BadRequest(f"illegal model operation {operation}, method={event.method}")
        event.penstock_asked = "all"
        event.path = operation or "infer"
        return [(outlet, self._for_route(event)) for outlet in range(len(names))]

    def gather(self, event: Any, results: list[tuple[int, Any]]) -> Any:
        """Make the answer from what the routes gave."""
        names = list(self.routes)
        for outlet, result in results:
            if isinstance(result, BaseException):
                if outlet < len(names):
                    blame(result, self.routes[names[outlet]].step)
                raise result
        if event.penstock_asked != "all":
            result = results[0][1]
            event.body = result.body
            if event.penstock_asked == "self" or getattr(result, "terminated", False):
                event.terminated = True
                return event
            return self.leave(event)
        rows = [self._rows(names[outlet], result.body) for outlet, result in results]
        request = event.body if isinstance(event.body, Mapping) else {}
        shares = [self._shares[names[outlet]] for outlet, _ in results]
        voted = self._vote([values for values, _ in rows], shares)
        reply: dict[str, Any] = {"id": request.get("id") or event.id, "model_name": self.name}
        tensor_name = rows[0][1]
        if tensor_name is not None:
            reply["outputs"] = tensors.to_tensors(voted, [tensor_name])
        elif self.format_response_with_col_name_flag:
            reply["outputs"] = {self.prediction_col_name: voted}
        else:
            reply["outputs"] = voted
        event.body = reply
        return self.leave(event)

    def models(self) -> dict[str, Any]:
        """List the models, and the ensemble itself."""
        return {"models": [*self.routes, self.name], "weights": self.weights}

    def _asked(self, event: Any, parts: list[str]) -> tuple[str, str]:
        if parts and parts[0] in _OPERATIONS and parts[0] not in self.routes:
            return "", parts[0]
        return self._named(event, parts)

    def _describe(self, event: Any, name: str, operation: str) -> bool:
        if operation not in ("", "ready"):
            return False
        if operation == "ready":
            event.body = Response(body=f"Model {self.name} is ready (event_id = {event.id})".encode())
        elif name:
            event.body = {"name": self.name, "model_endpoint_uid": "", "inputs": [], "outputs": []}
        else:
            event.body = self.models()
        return True

    def _for_route(self, event: Any) -> Any:
        part = copy.copy(event)
        part.body = clone(event.body)
        return part

    def _rows(self, name: str, body: Any) -> tuple[list[Any], str | None]:
        """Return a route's predictions, and the tensor's name if that is what they came in."""
        outputs = body.get("outputs") if isinstance(body, Mapping) else body
        if tensors.are_tensors(outputs):
            array = tensors.to_array(outputs[0])
            rows: list[Any] = (array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array).tolist()
            return rows, outputs[0]["name"]
        if hasattr(outputs, "tolist"):
            outputs = outputs.tolist()
        if not isinstance(outputs, list):
            raise PenstockError(f"route '{name}' gave no list of outputs to vote on")
        return outputs, None

    def _vote(self, columns: list[list[Any]], shares: list[float]) -> list[Any]:
        lengths = {len(column) for column in columns}
        if len(lengths) > 1:
            counts = ", ".join(f"{name}: {len(column)}" for name, column in zip(self.routes, columns, strict=True))
            raise PenstockError(f"the routes gave different numbers of outputs ({counts})")
        if not lengths or lengths == {0}:
            return []
        voted = self.logic([list(row) for row in zip(*columns, strict=True)], shares)
        return voted.tolist() if hasattr(voted, "tolist") else list(voted)

    def _normalised(self, weights: dict[str, float] | None) -> dict[str, float]:
        if not self.routes:
            return {}
        if weights is None:
            return dict.fromkeys(self.routes, 1 / len(self.routes))
        for name, weight in weights.items():
            if name not in self.routes:
                raise GraphError(f"weights name a model '{name}' that is no route{nearest(name, self.routes)}")
            if weight < 0:
                raise GraphError(f"the weight of model '{name}' is below 0")
        total = sum(weights.values())
        if total <= 0:
            raise GraphError("the weights add up to 0, so no model has a vote")
        return {name: weights.get(name, 0) / total for name in self.routes}
