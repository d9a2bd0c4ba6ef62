"""The ensemble: all models asked at once, one answer."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from penstock import tensors
from penstock.errors import BadRequest, GraphError, ModelNotFound, PenstockError, blame
from penstock.event import Response, clone
from penstock.resolve import nearest
from penstock.routers import ModelRouter, Route

_OPERATIONS = ("infer", "predict", "explain")


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
        if name in self.routes and event.method == "GET" and operation in ("", "ready"):
            event.path = operation
            event.body = self.routes[name].run(copy.copy(event)).body
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
        tensor_name = rows[0][1]
        request_id = request.get("id") or (event.id if tensor_name is None else "")
        reply: dict[str, Any] = {"id": request_id} if request_id else {}
        reply["model_name"] = self.name
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
        outputs: Any = body.get("outputs") if isinstance(body, Mapping) else body
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
