"""The model runner as a step of the graph: which models it has, how each runs, which of them an event goes to."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, ClassVar

from penstock.errors import GraphError, MLRunInvalidArgumentError
from penstock.resolve import qualified_name
from penstock.runner.entries import SHARED, ModelEntry, model_entry
from penstock.spec import Target, plain, whole, without_empty
from penstock.steps import TaskStep

if TYPE_CHECKING:
    from penstock.base import BaseStep

_MODELS = "models"
_MECHANISMS = "execution_mechanism_by_model_name"
_MONITORING = "monitoring_data"
_SELECTOR = "model_runner_selector"
_TAKEN = "The graph already contains the model endpoints named - {}."
_POOL = ("max_processes", "max_threads", "pool_factor")


class ModelRunnerStep(TaskStep):
    """A step that runs several models on each event, all at once.

    With one model its result is the event's body; with several, a dict of the results of those that ran.

    Parameters
    ----------
    name : str
        The step's name.
    model_runner_selector : str, type or ModelRunnerSelector, optional
        Chooses models and next steps for each event; by default all.
    model_runner_selector_parameters : dict, optional
        Arguments for its class.
    raise_exception : bool
        Whether an event fails when a model does; else the text of the failure takes the result's place.
    model_selector, model_selector_parameters : optional
        The older form, a `ModelSelector`.

    Examples
    --------
    >>> import penstock
    >>> from penstock.serving import Model, ModelRunnerStep
    >>> class Times(Model):
    ...     def predict(self, body):
    ...         return body * self.get_param("factor")
    >>> runner = ModelRunnerStep("runner")
    >>> runner.add_model("double", Times, execution_mechanism="naive", factor=2)
    >>> runner.add_model("treble", Times, execution_mechanism="thread_pool", factor=3)
    >>> fn = penstock.new_function("docs")
    >>> _ = fn.set_topology("flow").to(runner).respond()
    >>> with fn.to_mock_server() as server:
    ...     server.test(body=5)
    {'double': 10, 'treble': 15}
    """

    kind = "model_runner"
    _written: ClassVar[frozenset[str]] = TaskStep._written

    def __init__(
        self,
        name: str = "",
        model_runner_selector: Any = None,
        model_runner_selector_parameters: dict[str, Any] | None = None,
        raise_exception: bool = True,
        *,
        model_selector: Any = None,
        model_selector_parameters: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(name)
        if model_runner_selector is not None and model_selector is not None:
            raise GraphError(
                f"step '{name}': model_selector is the old name of model_runner_selector; give one of the two"
            )
        self.models: dict[str, ModelEntry] = {}
        self.raise_exception = raise_exception
        self.selector = model_runner_selector if model_runner_selector is not None else model_selector
        self.selector_parameters = dict(model_runner_selector_parameters or model_selector_parameters or {})
        self.max_processes: int | None = None
        self.max_threads: int | None = None
        self.pool_factor = 1
        if self.selector is None and self.selector_parameters:
            raise MLRunInvalidArgumentError(f"step '{name}': there are selector parameters, and no selector")
        if self.selector_parameters and not isinstance(self.selector, str) and not inspect.isclass(self.selector):
            raise MLRunInvalidArgumentError(
                f"step '{name}': a selector object is made already, it takes no parameters; give its class"
            )
        self._aim()

    def add_model(  # noqa: PLR0917  # the order is MLRun's
        self,
        endpoint_name: str,
        model_class: Any,
        execution_mechanism: str = "thread_pool",
        model_artifact: Any = None,
        labels: Any = None,
        creation_strategy: Any = None,
        inputs: list[str] | None = None,
        outputs: list[str] | None = None,
        input_path: str | None = None,
        result_path: str | None = None,
        override: bool = False,
        *,
        shared_model_name: str | None = None,
        **model_parameters: Any,
    ) -> None:
        """Add a model.

        Parameters
        ----------
        endpoint_name : str
            Its name, which no other model of the graph has.
        model_class : str, type or Model
            A subclass of `Model`, its name, or an object of one.
        execution_mechanism : str
            Where it runs: "process_pool" (processes that this step's models share), "dedicated_process" (one of its
            own), "thread_pool", "asyncio" (its `predict_async`), "shared_executor" (a model of the graph's), "naive"
            (in line).
        model_artifact : str or object, optional
            Where its files are, or an artifact such as an `LLMPromptArtifact`.
        labels, creation_strategy, inputs, outputs : optional
            What is told to who watches the model.
        input_path, result_path : str, optional
            Places in the body, for an `LLModel` and for who watches the model.
        override : bool
            Replace a model of that name.
        shared_model_name : str, optional
            The graph's model that runs for it, with "shared_executor".
        **model_parameters
            Arguments of the class.

        Raises
        ------
        GraphError
            The name is taken, or the mechanism or class is none.
        """
        if not endpoint_name or not isinstance(endpoint_name, str):
            raise GraphError(f"step '{self.name}': a model's name is text, not {endpoint_name!r}")
        if endpoint_name in self.models and not override:
            raise GraphError(f"Model with name {endpoint_name} already exists in this ModelRunnerStep.")
        entry = model_entry(
            endpoint_name,
            model_class,
            execution_mechanism,
            artifact=model_artifact,
            parameters=model_parameters,
            creation_strategy=creation_strategy,
            shared=shared_model_name,
            labels=labels,
            inputs=inputs,
            outputs=outputs,
            input_path=input_path,
            result_path=result_path,
        )
        if (entry.mechanism == SHARED) != (shared_model_name is not None):
            raise GraphError(
                f"model '{endpoint_name}': {SHARED} and shared_model_name go together;"
                " add_shared_model_proxy(endpoint_name, model_artifact, shared_model_name) sets both"
            )
        self._check_elsewhere(endpoint_name)
        self.models[endpoint_name] = entry

    def add_shared_model_proxy(  # noqa: PLR0917  # the order is MLRun's
        self,
        endpoint_name: str,
        model_artifact: Any = None,
        shared_model_name: str | None = None,
        labels: Any = None,
        creation_strategy: Any = None,
        inputs: list[str] | None = None,
        outputs: list[str] | None = None,
        input_path: str | None = None,
        result_path: str | None = None,
        override: bool = False,
    ) -> None:
        """Add an endpoint that a model of the graph's (`graph.add_shared_model`) runs for.

        Parameters
        ----------
        shared_model_name : str
            That model's name.
        endpoint_name, model_artifact, ...
            As for `add_model`; the artifact may be a prompt of this endpoint's own.
        """
        if not shared_model_name:
            raise GraphError(f"model '{endpoint_name}': shared_model_name must be specified")
        self.add_model(
            endpoint_name,
            "penstock.serving.Model",
            SHARED,
            model_artifact,
            labels,
            creation_strategy,
            inputs,
            outputs,
            input_path,
            result_path,
            override,
            shared_model_name=shared_model_name,
        )

    def configure_pool_resource(
        self, max_processes: int | None = None, max_threads: int | None = None, pool_factor: int | None = None
    ) -> None:
        """Bound the processes and threads of this step's models.

        Parameters
        ----------
        max_processes : int, optional
            Default: one for each CPU.
        max_threads : int, optional
            Default: 32.
        pool_factor : int, optional
            Multiplies both.
        """
        configure_pool(self, self.name, max_processes, max_threads, pool_factor)

    def to_dict(self) -> dict[str, Any]:
        """Write the step down, with its models."""
        written = super().to_dict()
        written["class_args"] = models_to_dict(self.models) | pool_to_dict(self)
        if self.selector is not None:
            selector = self.selector
            if not isinstance(selector, str):
                selector = qualified_name(selector if inspect.isclass(selector) else type(selector))
            written["class_args"][_SELECTOR] = [selector, plain(self.selector_parameters)]
        if not self.raise_exception:
            written["class_args"]["raise_exception"] = False
        return written

    def _read(self, fields: dict[str, Any]) -> None:
        super()._read(fields)
        written = dict(fields.get("class_args") or {})
        self.models = models_from_dict(written)
        selector = written.get(_SELECTOR) or written.get("model_selector")
        if isinstance(selector, str):
            selector = [selector, written.get("model_runner_selector_parameters")]
        self.selector, parameters = selector or (None, None)
        self.selector_parameters = dict(parameters or {})
        self.raise_exception = bool(written.get("raise_exception", True))
        self.configure_pool_resource(*(written.get(key) for key in _POOL))
        self._aim()

    def _aim(self) -> None:
        """Say what the compiled graph makes of this step: an object that is given the step."""
        from penstock.runner.running import ModelRunner

        self.target = Target(class_name="penstock.serving.ModelRunner", class_object=ModelRunner)
        self.class_args = {}

    def _check_elsewhere(self, name: str) -> None:
        top: BaseStep = self
        while top._parent is not None:
            top = top._parent
        taken = endpoints_of(top) if top is not self else []
        if taken.count(name) > (name in self.models):
            raise GraphError(_TAKEN.format([name]))


def runners_of(step: Any) -> Iterator[ModelRunnerStep]:
    """Find the model runners of a graph, inner flows included."""
    if isinstance(step, ModelRunnerStep):
        yield step
    for inner in getattr(step, "steps", {}).values():
        yield from runners_of(inner)


def endpoints_of(step: Any) -> list[str]:
    """Return the names of all models of a graph, in runners and in routers."""
    names = [*getattr(step, "models", ())] if isinstance(step, ModelRunnerStep) else [*getattr(step, "routes", ())]
    for inner in getattr(step, "steps", {}).values():
        names += endpoints_of(inner)
    return names


def check_endpoints(root: Any, names: Iterable[str]) -> None:
    """Raise if a graph has several models of one of these names."""
    taken = endpoints_of(root)
    both = sorted(name for name in names if taken.count(name) > 1)
    if both:
        raise GraphError(_TAKEN.format(both))


def configure_pool(
    owner: Any, name: str, max_processes: int | None, max_threads: int | None, pool_factor: int | None
) -> None:
    """Set the bounds of a step's or a graph's pools."""
    for option, value in zip(_POOL, (max_processes, max_threads, pool_factor), strict=True):
        if value is not None:
            setattr(owner, option, whole(name, option, value))


def pool_to_dict(owner: Any) -> dict[str, Any]:
    """Write the bounds down."""
    factor = owner.pool_factor if owner.pool_factor != 1 else None
    return without_empty(
        {"max_processes": owner.max_processes, "max_threads": owner.max_threads, "pool_factor": factor}
    )


def models_to_dict(models: dict[str, ModelEntry]) -> dict[str, Any]:
    """Write models down with MLRun's field names."""
    written = {name: entry.to_dict() for name, entry in models.items()}
    return without_empty(
        {
            _MODELS: {name: made for name, (made, _) in written.items()},
            _MECHANISMS: {name: entry.mechanism for name, entry in models.items()},
            _MONITORING: {name: told for name, (_, told) in written.items() if told},
        }
    )


def models_from_dict(written: dict[str, Any]) -> dict[str, ModelEntry]:
    """Read what `models_to_dict` wrote."""
    mechanisms = written.get(_MECHANISMS) or {}
    monitored = written.get(_MONITORING) or {}
    return {
        name: ModelEntry.from_dict(name, mechanisms.get(name, "thread_pool"), made, monitored.get(name))
        for name, made in (written.get(_MODELS) or {}).items()
    }
