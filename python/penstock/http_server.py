"""The server of a graph, which may be replaced by another while requests come."""

from __future__ import annotations

import gc
import threading
import time
from typing import TYPE_CHECKING

from penstock._core import Server
from penstock.certificates import Certificates
from penstock.counts import Counts, History
from penstock.errors import GraphClosed, GraphError, PortInUse
from penstock.inflow import Inflow
from penstock.loading import await_loaded, watch
from penstock.serve_options import ServeOptions

if TYPE_CHECKING:
    from typing_extensions import Self

    from penstock.server import GraphServer
    from penstock.worker import Worker

_IO_THREADS = 2
_ENTRY_SECONDS = 10.0  # for what is in hand to have entered its graph; microseconds, unless all threads stand still


class HttpServer:
    """The HTTP server of a graph; a context manager that drains at the end.

    Parameters
    ----------
    server : GraphServer
        Its `init_states` has run.
    host : str
        Address to listen on.
    port : int
        0 takes a free one; see the attribute `port`.
    grpc_port : int, optional
        Where gRPC is served, too; 0 takes a free one; see the attribute `grpc_port`.
    options : ServeOptions, optional
        Deadlines, limits, and who may ask.
    worker : Worker, optional
        This process's place among several that listen there.

    Raises
    ------
    PortInUse
        Another process listens there.
    """

    def __init__(
        self,
        server: GraphServer,
        *,
        host: str = "127.0.0.1",
        port: int = 8080,
        grpc_port: int | None = None,
        options: ServeOptions | None = None,
        worker: Worker | None = None,
    ) -> None:
        options = options or ServeOptions()
        self._scheme = options.scheme
        self._certificates = Certificates(options)
        self._graph = server
        self._drain_timeout = options.drain_timeout
        self._worker = worker
        self._history = History()
        self._changing = threading.Lock()  # held by who replaces the graph, and by who ends it
        self._closing = False
        compiled = server.compiled
        assert compiled is not None  # noqa: S101  # init_states has run
        try:
            self._http = Server(
                server.engine.core,
                host=host,
                port=port,
                io_threads=_IO_THREADS,
                responds=compiled.responds,
                deadline=options.deadline,
                grpc_port=grpc_port,
                reuse_port=worker is not None,
                limits=options.limits,
                tokens=list(options.token),
                origins=list(options.cors_origin),
                tls=self._certificates.tls,
            )
        except OSError as error:
            raise PortInUse(str(error)) from error
        self.host = host
        self.port = self._http.port
        self.grpc_port = self._http.grpc_port
        self._began = time.time()
        self._attach(server)
        self._history.enters(server.engine.own_counts)
        if worker is not None:
            worker.start(self.counts)
        watch(compiled.models.values(), self._set_ready)
        self._inflow = self._inflow_of(server)
        server.engine.start()
        if worker is not None and compiled.control is not None:
            for change in worker.changes:
                compiled.control.perform(change)
        self._http.start()
        self._certificates.watch(self._http.set_tls)
        self._inflow.start()

    @property
    def url(self) -> str:
        """Where it answers."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self._scheme}://{host}:{self.port}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self, timeout: float | None = None) -> bool:
        """Drain, then end it all; tell whether all was settled in time."""
        settled = self.drain(timeout)
        self.end()
        return settled

    def replace(self, server: GraphServer) -> bool:
        """Have requests enter another graph, and end the former one once it has finished what it has.

        What has entered the former graph is answered by it, as long as draining may take; what comes from now on,
        by the new one. Streams and triggers of the new graph begin when those of the former one have ended. Another
        thread that replaces the graph waits until this is over.

        Parameters
        ----------
        server : GraphServer
            Its `init_states` has run.

        Returns
        -------
        bool
            Whether all of the former graph was settled in time.

        Raises
        ------
        ModelNotReady
            A model that loads on a thread of its own did not load; the former graph goes on, as after any error.
        GraphClosed
            The server is being stopped.
        GraphError
            The graph is behind a server already.

        Examples
        --------
        >>> import penstock
        >>> def made(handler):
        ...     fn = penstock.new_function("f")
        ...     _ = fn.set_topology("flow").to(handler).respond()
        ...     return fn.to_mock_server()
        >>> with HttpServer(made("(event + 1)"), port=0) as http:
        ...     http.replace(made("(event + 2)"))
        True
        """
        if server.engine.history is not None:
            raise GraphError("the graph is, or was, behind a server already: make another one")
        with self._changing:
            try:
                compiled = server.compiled
                assert compiled is not None  # noqa: S101  # init_states has run
                await_loaded(compiled.models.values(), unless=lambda: self._closing)
                if self._closing:
                    raise GraphClosed("the server is being stopped")
                inflow = self._inflow_of(server)
                self._attach(server)
                server.engine.start()
            except BaseException:
                server.close()
                raise
            settled = self._take_over(server, inflow)
        gc.collect()  # what is left of a graph refers to itself, and may hold large models
        return settled

    def _take_over(self, server: GraphServer, inflow: Inflow) -> bool:
        former, bringing = self._graph, self._inflow
        assert server.compiled is not None  # noqa: S101  # the caller has looked
        self._history.enters(server.engine.own_counts)
        self._http.replace(server.engine.core, responds=server.compiled.responds, timeout=_ENTRY_SECONDS)
        self._graph, self._inflow = server, inflow
        self._set_ready(True)
        try:
            bringing.halt()
            return former.engine.drain(self._drain_timeout)
        finally:
            bringing.close()
            former.close()
            self._http.release(former.engine.core)
            self._history.ended(former.engine.own_counts)
            if not self._closing:
                inflow.start()

    def drain(self, timeout: float | None = None) -> bool:
        """Stop accepting, answer what has come, settle the graph; tell whether all was settled in time."""
        self._closing = True
        timeout = self._drain_timeout if timeout is None else timeout
        end = time.monotonic() + timeout
        answered = self._http.drain(timeout)
        if not self._changing.acquire(timeout=max(0.0, end - time.monotonic())):
            return False  # a former graph has work left
        try:
            self._inflow.halt()
            settled = self._graph.engine.drain(max(0.0, end - time.monotonic()))
            self._inflow.close()
        finally:
            self._changing.release()
        return answered and settled

    def end(self) -> None:
        """Close the server and the graph; waits for handlers that are still at work."""
        self._certificates.close()
        self._http.stop()
        self._graph.close()

    def counts(self) -> Counts:
        """Return what this process has counted, with all graphs that it has had."""
        compiled = self._graph.compiled
        assert compiled is not None  # noqa: S101  # it is served
        return compiled.inspection.counts()

    def _attach(self, server: GraphServer) -> None:
        """Let a graph's own pages tell of the server, and count on from where the graphs before it have come to."""
        server.engine.history = self._history
        assert server.compiled is not None  # noqa: S101  # the callers have looked
        inspection = server.compiled.inspection
        inspection.attach(server.graph, lambda: {**self._history.counts(), **self._http.stats()}, began=self._began)
        control = server.compiled.control
        if control is not None:
            control.core = server.engine.core
        if self._worker is not None:
            inspection.join(self._worker.index, self._worker.total)
        if self._worker is not None and control is not None:
            control.everywhere = self._worker.everywhere
            self._worker.does(control.perform)

    def _inflow_of(self, server: GraphServer) -> Inflow:
        """Make what brings events to a graph beside the callers; of several processes the first hears the clock."""
        return Inflow(server, self._set_ready, clock=self._worker is None or self._worker.index == 0)

    def _set_ready(self, ready: bool) -> None:
        if not self._closing:
            self._http.set_ready(ready)
