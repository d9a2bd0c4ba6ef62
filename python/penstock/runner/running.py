"""The model runner in a server: the models are made, and each event runs through those chosen for it."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import time
import weakref
from collections.abc import Iterable, Sequence
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from penstock.errors import GraphError, ModelRunnerError, PenstockError
from penstock.event import DROPPED, clone
from penstock.paths import get_in, put_in
from penstock.resolve import Resolver, make_object, nearest
from penstock.runner.selector import ModelRunnerSelector

if TYPE_CHECKING:
    from penstock.runner.model import Model
    from penstock.runner.step import ModelRunnerStep

_FAILED = 500


class ModelRunner:
    """What a `ModelRunnerStep` becomes.

    Parameters
    ----------
    graph_step : ModelRunnerStep
        The step; given by the graph.
    context : GraphContext, optional
        Given by the graph.
    resolver : Resolver, optional
        Finds the classes that are named by text.

    Raises
    ------
    GraphError
        The step has no models, or is no step of a flow; or a model could not be made or loaded.
    """

    def __init__(
        self, graph_step: ModelRunnerStep | None = None, context: Any = None, resolver: Resolver | None = None
    ) -> None:
        from penstock.runner.executors import Executors, shared_executors
        from penstock.runner.step import check_endpoints

        root = getattr(context, "root", None)
        step = graph_step
        if step is None or not hasattr(step._parent, "steps"):
            raise GraphError("ModelRunnerStep can be added to 'Flow' topology graph only")
        if not step.models:
            raise GraphError(f"step '{step.name}' has no models: add some with add_model before it is started")
        check_endpoints(root, step.models)
        resolver = resolver or Resolver()
        self.name = step.name
        self._step = step
        self._share = not step.options.copy
        self._selector = _made_selector(step, context, resolver)
        self._endpoints: dict[str, Model] = {name: entry.make(resolver) for name, entry in step.models.items()}
        for model in self._endpoints.values():
            model.context = context
        own = {name: model for name, model in self._endpoints.items() if step.models[name].shared is None}
        proxies = {name: entry.shared for name, entry in step.models.items() if entry.shared is not None}
        with contextlib.ExitStack() as stack:
            shared = None
            if proxies:
                known = root.shared.models if root is not None else {}
                for name, target in proxies.items():
                    if target not in known:
                        raise GraphError(
                            f"model '{name}': the graph has no shared model '{target}'{nearest(target, known)};"
                            " add it with graph.add_shared_model"
                        )
                shared = shared_executors(root, context, resolver)
                stack.callback(shared.leave)
            mechanisms = {name: step.models[name].mechanism for name in own}
            executors = Executors(own, mechanisms, step, f"penstock-{self.name}")
            stack.callback(executors.close)
            self._places = dict.fromkeys(own, (executors, "")) | {
                name: (shared.executors, target) for name, target in proxies.items() if shared is not None
            }
            # Also when the graph goes without being closed, as one does that could not be compiled.
            self._end = weakref.finalize(self, stack.pop_all().close)
            self._end.atexit = False  # processes have their own end then
        self._offer()

    def close(self) -> None:
        """End the threads and processes, and close the models."""
        self._end()

    def pids(self) -> list[int]:
        """Return the ids of the processes that models run in."""
        return sorted({pid for executors, _ in self._places.values() for pid in executors.pids()})

    def _offer(self) -> None:
        """Show the graph the handler that fits the models: a plain one if all run in line, else a coroutine."""
        in_line = all(executors.in_line(target or name) for name, (executors, target) in self._places.items())
        self.do: Any = None
        self.do_event: Any = None
        if self._step.options.max_batch_size > 1:
            if self._selector is not None:
                raise GraphError(
                    f"step '{self.name}': a selector looks at one event, so it cannot have .batch();"
                    " leave one of the two"
                )
            self.do = self._batch_in_line if in_line else self._batch
        else:
            self.do_event = self._event_in_line if in_line else self._event
        outlets = getattr(type(self._selector), "select_outlets", None)
        if outlets is not None and outlets is not ModelRunnerSelector.select_outlets:
            self.select_outlets = self._selector.select_outlets

    def _event_in_line(self, event: Any) -> Any:
        chosen = self._choose(event)
        if not chosen:
            return DROPPED
        body, rows = _rows(get_in(event.body, self._step.input_path))
        when = _now()
        outcomes = [self._run_in_line(name, own, event.path) for name, own in self._bodies(chosen, body)]
        return self._answer(event, rows, chosen, outcomes, when)

    async def _event(self, event: Any) -> Any:
        chosen = self._choose(event)
        if not chosen:
            return DROPPED
        body, rows = _rows(get_in(event.body, self._step.input_path))
        when = _now()
        outcomes = await asyncio.gather(*(self._run(name, own, event.path) for name, own in self._bodies(chosen, body)))
        return self._answer(event, rows, chosen, outcomes, when)

    def _batch_in_line(self, bodies: list[Any]) -> list[Any]:
        chosen = list(self._endpoints)
        outcomes = [self._run_in_line(name, own, "/") for name, own in self._bodies(chosen, bodies)]
        return self._split(len(bodies), chosen, outcomes)

    async def _batch(self, bodies: list[Any]) -> list[Any]:
        chosen = list(self._endpoints)
        outcomes = await asyncio.gather(*(self._run(name, own, "/") for name, own in self._bodies(chosen, bodies)))
        return self._split(len(bodies), chosen, outcomes)

    def _choose(self, event: Any) -> list[str]:
        """Return the names of the models that an event goes to, in the order in which they were added."""
        if self._selector is None:
            return list(self._endpoints)
        models = list(self._endpoints.values())
        choose = getattr(self._selector, "select_models", None) or self._selector.select
        chosen = choose(event, models)
        if chosen is None:
            return list(self._endpoints)
        if isinstance(chosen, str):
            chosen = [chosen]
        names = [model if isinstance(model, str) else model.name for model in chosen]
        for name in names:
            if name not in self._endpoints:
                raise ModelRunnerError(
                    f"the selector chose '{name}', which is no model of this step{nearest(str(name), self._endpoints)}"
                )
        return [name for name in self._endpoints if name in names]

    def _bodies(self, chosen: list[str], body: Any) -> Iterable[tuple[str, Any]]:
        """Give each model a body of its own to change; who runs in another process has one anyway."""
        alone = len(chosen) == 1 or self._share
        for name in chosen:
            executors, target = self._places[name]
            yield name, body if alone or executors.out_of_process(target or name) else clone(body)

    def _run_in_line(self, name: str, body: Any, path: str) -> tuple[Any, BaseException | None, float]:
        executors, target = self._places[name]
        start = time.perf_counter()
        try:
            return executors.run_in_line(target or name, body, path, name), None, time.perf_counter() - start
        except Exception as error:
            return None, error, time.perf_counter() - start

    async def _run(self, name: str, body: Any, path: str) -> tuple[Any, BaseException | None, float]:
        executors, target = self._places[name]
        start = time.perf_counter()
        try:
            return await executors.run(target or name, body, path, name), None, time.perf_counter() - start
        except Exception as error:
            return None, error, time.perf_counter() - start

    def _answer(
        self,
        event: Any,
        rows: Sequence[Any] | None,
        chosen: list[str],
        outcomes: Sequence[tuple[Any, BaseException | None, float]],
        when: str,
    ) -> Any:
        results = self._results(chosen, outcomes)
        facts: dict[str, Any] = {
            "model_runner_name": self.name,
            "inputs": event.body,
            "selected_models": chosen,
        }
        for name, (_, _, seconds) in zip(chosen, outcomes, strict=True):
            facts[name] = {"microsec": round(seconds * 1e6), "when": when}
        event._metadata = facts
        if rows is None:
            result: Any = self._joined(results)
        else:
            result = [_with_body(row, body) for row, body in zip(rows, self._rows_of(results, len(rows)), strict=True)]
        event.body = put_in(event.body, self._step.result_path, result)
        return event

    def _split(
        self, count: int, chosen: list[str], outcomes: Sequence[tuple[Any, BaseException | None, float]]
    ) -> list[Any]:
        return self._rows_of(self._results(chosen, outcomes), count)

    def _results(
        self, chosen: list[str], outcomes: Sequence[tuple[Any, BaseException | None, float]]
    ) -> dict[str, Any]:
        """Return the models' results by name, with texts in the place of those that failed; or raise."""
        results: dict[str, Any] = {}
        raised: dict[str, BaseException] = {}
        for name, (result, error, _) in zip(chosen, outcomes, strict=True):
            results[name] = result
            if error is not None:
                results[name] = _Failed(error)
                if self._step.raise_exception and self._endpoints[name].raise_exception:
                    raised[name] = error
        if raised:
            raise _joined_error(raised)
        return results

    def _joined(self, results: dict[str, Any]) -> Any:
        shown = {name: result.body if isinstance(result, _Failed) else result for name, result in results.items()}
        return shown if len(self._endpoints) > 1 else next(iter(shown.values()))

    def _rows_of(self, results: dict[str, Any], count: int) -> list[Any]:
        """Cut the results of a batch into one for each body."""
        cut: dict[str, Sequence[Any]] = {}
        for name, result in results.items():
            if isinstance(result, _Failed):
                cut[name] = [result] * count
                continue
            if not hasattr(result, "__len__") or isinstance(result, (str, bytes, dict)) or len(result) != count:
                raise ModelRunnerError(
                    f"{name} was given a batch of {count} and returned no list of as many results"
                    f" but an object of type {type(result).__name__}"
                )
            cut[name] = result
        return [self._joined({name: cut[name][row] for name in cut}) for row in range(count)]


class _Failed:
    """The text of a failure, in the place of a result."""

    def __init__(self, error: BaseException) -> None:
        self.body = {"error": f"{type(error).__name__}: {error}"}


def _joined_error(raised: dict[str, BaseException]) -> ModelRunnerError:
    """Make one error of those of several models; a status that all of them ask for is kept."""
    texts = {name: f"{type(error).__name__}: {error}" for name, error in raised.items()}
    error = ModelRunnerError(";\n".join(f"{name} {text}" for name, text in texts.items()), models_errors=texts)
    statuses = {cause.status_code if isinstance(cause, PenstockError) else _FAILED for cause in raised.values()}
    if len(statuses) == 1:
        error.status_code = statuses.pop()
    error.__cause__ = next(iter(raised.values()))
    return error


def _made_selector(step: ModelRunnerStep, context: Any, resolver: Resolver) -> Any:
    selector = step.selector
    if isinstance(selector, str):
        selector = resolver.find(selector, what="selector")
    if isinstance(selector, type):
        selector = make_object(selector, step.selector_parameters, {"context": context}, step.name)
    if selector is not None and not hasattr(selector, "select_models") and not hasattr(selector, "select"):
        raise GraphError(f"step '{step.name}': {type(selector).__name__} is no selector, it has no select_models")
    return selector


def _rows(body: Any) -> tuple[Any, Sequence[Any] | None]:
    """Take a batch of events apart: their bodies for the models, and the events for the way back."""
    if isinstance(body, list) and body and all(type(row).__name__ == "Event" for row in body):
        return [row.body for row in body], body
    return body, None


def _with_body(event: Any, body: Any) -> Any:
    changed = copy.copy(event)
    changed.body = body
    return changed


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(sep=" ", timespec="microseconds")
