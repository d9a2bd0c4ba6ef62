"""The function: a deployable unit with a graph, its parameters and its name."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal, overload

from penstock.errors import GraphError, MLRunInvalidArgumentError
from penstock.function_spec import Metadata, ServingSpec, Status
from penstock.function_text import WrittenFunction
from penstock.graph import RootFlowStep
from penstock.ports import check_port
from penstock.resolve import nearest
from penstock.running import RunningFunction
from penstock.settings import ChildFunction
from penstock.spec import Target, without_empty
from penstock.steps import RouterStep, TaskStep

if TYPE_CHECKING:
    from penstock.deploying.local import LocalServer
    from penstock.server import GraphServer

__all__ = ["Metadata", "ServingFunction", "ServingSpec", "check_port"]

_logger = logging.getLogger("penstock")


class ServingFunction(WrittenFunction, RunningFunction):
    """A function that serves a graph; made by `new_function`, `code_to_function` and `import_function`."""

    def __init__(self, name: str, *, project: str = "", tag: str = "", labels: dict[str, str] | None = None) -> None:
        self.metadata = Metadata(name, project, tag, labels or {})
        self.spec = ServingSpec()
        self.status = Status()
        self.verbose = False
        self._globals: dict[str, Any] = {}  # of whoever made it, if its source is where it was made
        self._workdir: str | None = None
        self._as_mock: bool | None = None
        self._mock: GraphServer | None = None
        self._local: LocalServer | None = None

    def __repr__(self) -> str:
        return f"<ServingFunction '{self.metadata.name}'>"

    @overload
    def set_topology(
        self,
        topology: Literal["flow"],
        class_name: Any = None,
        engine: str | None = None,
        exist_ok: bool = False,
        allow_cyclic: bool = False,
        max_iterations: int | None = None,
        **class_args: Any,
    ) -> RootFlowStep: ...

    @overload
    def set_topology(
        self,
        topology: Literal["router"] = "router",
        class_name: Any = None,
        engine: str | None = None,
        exist_ok: bool = False,
        allow_cyclic: bool = False,
        max_iterations: int | None = None,
        **class_args: Any,
    ) -> RouterStep: ...

    def set_topology(  # noqa: PLR0917  # the order is MLRun's
        self,
        topology: str = "router",
        class_name: Any = None,
        engine: str | None = None,
        exist_ok: bool = False,
        allow_cyclic: bool = False,
        max_iterations: int | None = None,
        **class_args: Any,
    ) -> RootFlowStep | RouterStep:
        """Start the function's graph, and return it.

        Parameters
        ----------
        topology : {"router", "flow"}
            One router with its models, or a graph of steps.
        class_name : str, type or object, optional
            The router's class, by default `ModelRouter`.
        engine : {"async", "sync"}, optional
            For a flow: "sync" promises a line, whose last step answers.
        exist_ok : bool
            Replace a graph that is there.
        allow_cyclic : bool
            For an asynchronous flow: steps may lead back to steps ahead of them (`cycle_to`).
        max_iterations : int, optional
            How often one event may come to a step of a cycle.
        **class_args
            Arguments of the router's class.

        Examples
        --------
        >>> from penstock import new_function
        >>> new_function("f").set_topology("router").add_route("m1", class_name="Model").name
        'm1'
        """
        if self.spec.graph is not None and not exist_ok:
            raise GraphError("graph topology is already set, graph was initialized, use exist_ok=True to override")
        if topology == "flow":
            if class_name is not None or class_args:
                given = ", ".join(["class_name"] * (class_name is not None) + list(class_args))
                raise GraphError(f"a flow takes no {given}; those belong to the router topology")
            flow = RootFlowStep(engine or "async", allow_cyclic=allow_cyclic, max_iterations=max_iterations)
            self.spec.graph = flow
            return flow
        if topology != "router":
            raise GraphError(f"unsupported topology {topology}, use 'router' or 'flow'")
        if allow_cyclic or max_iterations is not None:
            raise GraphError("cyclic graphs are only supported in flow topology with async engine")
        target = Target() if class_name is None else Target.of(class_name, None)
        is_router = target.class_object is None or hasattr(target.class_object, "do_event")
        if class_name is not None and not (target.class_name and is_router):
            raise GraphError("provided class is not a router step, must provide a router class in router topology")
        target.class_name = target.class_name.lstrip("*")
        self.spec.graph = router = RouterStep("", target, class_args)
        return router

    def add_model(
        self,
        key: str,
        model_path: Any = None,
        class_name: Any = None,
        *,
        model_url: str | None = None,
        handler: Any = None,
        router_step: str | None = None,
        child_function: str | None = None,
        creation_strategy: Any = None,
        outputs: list[Any] | None = None,
        **class_args: Any,
    ) -> TaskStep:
        """Add a model to the router, and return its route; without a graph, make a router first.

        Parameters
        ----------
        key : str
            The model's name; "name:version" has a version.
        model_path : str, optional
            Where the model's file is: a path, or a URL.
        class_name : str, type or V2ModelServer, optional
            The model's class, or an object of it; by default ``spec.default_class``.
        model_url : str, optional
            The address of a model that is served elsewhere; instead of a class.
        handler : str, optional
            The method to call, if it is not the class's own choice.
        router_step : str, optional
            In a flow with several routers: which one.
        child_function : str, optional
            The child function that runs the model.
        creation_strategy : optional
            Accepted for MLRun's sake.
        outputs : list, optional
            The names of the model's outputs.
        **class_args
            Arguments of the class; `get_param` finds those that it does not take itself.

        Raises
        ------
        GraphError
            There is no router to add it to, or no class.

        Examples
        --------
        >>> from penstock import new_function
        >>> new_function("f").add_model("m1:v2", class_name="Model", model_path="m.pkl").class_args
        {'model_path': 'm.pkl'}
        """
        if model_url:
            if class_name is not None or model_path is not None:
                raise GraphError(f"model '{key}': give a model_url, or a class_name with its model_path")
            class_name, class_args = "$remote", {"url": str(model_url), **class_args}
        class_name = self.spec.default_class if class_name is None else class_name
        if not class_name and handler is None:
            raise GraphError(f"model '{key}': class_name must be provided (or set fn.spec.default_class)")
        if isinstance(class_name, (int, float, list, tuple, dict)):
            kind = type(class_name).__name__
            raise GraphError(f"model '{key}': class name must be a string, a class or an object of it, not a {kind}")
        router = self._router(router_step)
        if key in router.routes:
            _logger.info("Model %s already exists, updating it.", key)
        if model_path is not None:
            class_args["model_path"] = os.fspath(model_path) if isinstance(model_path, os.PathLike) else str(model_path)
        if outputs:
            class_args["outputs"] = outputs
        return router.add_route(
            key,
            class_name=class_name,
            handler=handler,
            function=child_function,
            creation_strategy=creation_strategy,
            **class_args,
        )

    def remove_states(self, keys: Iterable[str]) -> ServingFunction:
        """Take steps of the flow, or routes of the router, away."""
        if self.spec.graph is not None:
            self.spec.graph.clear_children([keys] if isinstance(keys, str) else keys)
        return self

    def add_child_function(  # the order is MLRun's
        self,
        name: str,
        url: str | None = None,
        image: str | None = None,
        requirements: Any = None,
        kind: str = "serving",
    ) -> ChildFunction:
        """Define a function that runs the steps that name it with ``function=name``; return it.

        Parameters
        ----------
        name : str
            What steps call it.
        url : str, optional
            Its source, a .py or .ipynb file; "./" or nothing for the parent's.
        image : str, optional
            The image that it runs in.
        requirements : list of str, or the path of a file, optional
            Python packages that it needs.
        kind : str
            "serving".

        Examples
        --------
        >>> from penstock import new_function
        >>> child = new_function("nlp").add_child_function("enrich", "./", requirements=["spacy"])
        >>> child.spec.build.commands = ["python -m spacy download en_core_web_sm"]
        >>> child.metadata.name, child.spec.build.requirements
        ('nlp-enrich', ['spacy'])
        """
        if not name or name == "*":
            raise GraphError(f"a child function has a name of its own, not {name!r}")
        child = ChildFunction(name, self.metadata, url=url, image=image, requirements=requirements, kind=kind)
        self.spec.function_refs[name] = child
        return child

    def set_tracking(
        self,
        stream_path: str | None = None,
        sampling_percentage: float = 100,
        stream_args: dict[str, Any] | None = None,
        enable_tracking: bool = True,
    ) -> ServingFunction:
        """Have models write what they are asked, and what they answer, to a stream.

        Parameters
        ----------
        stream_path : str, optional
            Where to; a mock server keeps the records in memory if there is none.
        sampling_percentage : float
            How many of the requests are written.
        stream_args : dict, optional
            Options of the stream.
        enable_tracking : bool
            False ends it.
        """
        if not 0 < sampling_percentage <= 100:
            raise MLRunInvalidArgumentError("`sampling_percentage` must be greater than 0 and less or equal to 100.")
        self.spec.track_models = enable_tracking
        if isinstance(self.spec.graph, RootFlowStep):
            self.spec.graph.track_models = enable_tracking
        for child in self.spec.function_refs.values():
            child.spec.track_models = enable_tracking
        self.spec.parameters["sampling_percentage"] = sampling_percentage
        self.spec.parameters |= without_empty({"log_stream": stream_path, "stream_args": stream_args})
        return self

    def plot(self, filename: str | None = None, format: str | None = None, **options: Any) -> Any:  # noqa: A002
        """Draw the graph; see ``graph.plot``."""
        if self.spec.graph is None:
            raise GraphError("there is no graph to plot, use function.set_topology() and add steps")
        return self.spec.graph.plot(filename, format, **options)

    @property
    def serving_spec(self) -> str:
        """The JSON text that a deployed function is started with."""
        from penstock.documents import to_json

        self.metadata.hash = self._hash()
        return to_json(self._server(is_mock=False).to_dict())

    def _router(self, name: str | None) -> RouterStep:
        graph = self.spec.graph
        if graph is None:
            return self.set_topology("router")
        if isinstance(graph, RouterStep):
            return graph
        routers = {key: step for key, step in graph.steps.items() if isinstance(step, RouterStep)}
        if name is not None:
            if name not in routers:
                raise GraphError(f"router step {name} not present in the graph{nearest(name, routers)}")
            return routers[name]
        if not routers:
            raise GraphError(
                "graph does not contain any router, add_model can only be used when there is a router step"
            )
        if len(routers) > 1:
            raise GraphError(
                f"found {len(routers)} routers, please specify the router_step you would like to add this model to"
            )
        return next(iter(routers.values()))
