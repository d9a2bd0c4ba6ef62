"""The graph server: a compiled graph that takes events, in a test or behind a wire."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any

from penstock.asking import decoded, failed, is_empty, text_of_body
from penstock.compile import compile_graph
from penstock.compiled import Compiled
from penstock.context import GraphContext
from penstock.documents import unpack
from penstock.error_stream import ErrorStream
from penstock.errors import PenstockError, StepError
from penstock.event import Response, is_json
from penstock.function_spec import Metadata
from penstock.graph import RootFlowStep, graph_from_dict
from penstock.partition import function_here
from penstock.queues import reached_as
from penstock.resolve import Resolver
from penstock.secret_store import SecretStore
from penstock.server_text import WrittenServer, refuse_foreign, server_arguments
from penstock.steps import RouterStep

if TYPE_CHECKING:
    from datetime import datetime

    from typing_extensions import Self

    from penstock._core import Event
    from penstock.engine import Engine

_EVENT_ID = "mlrun-event-id"
_EVENT_PATH = "mlrun-event-path"
_EVENT_FIELDS = ("content_type", "headers", "id", "trigger", "offset", "time")
_DRAIN_SECONDS = 3600.0  # for wait_for_completion: longer than any graph that still moves


class GraphServer(WrittenServer):
    """A graph that runs: `test` sends it an event, `wait_for_completion` lets it finish.

    Use it in a `with` statement, or call `wait_for_completion` at the end.

    Parameters
    ----------
    graph : RootFlowStep or RouterStep
        The graph.
    name : str
        The function's name.
    parameters : dict, optional
        What ``context.get_param`` returns.
    verbose : bool
        Log at debug level.
    current_function : str
        The child function that runs here; "*" for all.
    is_mock : bool
        Whether this is a test.
    default_content_type : str, optional
        The content type of events that have none.
    load_mode : {None, "sync", "async"}
        Whether models load before the graph runs, or while it does.
    graph_initializer : str or callable, optional
        Called with the server before the graph is made.
    error_stream : str, optional
        Where failures are written.
    secrets : SecretStore, optional
        What ``context.get_secret`` asks.
    track_models : bool
        Whether models write what they are asked and answer to a stream.

    Examples
    --------
    >>> import penstock
    >>> fn = penstock.new_function("add")
    >>> _ = fn.set_topology("flow").to("(event + 1)").respond()
    >>> with fn.to_mock_server() as server:
    ...     server.test(body=5)
    6
    """

    def __init__(
        self,
        graph: RootFlowStep | RouterStep | None = None,
        *,
        name: str = "",
        project: str = "",
        tag: str = "",
        function_hash: str = "",
        parameters: dict[str, Any] | None = None,
        verbose: bool = False,
        current_function: str | None = None,
        is_mock: bool = False,
        default_content_type: str | None = None,
        load_mode: str | None = None,
        graph_initializer: str | Callable[[GraphServer], Any] | None = None,
        error_stream: str | None = None,
        secrets: SecretStore | None = None,
        track_models: bool = False,
        streaming: bool | None = None,
        functions: dict[str, str] | None = None,
        filename: str = "",
        trusted_model_paths: Iterable[str] = (),
        stream_profile: Any = None,
    ) -> None:
        self.graph = graph
        self.name = name
        self.metadata = Metadata(name, project, tag, hash=function_hash)
        self.default_content_type = default_content_type
        self.load_mode = load_mode
        self.graph_initializer = graph_initializer
        self.error_stream = error_stream or ""
        self.track_models = track_models
        self.streaming = streaming
        self.functions = functions or {}
        self.filename = filename
        self.stream_profile = stream_profile
        # What brings events beside callers and queues; None where others see to all of that.
        self.triggers: dict[str, dict[str, Any]] | None = None
        self.model_control = False  # whether callers may load and unload models
        self.compiled: Compiled | None = None
        self._secrets = secrets or SecretStore()
        self._parameters = parameters or {}
        self._errors: ErrorStream | None = None
        self._responds = False
        self._engine: Engine | None = None
        self.context = GraphContext(
            name=name,
            parameters=parameters,
            root=graph,
            verbose=verbose,
            current_function=function_here(current_function, name, functions or {}),
            is_mock=is_mock,
            server=self,
            project=project,
            secrets=self._secrets,
            load_mode=load_mode,
            track_models=track_models,
            trusted_model_paths=trusted_model_paths,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.wait_for_completion()
        else:
            self.close()

    def init_states(self, context: GraphContext | None = None, namespace: Any = None) -> None:
        """Check the graph, make its objects (models load) and its plan.

        Parameters
        ----------
        context : GraphContext, optional
            Another context for the steps.
        namespace : module, dict, or a list of them, optional
            Where class and handler names are looked up first.

        Raises
        ------
        GraphError
            The graph is wrong.
        """
        self.context = context or self.context
        self._compile(Resolver(namespace))

    def init_object(self, namespace: Any = None) -> None:
        """Start the engine; names are looked up now if they were not before."""
        if self.compiled is None:
            self.init_states(None, namespace)
        self._start()

    @property
    def engine(self) -> Engine:
        """The engine that runs the graph; it is made at the first use."""
        return self._engine or self._start()

    def test(  # noqa: PLR0917  # the order is MLRun's
        self,
        path: str = "/",
        body: Any = None,
        method: str = "",
        headers: dict[str, str] | None = None,
        content_type: str | None = None,
        silent: bool = False,
        get_body: bool = True,
        event_id: str | None = None,
        trigger: Any = None,
        offset: Any = None,
        time: datetime | None = None,
        *,
        timeout: float | None = None,
    ) -> Any:
        """Send one event through the graph and return the answer.

        Parameters
        ----------
        path : str
            The event's path.
        body : object, optional
            The event's body; text and bytes are read as JSON if they are.
        method : str
            By default POST if there is a body, else GET.
        headers : dict, optional
            ``MLRUN-EVENT-ID`` and ``MLRUN-EVENT-PATH`` set the event's id and path.
        content_type : str, optional
            The body's type.
        silent : bool
            Return a failure as a `Response`, do not raise it.
        get_body : bool
            Return the body alone; else always a `Response`.
        event_id, trigger, offset, time : optional
            What else an event has.
        timeout : float, optional
            Seconds until the event fails with 504.

        Returns
        -------
        object
            The body that the responder gave; None if the event was filtered out; the event's id in a dict if
            the graph has no responder.

        Raises
        ------
        StepError
            The event failed; the step is named, and the cause is the step's own exception.
        GraphClosed
            The graph was drained before.
        """
        engine = self._engine or self._start()
        try:
            if headers:
                named = {key.lower(): value for key, value in headers.items()}
                event_id = named.get(_EVENT_ID, event_id)
                path = named.get(_EVENT_PATH, path)
                content_type = content_type or named.get("content-type")
            content_type = content_type or self.default_content_type
            if isinstance(body, (str, bytes)) and body and (not content_type or is_json(content_type)):
                body = decoded(body, content_type)
            method = method or ("GET" if is_empty(body) else "POST")
            event = engine.event(body, path=path, method=method)
            # Set one by one, as most calls set none: that is cheaper than ten arguments.
            given = (content_type, headers, event_id or self._new_id(), trigger, offset, time)
            if any(value is not None for value in given):
                for name, value in zip(_EVENT_FIELDS, given, strict=True):
                    if value is not None:
                        setattr(event, name, value)
            answer = self.run(event, timeout=timeout)
            if isinstance(answer, Response) and answer.status_code >= 300 and not silent:
                raise StepError(text_of_body(answer.body), status_code=answer.status_code)
        except PenstockError as error:
            if not silent:
                raise
            return failed(error)
        if get_body or isinstance(answer, Response):
            return answer
        content_type = "application/json" if isinstance(answer, (dict, list)) else "text/plain"
        return Response(body=answer, content_type=content_type)

    def _new_id(self) -> str | None:
        """Make an id if a record may ask for it; else the event makes one when a step does."""
        return None if self._errors is None else uuid.uuid4().hex

    def run(self, event: Event, *, timeout: float | None = None) -> Any:
        """Send an event through the graph; return the answer's body, or the event's id without a responder."""
        engine = self._engine or self._start()
        if self._responds:
            return engine.run(event, timeout)
        engine.submit(event)
        return {"id": event.id}

    def _start(self) -> Engine:
        from penstock.engine import Engine, loop

        compiled = self.compiled or self._compile(Resolver(sys.modules.get("__main__")))
        self._engine = Engine(
            compiled.plan, self.name, on_failure=self._failed, results=compiled.results, closers=compiled.closers
        )
        self._engine.inferences = compiled.inspection.inferences
        if compiled.coroutines:
            loop.start()
        return self._engine

    def _compile(self, resolver: Resolver) -> Compiled:
        if self.graph_initializer is not None:
            resolver.function(self.graph_initializer, what="graph_initializer")(self)
        if self.error_stream and self._errors is None:
            self.set_error_stream(self.error_stream)
        refuse_foreign(self.graph)
        self.compiled = compile_graph(self.graph, self.context, resolver)
        self._responds = self.compiled.responds
        return self.compiled

    def wait_for_completion(self, timeout: float = _DRAIN_SECONDS) -> Any:
        """Wait until all events are settled, then close: a graph that was waited for takes no more events.

        Returns
        -------
        object
            What a step gives at the end (a reduction's value); None if there is no such step.
        """
        result = self.engine.finish(timeout)
        self.close()
        return result

    def set_error_stream(self, path: str | None) -> None:
        """Write failures to a stream from now on; None ends that.

        Raises
        ------
        GraphError
            The path is that of no stream.
        """
        before = self._errors
        uri, worker = self.metadata.uri, self.context.worker_id
        options = reached_as(path, self.graph, self.triggers or {})
        self._errors = ErrorStream(path, function_uri=uri, worker=worker, options=options) if path else None
        self.error_stream = path or ""
        if before is not None:
            before.close()

    @property
    def _error_stream_object(self) -> Any:
        """The stream that failures are written to, under the name that tests of MLRun graphs use."""
        return self._errors.stream if self._errors is not None else None

    def report(self, event: Any, message: str, source: str, facts: dict[str, Any]) -> None:
        """Write a failure that a step has reported to the error stream."""
        if self._errors is not None:
            event_id, body = str(getattr(event, "id", "")), getattr(event, "body", None)
            self._errors.push(source=source, message=message, event_id=event_id, body=body, args=facts)

    def _failed(self, step: str, text: str, event_id: str, cause: BaseException | None, body: Any) -> None:
        """Write a failure that no error handler took to the error stream; the engine has logged it."""
        if self._errors is not None:
            self._errors.push(source=step, message=text, event_id=event_id, body=body, cause=cause)

    @classmethod
    def from_dict(cls, fields: dict[str, Any] | str, **options: Any) -> GraphServer:
        """Make a server of what `to_dict` or ``fn.serving_spec`` has written, MLRun's too.

        Parameters
        ----------
        fields : dict or str
            The fields; or their JSON, also as base64 of gzip of it.
        **options
            Arguments of the server that no specification has: `current_function`, `is_mock`.
        """
        return cls(**(server_arguments(unpack(fields) if isinstance(fields, str) else fields) | options))

    def close(self) -> None:
        """Close without waiting for events that are still under way."""
        if self._engine is not None:
            self._engine.close()
        elif self.compiled is not None:
            for close in self.compiled.closers:
                close()
        if self._errors is not None:
            self._errors.close()
        if self.context.stream is not None:
            self.context.stream.close()


def create_graph_server(
    parameters: dict[str, Any] | None = None,
    load_mode: str | None = None,
    graph: RootFlowStep | RouterStep | dict[str, Any] | None = None,
    verbose: bool = False,
    current_function: str | None = None,
    **options: Any,
) -> GraphServer:
    """Make a server of a graph without a function around it.

    Examples
    --------
    >>> from penstock.graph import RootFlowStep
    >>> graph = RootFlowStep()
    >>> _ = graph.to("(event * 2)").respond()
    >>> with create_graph_server(graph=graph) as server:
    ...     server.test(body=4)
    8
    """
    if isinstance(graph, dict):
        graph = graph_from_dict(graph)
    return GraphServer(
        graph,
        parameters=parameters,
        load_mode=load_mode,
        verbose=verbose,
        current_function=current_function,
        is_mock=True,
        **options,
    )
