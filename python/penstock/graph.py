"""The graph of a function, and how graphs are read back from dicts."""

from __future__ import annotations

from typing import Any, ClassVar, cast

from penstock.errors import GraphError
from penstock.flow import QUEUE_NAMES, FlowStep
from penstock.kinds import step_from_dict
from penstock.runner.shared import SharedModels
from penstock.spec import whole, without_empty
from penstock.steps import RouterStep

__all__ = ["QUEUE_NAMES", "FlowStep", "RootFlowStep", "graph_from_dict", "step_from_dict"]

_SYNC_CYCLE = "Cyclic graphs are not supported with sync engine, please use async engine"


class RootFlowStep(FlowStep):
    """The flow of a function. An event enters at the steps that come after no other.

    Attributes
    ----------
    engine : {"async", "sync"}
        "sync" promises a line, whose last step answers.
    allow_cyclic : bool
        Whether steps may lead back to steps ahead of them.
    max_iterations : int, optional
        How often one event may come to a step that does not say so itself.
    track_models : bool
        Whether models write what they are asked and answer to a stream.
    flow_source : object, optional
        Where events come from, if not from callers.
    """

    kind = "root"
    _written: ClassVar[frozenset[str]] = FlowStep._written | {"allow_cyclic", "track_models", "shared_models"}

    def __init__(self, engine: str = "async", *, allow_cyclic: bool = False, max_iterations: int | None = None) -> None:
        self._engine = engine
        self._allow_cyclic = False
        super().__init__("", engine=engine)
        self.allow_cyclic = allow_cyclic
        if max_iterations is not None:
            self.max_iterations = whole("", "max_iterations", max_iterations)
        self.track_models = False
        self.flow_source: Any = None
        self.shared = SharedModels()

    @property
    def engine(self) -> str:
        """Which engine runs it: "async" or "sync"."""
        return self._engine

    @engine.setter
    def engine(self, engine: str) -> None:
        if engine not in ("async", "sync"):
            raise GraphError(f"engine is 'async' or 'sync', not {engine!r}")
        if engine == "sync" and self._allow_cyclic:
            raise GraphError(_SYNC_CYCLE)
        self._engine = engine

    @property
    def allow_cyclic(self) -> bool:
        """Whether steps may lead back to steps ahead of them."""
        return self._allow_cyclic

    @allow_cyclic.setter
    def allow_cyclic(self, allowed: bool) -> None:
        if allowed and self._engine == "sync":
            raise GraphError(_SYNC_CYCLE)
        self._allow_cyclic = bool(allowed)

    @property
    def may_cycle(self) -> bool:
        """Whether steps may lead back to steps ahead of them."""
        return self._allow_cyclic

    def set_flow_source(self, source: Any) -> RootFlowStep:
        """Say where events come from; ``source.run(server)`` then feeds them."""
        self.flow_source = source
        return self

    def add_shared_model(
        self, name: str, model_class: Any, execution_mechanism: str, model_artifact: Any = None, **arguments: Any
    ) -> None:
        """Add a model that several model runners use, through `ModelRunnerStep.add_shared_model_proxy`.

        Parameters
        ----------
        name : str
            What the runners call it.
        model_class, execution_mechanism, model_artifact, **arguments
            As for `ModelRunnerStep.add_model`.
        """
        self.shared.add(name, model_class, execution_mechanism, model_artifact, **arguments)

    def configure_shared_pool_resource(
        self, max_processes: int | None = None, max_threads: int | None = None, pool_factor: int | None = None
    ) -> None:
        """Bound the processes and threads of the shared models."""
        self.shared.configure(max_processes, max_threads, pool_factor)

    def to_dict(self) -> dict[str, Any]:
        """Write the graph down."""
        return (
            super().to_dict()
            | {"allow_cyclic": self._allow_cyclic}
            | without_empty({"track_models": self.track_models})
            | self.shared.to_dict()
        )

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> RootFlowStep:
        """Read a graph that `to_dict` wrote."""
        return cast(RootFlowStep, graph_from_dict({"kind": cls.kind} | fields))

    def _read(self, fields: dict[str, Any]) -> None:
        self._allow_cyclic = False
        self.engine = fields.get("engine") or "async"
        self.allow_cyclic = bool(fields.get("allow_cyclic", False))
        super()._read(fields)
        self.track_models = bool(fields.get("track_models", False))
        self.shared.read(fields)


def graph_from_dict(fields: dict[str, Any]) -> RootFlowStep | RouterStep:
    """Read a whole graph, of either topology, that `to_dict` wrote.

    Examples
    --------
    >>> graph = graph_from_dict({"kind": "root", "steps": {"a": {"kind": "task", "handler": "(event)"}}})
    >>> graph["a"].handler
    '(event)'
    """
    default = "root" if "steps" in fields else "router"
    kind = fields.get("kind") or default
    graph = step_from_dict(fields.get("name") or "", fields | {"kind": "root" if kind == "flow" else kind})
    if not isinstance(graph, (RootFlowStep, RouterStep)):
        raise GraphError(f"a graph is of kind root or router, not {graph.kind}")
    return graph
