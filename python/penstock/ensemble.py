"""The ensemble: all models asked at once, one answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from penstock import tensors, votes
from penstock.counting import Count, now
from penstock.errors import BadRequest, GraphError, ModelNotFound, PenstockError, blame
from penstock.event import Response
from penstock.models import V2ModelServer
from penstock.parallel import ParallelRun, Parts, copies
from penstock.resolve import nearest
from penstock.routers import BaseModelRouter, Route
from penstock.versions import unknown

if TYPE_CHECKING:
    from penstock._core import InferenceStats

_PREDICT = ("infer", "predict")
_OPERATIONS = (*_PREDICT, "explain")
_KINDS = (None, "classification", "regression")
_HOOKS = ("parse_event", "preprocess", "scatter", "_enter", "_take", "_parts", "_named", "_asked")


class _Rows:
    """A request that is known to be one of plain rows, so a model's `predict` may have it at once."""

    __slots__ = ("request",)

    def __init__(self, request: dict[str, Any]) -> None:
        self.request = request


class VotingEnsemble(ParallelRun):
    """Asks all models at once and answers with their vote.

    A path that names one model, ``/v2/models/m2/infer``, asks that one alone. To explain is no matter of votes:
    ``explain`` answers with what each model says, by its name.

    Parameters
    ----------
    vote_type : {"classification", "regression"}, optional
        Majority by weight, or weighted mean. Without it the first predictions decide: whole numbers, and
        what is no number, are classes.
    weights : dict of str to float, optional
        By model; their sum may be anything above 0. A model that is not named has no vote. Default: all the same.
    executor_type, on_error
        As for `ParallelRun`. With ``on_error="partial"`` those that answer vote.
    format_response_with_col_name_flag : bool
        Answer ``{"outputs": {column: [...]}}``.
    prediction_col_name : str
        The column's name.
    shard_by_endpoint : bool, optional
        Accepted for MLRun's sake; it is about its monitoring.
    **router_args
        What `BaseModelRouter` takes.
    """

    def __init__(  # noqa: PLR0917  # the order is MLRun's
        self,
        context: Any = None,
        name: str | None = None,
        routes: dict[str, Route] | None = None,
        protocol: str | None = None,
        url_prefix: str | None = None,
        health_prefix: str | None = None,
        vote_type: str | None = None,
        weights: dict[str, float] | None = None,
        executor_type: Any = "thread",
        format_response_with_col_name_flag: bool = False,
        prediction_col_name: str = "prediction",
        shard_by_endpoint: bool | None = None,  # noqa: ARG002  # see above
        **router_args: Any,
    ) -> None:
        super().__init__(
            context, name, routes, protocol, url_prefix, health_prefix, executor_type=executor_type, **router_args
        )
        if vote_type not in _KINDS:
            raise GraphError(f"vote_type is 'classification' or 'regression', not {vote_type!r}")
        self.vote_type = vote_type
        self.weights = weights
        self.format_response_with_col_name_flag = format_response_with_col_name_flag
        self.prediction_col_name = prediction_col_name
        self._stats: InferenceStats | None = None  # set where it gets into a graph that runs
        self._vote_on(self.routes)

    def adopt(self, routes: dict[str, Route]) -> None:
        """Take the routes, and give each its share of the vote."""
        super().adopt(routes)
        self._vote_on(routes)

    def logic(self, predictions: list[list[Any]], weights: list[float]) -> Any:
        """Decide: one result for each row of `predictions`, which has a column a model; `weights` add up to 1.

        Examples
        --------
        >>> VotingEnsemble(vote_type="regression").logic([[1, 3], [5, 7]], [0.5, 0.5])
        [2.0, 6.0]
        """
        if self.vote_type is None:
            self.vote_type = votes.kind_of(predictions)
        return (votes.means if self.vote_type == "regression" else votes.majorities)(predictions, weights)

    def scatter(self, event: Any) -> Parts:
        """Return the routes to ask, each with the event it gets; the number behind the last is the answer itself."""
        operation = self._paths.get(event.path)
        body = event.body
        if operation is not None and type(body) is dict and event.method != "GET" and "data_url" not in body:
            return self._ask_all(event, body, operation)
        self._enter(event)
        parts = self._parts(event)
        own = len(self._names)
        if parts is None:
            event.penstock_asked = "self"
            return [(own, event)]
        name, operation = self._asked(event, parts)
        if event.method == "GET" and name in ("", self.name) and self._describe(event, name, operation):
            event.penstock_asked = "self"
            return [(own, event)]
        key = None if name == self.name and name not in self.routes else self.key_of(name)
        if key is not None:
            event.penstock_asked = "one"
            part = event.__copy__()
            part.path = operation
            return [(self._names.index(key), part)]
        if name not in ("", self.name):
            known = [*self._names, self.name]
            raise ModelNotFound(unknown(name, known, " or an operation alone for ensemble operation"))
        if operation not in ("", *_OPERATIONS):
            raise BadRequest(f"illegal model operation {operation}, method={event.method}")
        event.penstock_asked = operation = operation or "infer"
        return self._ask_all(event, event.body, operation)

    def gather(self, event: Any, results: Parts) -> Any:
        """Make the answer from what the routes gave."""
        asked = self._paths.get(event.path) or event.penstock_asked
        if asked not in _OPERATIONS:
            return self._hand_on(event, *results[0], asked)
        asked_at = now()
        since = getattr(event, "_waited", 0) or asked_at - getattr(event, "penstock_begun", asked_at)
        count = Count(self._stats if asked != "explain" else None, since=since)
        try:
            answered = self._voted(event, results, asked, count)
        except Exception:
            count.failed()
            raise
        count.answered(asked_at)
        return answered

    def _voted(self, event: Any, results: Parts, asked: str, count: Count) -> Any:
        answers, errors = self._sort(results)
        tensor_name = None
        outputs: Any
        if asked == "explain":
            outputs = {name: _outputs_of(result.body) for name, result in answers.items()}
        else:
            columns: list[list[Any]] = []
            for name, result in answers.items():
                column = result.body
                if type(column) is not list:  # a quick answer is one
                    column, tensor_name = self._rows(name, column)
                columns.append(column)
            count.asked(len(columns[0]) if columns else 0)
            outputs = self._vote(answers, columns)
            if self.format_response_with_col_name_flag and tensor_name is None:
                outputs = {self.prediction_col_name: outputs}
        body = event.body
        request_id = body.get("id") if isinstance(body, dict) else None
        if tensor_name is not None:
            outputs = tensors.to_tensors(outputs, [tensor_name])
        elif not request_id:
            request_id = event.id
        reply = {"id": request_id, "model_name": self.name, "outputs": outputs}
        if not request_id:  # a protocol's client gets one back if it gave one
            del reply["id"]
        event.body = self._with_errors(reply, errors) if errors else reply
        return self.leave(event) if self._finishes else event

    def models(self) -> dict[str, Any]:
        """List the models, and the ensemble itself."""
        return {"models": [*self.routes, self.name], "weights": self.weights}

    def quick(self, route: Route) -> Callable[[Any], Any] | None:
        """Return what asks a model, if nothing is to be done around its `predict`: a vote needs the outputs only."""
        model = route.object
        if not isinstance(model, V2ModelServer) or not model._native or route.is_async:
            return None
        do_event, predict = route.called.do_event, route.called.predict

        def ask(event: Any) -> Any:
            body = event.body
            if type(body) is not _Rows:
                return do_event(event)
            count = Count(model._stats, event._waited)
            count.asked(len(body.request["inputs"]))
            try:
                outputs = predict(body.request)
            except Exception:
                count.failed()
                raise
            event.body = outputs if type(outputs) is list else {"outputs": outputs}
            count.answered(now())
            return event

        self._quick.add(route.name)
        return ask

    def _vote_on(self, routes: dict[str, Route]) -> None:
        self._shares = self._normalised(self.weights)
        self._even = list(self._shares.values())
        self._quick: set[str] = set()
        self._paths = self._plain_paths() if routes else {}
        self._finishes = self.leaves

    def _plain_paths(self) -> dict[str, str]:
        """Return the operation by the paths that ask the whole ensemble, if nothing but the path decides."""
        own = all(getattr(type(self), hook) is getattr(VotingEnsemble, hook) for hook in _HOOKS)
        if not own or self._input_path or self._result_path:
            return {}
        paths = {}
        for operation in _OPERATIONS:
            if operation not in self.routes:
                paths[f"{self.url_prefix}/{operation}"] = operation
            if self.name not in self.routes:
                paths[f"{self.url_prefix}/{self.name}/{operation}"] = operation
        return paths

    def _ask_all(self, event: Any, body: Any, operation: str) -> Parts:
        path = event.path
        event.path = operation  # of the parts, which are copies; what waits for them goes on with its own
        names = self._names
        inputs = body.get("inputs") if type(body) is dict and operation != "explain" else None
        plain = type(inputs) is list and not (inputs and isinstance(inputs[0], Mapping))
        if not plain or len(self._quick) < len(names):
            parts = self._to_all(event)
        else:
            parts = []
            for outlet, request in enumerate(copies(body, len(names))):
                part = event.__copy__()
                part.body = _Rows(request)
                parts.append((outlet, part))
        event.path = path
        return parts

    def _hand_on(self, event: Any, outlet: int, result: Any, asked: str) -> Any:
        """Answer with what one model, or the ensemble itself, has said."""
        if isinstance(result, BaseException):
            if outlet < len(self._names):
                blame(result, self.routes[self._names[outlet]].step)
            raise result
        event.body = result.body
        if asked == "self" or getattr(result, "terminated", False):
            event.terminated = True
            return event
        return self.leave(event)

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

    def _enter(self, event: Any) -> None:
        BaseModelRouter._enter(self, event)

    def _rows(self, name: str, body: Any) -> tuple[list[Any], str | None]:
        """Return a route's predictions, and the tensor's name if that is what they came in."""
        outputs: Any = _outputs_of(body)
        if type(outputs) is list and not (outputs and isinstance(outputs[0], Mapping)):
            return outputs, None
        if tensors.are_tensors(outputs):
            array = tensors.to_array(outputs[0])
            rows: list[Any] = (array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array).tolist()
            return rows, outputs[0]["name"]
        if hasattr(outputs, "tolist"):
            outputs = outputs.tolist()
        if not isinstance(outputs, (list, tuple)):
            raise PenstockError(f"route '{name}' gave no list of outputs to vote on")
        return list(outputs), None

    def _vote(self, names: Mapping[str, Any], columns: list[list[Any]]) -> list[Any]:
        try:
            rows = list(map(list, zip(*columns, strict=True)))
        except ValueError:
            counts = ", ".join(f"{name}: {len(column)}" for name, column in zip(names, columns, strict=True))
            raise PenstockError(f"the routes gave different numbers of outputs ({counts})") from None
        if not rows:
            return []
        shares = self._even
        if len(names) < len(shares):
            shares = [self._shares[name] for name in names]
            total = sum(shares)
            if total <= 0:
                raise PenstockError(f"only {', '.join(names)} answered, which have no vote")
            shares = [share / total for share in shares]
        voted = self.logic(rows, shares)
        if type(voted) is list:
            return voted
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


def _outputs_of(body: Any) -> Any:
    return body.get("outputs") if isinstance(body, Mapping) else body
