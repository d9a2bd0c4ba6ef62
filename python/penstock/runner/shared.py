"""Models that several model runners of a graph share: what the graph says of them."""

from __future__ import annotations

from typing import Any

from penstock.errors import GraphError
from penstock.runner.entries import SHARED, ModelEntry, model_entry
from penstock.runner.step import configure_pool, models_from_dict, models_to_dict, pool_to_dict
from penstock.spec import without_empty


class SharedModels:
    """The shared models of a graph, as its author describes them."""

    def __init__(self) -> None:
        self.models: dict[str, ModelEntry] = {}
        self.max_processes: int | None = None
        self.max_threads: int | None = None
        self.pool_factor = 1

    def add(
        self,
        name: str,
        model_class: Any,
        execution_mechanism: str,
        model_artifact: Any = None,
        *,
        inputs: list[str] | None = None,
        outputs: list[str] | None = None,
        input_path: str | None = None,
        result_path: str | None = None,
        override: bool = False,
        **model_parameters: Any,
    ) -> None:
        """Add a model; the arguments are those of `ModelRunnerStep.add_model`."""
        if name in self.models and not override:
            raise GraphError(f"there is a shared model named '{name}' already; override=True replaces it")
        if execution_mechanism == SHARED:
            raise GraphError(f"shared model '{name}': {SHARED} is for the endpoints that use it, it needs a way to run")
        self.models[name] = model_entry(
            name,
            model_class,
            execution_mechanism,
            artifact=model_artifact,
            parameters=model_parameters,
            inputs=inputs,
            outputs=outputs,
            input_path=input_path,
            result_path=result_path,
        )

    def configure(self, max_processes: int | None, max_threads: int | None, pool_factor: int | None) -> None:
        """Bound the processes and threads that they share."""
        configure_pool(self, "", max_processes, max_threads, pool_factor)

    def to_dict(self) -> dict[str, Any]:
        """Write them down; nothing if there are none."""
        return without_empty({"shared_models": models_to_dict(self.models) | pool_to_dict(self)})

    def read(self, fields: dict[str, Any]) -> None:
        """Read what `to_dict` wrote."""
        written = fields.get("shared_models") or {}
        self.models = models_from_dict(written)
        self.configure(*(written.get(key) for key in ("max_processes", "max_threads", "pool_factor")))
