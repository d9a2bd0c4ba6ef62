"""The function: a deployable unit with a graph, its parameters and its name."""

from __future__ import annotations

import dataclasses
import re
import socket
import sys
from types import FrameType
from typing import TYPE_CHECKING, Any, Literal, overload

from penstock.errors import GraphError, MLRunNotImplementedServerError, PortInUse
from penstock.graph import RootFlowStep
from penstock.resolve import nearest
from penstock.spec import Target
from penstock.steps import RouterStep, TaskStep

if TYPE_CHECKING:
    from penstock.server import GraphServer

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")  # DNS-1123, what Kubernetes takes


@dataclasses.dataclass
class Metadata:
    """What a function is called."""

    name: str
    project: str = ""
    tag: str = ""
    labels: dict[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class ServingSpec:
    """What a function is made of.

    Attributes
    ----------
    graph : RootFlowStep or RouterStep, optional
        Set by `set_topology`.
    parameters : dict
        What ``context.get_param`` returns.
    default_class : str
        The class of models that name none.
    default_content_type : str
        The content type of events that have none.
    error_stream : str
        Where failures are to be written.
    """

    graph: RootFlowStep | RouterStep | None = None
    parameters: dict[str, Any] = dataclasses.field(default_factory=dict)
    default_class: str = ""
    default_content_type: str = ""
    error_stream: str = ""


class ServingFunction:
    """A function that serves a graph; made by `new_function`."""

    kind = "serving"

    def __init__(self, name: str, *, project: str = "", tag: str = "", labels: dict[str, str] | None = None) -> None:
        self.metadata = Metadata(name, project, tag, labels or {})
        self.spec = ServingSpec()
        self.verbose = False

    def __repr__(self) -> str:
        return f"<ServingFunction '{self.metadata.name}'>"

    @overload
    def set_topology(
        self,
        topology: Literal["flow"],
        class_name: Any = None,
        engine: str | None = None,
        exist_ok: bool = False,
        **class_args: Any,
    ) -> RootFlowStep: ...

    @overload
    def set_topology(
        self,
        topology: Literal["router"] = "router",
        class_name: Any = None,
        engine: str | None = None,
        exist_ok: bool = False,
        **class_args: Any,
    ) -> RouterStep: ...

    def set_topology(
        self,
        topology: str = "router",
        class_name: Any = None,
        engine: str | None = None,
        exist_ok: bool = False,
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
        **class_args
            Arguments of the router's class.

        Examples
        --------
        >>> new_function("f").set_topology("router").add_route("m1", class_name="Model").name
        'm1'
        """
        if self.spec.graph is not None and not exist_ok:
            raise GraphError("graph topology is already set, graph was initialized, use exist_ok=True to override")
        if topology == "flow":
            if engine not in (None, "async", "sync"):
                raise GraphError(f"engine is 'async' or 'sync', not {engine!r}")
            if class_name is not None or class_args:
                given = ", ".join(["class_name"] * (class_name is not None) + list(class_args))
                raise GraphError(f"a flow takes no {given}; those belong to the router topology")
            self.spec.graph = flow = RootFlowStep(engine or "async")
            return flow
        if topology != "router":
            raise GraphError(f"unsupported topology {topology}, use 'router' or 'flow'")
        target = Target() if class_name is None else Target.of(class_name, None)
        if target.class_object is not None and not hasattr(target.class_object, "do_event"):
            raise GraphError("provided class is not a router step, must provide a router class in router topology")
        target.class_name = target.class_name.lstrip("*")
        self.spec.graph = router = RouterStep("", target, class_args)
        return router

    def add_model(
        self,
        key: str,
        model_path: str | None = None,
        class_name: Any = None,
        *,
        handler: Any = None,
        router_step: str | None = None,
        **class_args: Any,
    ) -> TaskStep:
        """Add a model to the router, and return its route; without a graph, make a router first.

        Parameters
        ----------
        key : str
            The model's name; "name:version" has a version.
        model_path : str, optional
            Where the model's file is.
        class_name : str, type or V2ModelServer, optional
            The model's class, or an object of it; by default ``spec.default_class``.
        handler : str, optional
            The method to call, if it is not the class's own choice.
        router_step : str, optional
            In a flow with several routers: which one.
        **class_args
            Arguments of the class; `get_param` finds those that it does not take itself.

        Raises
        ------
        GraphError
            There is no router to add it to, or no class.
        """
        if class_name is None:
            class_name = self.spec.default_class
        if not class_name and handler is None:
            raise GraphError(f"model '{key}': class_name must be provided (or set fn.spec.default_class)")
        router = self._router(router_step)
        if model_path is not None:
            class_args["model_path"] = str(model_path)
        return router.add_route(key, class_name=class_name, handler=handler, **class_args)

    def to_mock_server(
        self,
        namespace: Any = None,
        current_function: str | None = "*",
        *,
        verbose: bool | None = None,
    ) -> GraphServer:
        """Make a server of the graph, to test it in this process.

        Parameters
        ----------
        namespace : module, dict, or a list of them, optional
            Where class and handler names are looked up, before the caller's module.
        current_function : str, optional
            The child function that runs here; "*" for all.
        verbose : bool, optional
            Log at debug level; by default as ``fn.verbose`` says.

        Raises
        ------
        GraphError
            The graph is wrong.
        """
        server = self._server(current_function, is_mock=True, verbose=verbose)
        server.init_states(None, [namespace, _globals(sys._getframe(1))])
        server.init_object()
        return server

    def serve(
        self,
        host: str = "127.0.0.1",
        port: int = 8080,
        grpc_port: int | None = None,
        workers: int = 1,
        *,
        namespace: Any = None,
        current_function: str | None = None,
    ) -> None:
        """Serve the graph over HTTP until the process is told to stop.

        Parameters
        ----------
        host, port
            Where to listen; port 0 takes a free one.
        grpc_port : int, optional
            Not offered by this version: anything but None is refused.
        workers : int
            Processes; this version runs one, and refuses more.
        namespace : module, dict, or a list of them, optional
            Where class and handler names are looked up, before the caller's module.
        current_function : str, optional
            The child function that runs here; by default all.

        Raises
        ------
        GraphError
            The graph is wrong.
        PortInUse
            Another process listens there.
        MLRunNotImplementedServerError
            gRPC, or more than one process, was asked for.
        """
        if grpc_port is not None:
            raise MLRunNotImplementedServerError("this version of penstock serves HTTP only; leave grpc_port out")
        if workers != 1:
            raise MLRunNotImplementedServerError(f"this version of penstock serves with one process, not {workers}")
        check_port(host, port)
        server = self._server(current_function, is_mock=False, verbose=None)
        server.init_states(None, [namespace, _globals(sys._getframe(1))])
        from penstock.serve import serve

        serve(server, host=host, port=port)

    def _server(self, current_function: str | None, *, is_mock: bool, verbose: bool | None) -> GraphServer:
        from penstock.server import GraphServer

        return GraphServer(
            self.spec.graph,
            name=self.metadata.name,
            parameters=self.spec.parameters,
            verbose=self.verbose if verbose is None else verbose,
            current_function=current_function,
            is_mock=is_mock,
            default_content_type=self.spec.default_content_type or None,
        )

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


def new_function(
    name: str = "",
    project: str = "",
    tag: str = "",
    kind: str = "serving",
    *,
    labels: dict[str, str] | None = None,
) -> ServingFunction:
    """Make a serving function.

    Parameters
    ----------
    name : str
        Lower case letters, digits and "-"; "_" becomes "-".
    project, tag : str, optional
        What else names it.
    kind : str
        "serving", the only kind there is.
    labels : dict, optional
        What else is known about it.

    Raises
    ------
    GraphError
        The name or the kind cannot be.

    Examples
    --------
    >>> new_function("my_server").metadata.name
    'my-server'
    """
    if kind != "serving":
        raise GraphError(f"there is no kind of function '{kind}', only 'serving'")
    normal = (name or "serving").lower().replace("_", "-").replace(" ", "-")
    if not _NAME.fullmatch(normal):
        raise GraphError(f"function name '{name}' is not made of letters, digits and '-', at most 63, ends included")
    return ServingFunction(normal, project=project, tag=tag, labels=labels)


def check_port(host: str, port: int) -> None:
    """Raise if the port is taken, before anything is loaded that takes time.

    Raises
    ------
    PortInUse
        Another process listens there.
    """
    if port == 0:
        return
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise PortInUse(
                f"cannot listen on {host}:{port}: {error.strerror or error}; choose another port"
            ) from error


def _globals(frame: FrameType) -> dict[str, Any]:
    return frame.f_globals
