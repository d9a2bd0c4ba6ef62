"""A function that runs: in a mock server, behind HTTP, or wherever it is called."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Mapping
from types import FrameType
from typing import TYPE_CHECKING, Any, cast

from penstock.errors import GraphError
from penstock.ports import check_port
from penstock.settings import FunctionSettings
from penstock.starting import ended_by

if TYPE_CHECKING:
    from penstock.deploying.local import LocalServer
    from penstock.function import ServingFunction
    from penstock.function_spec import Status
    from penstock.offline.job import Job
    from penstock.serve_options import ServeOptions
    from penstock.server import GraphServer
    from penstock.worker import Worker


class RunningFunction(FunctionSettings):
    """The part of a function that makes servers of it, and calls them."""

    status: Status
    verbose: bool
    _globals: dict[str, Any]
    _workdir: str | None
    _as_mock: bool | None
    _mock: GraphServer | None
    _local: LocalServer | None

    def to_mock_server(
        self,
        namespace: Any = None,
        current_function: str | None = "*",
        track_models: bool = False,
        workdir: str | None = None,
        stream_profile: Any = None,
        *,
        verbose: bool | None = None,
    ) -> GraphServer:
        """Make a server of the graph, to test it in this process.

        Parameters
        ----------
        namespace : module, dict, or a list of them, optional
            Where class and handler names are looked up: before the function's source, and the caller's module.
        current_function : str, optional
            The child function that runs here; "*" for all.
        track_models : bool
            Have models write what they are asked, as after `set_tracking`.
        workdir : str, optional
            Where a relative path of the function's source starts.
        stream_profile : object, optional
            Kept as ``server.stream_profile``, for streams that read it.
        verbose : bool, optional
            Log at debug level; by default as ``fn.verbose`` says.

        Raises
        ------
        GraphError
            The graph is wrong.
        """
        return self._make_mock(
            [namespace, *self._sources(current_function, workdir), _globals(sys._getframe(1))],
            current_function=current_function,
            verbose=verbose,
            track_models=track_models,
            stream_profile=stream_profile,
        )

    def _make_mock(self, namespace: list[Any], **options: Any) -> GraphServer:
        server = self._server(is_mock=True, **options)
        try:
            server.init_states(None, namespace)
            server.init_object()
        except BaseException:
            server.close()
            raise
        return server

    def invoke(
        self,
        path: str = "/",
        body: Any = None,
        method: str | None = None,
        headers: dict[str, str] | None = None,
        *,
        mock: bool | None = None,
        timeout: float | None = 60.0,
    ) -> Any:
        """Call the function where it runs, and return the answer's body.

        It runs at ``fn.status.address``, or at the URL that `path` is; as long as it has neither, a mock server in
        this process answers.

        Parameters
        ----------
        path : str
            The path, or a whole URL.
        body : object, optional
            Sent as JSON, text and bytes as they are.
        method : str, optional
            By default POST if there is a body, else GET.
        headers : dict, optional
            Further headers.
        mock : bool, optional
            True: ask the mock server in any case; False: never.
        timeout : float, optional
            Seconds to wait for a function that runs elsewhere.

        Raises
        ------
        RuntimeError
            The answer is an error.
        FunctionUnreachable
            Nobody answers at the address.
        """
        from penstock.invoke import call, is_url, url_of

        address = self.status.address or (self.spec.command if is_url(self.spec.command) else "")
        asked = mock if mock is not None else self._as_mock
        if asked or (asked is None and not address and not is_url(path)):
            return self._start_mock(_globals(sys._getframe(1))).test(path, body, method or "", headers)
        if not address and not is_url(path):
            raise GraphError(
                f"function '{self.metadata.name}' has no address: serve it, and set fn.status.address to its "
                "host:port, or call invoke(..., mock=True)"
            )
        return call(url_of(address, path), body, method=method, headers=headers, timeout=timeout)

    def _start_mock(self, caller: dict[str, Any]) -> GraphServer:
        if self._mock is None:
            self._mock = self._make_mock([*self._sources("*", None), caller], current_function="*")
        return self._mock

    def _set_as_mock(self, enable: bool) -> None:
        """Have `invoke` ask a mock server, or no longer."""
        self._as_mock = enable
        if self._mock is not None:
            self._mock.close()
            self._mock = None

    def serve(
        self,
        host: str = "127.0.0.1",
        port: int = 8080,
        grpc_port: int | None = None,
        workers: int = 1,
        *,
        namespace: Any = None,
        current_function: str | None = None,
        worker: Worker | None = None,
        renew: Callable[[], tuple[RunningFunction, Any]] | None = None,
        **options: Any,
    ) -> None:
        """Serve the graph over HTTP and gRPC until the process is told to stop.

        Parameters
        ----------
        host, port
            Where to listen; port 0 takes a free one.
        grpc_port : int, optional
            Where gRPC is served, too; 0 takes a free port. Without it there is no gRPC.
        workers : int
            Processes that serve on the one port. With several this program is run once more for each of them, while
            this process only watches over them.
        namespace : module, dict, or a list of them, optional
            Where class and handler names are looked up, before the caller's module.
        current_function : str, optional
            The child function that runs here; by default what SERVING_CURRENT_FUNCTION says, else all.
        worker : Worker, optional
            This process's place among several; by default what the process that started this one has said.
        renew : callable, optional
            Returns the function anew, and its namespace; called at SIGHUP.
        **options
            Of `penstock.serve_options.ServeOptions`: ``token=``, ``cors_origin=``, ``tls_cert=``, ``tls_key=``,
            ``deadline=``, limits.

        Raises
        ------
        GraphError
            The graph is wrong.
        PortInUse
            Another process listens there.
        CertificateError
            A file that TLS needs cannot be used.
        MLRunInvalidArgumentError
            An option has a wrong value.
        """
        from penstock.certificates import load
        from penstock.serve_options import ServeOptions
        from penstock.worker import worker_of

        checked = ServeOptions.of(**options)
        worker = worker or worker_of(os.environ)
        if worker is None and workers > 1:
            from penstock.supervisor import supervise

            code = supervise(workers=workers, host=host, port=port, grpc_port=grpc_port, options=checked)
            if code != 0:
                raise SystemExit(code)
            return
        if worker is not None:
            port, grpc_port = worker.port, worker.grpc_port
        else:
            for number in (port, grpc_port or 0):
                check_port(host, number)
        load(checked)  # what is wrong is said before models are loaded
        current_function = current_function or os.environ.get("SERVING_CURRENT_FUNCTION") or None
        caller = _globals(sys._getframe(1))
        from penstock.serve import serve

        def anew() -> GraphServer:
            assert renew is not None  # noqa: S101  # else it is not called
            function, found = renew()
            return function._to_serve([found], caller, current_function, checked)

        with ended_by(signal.SIGTERM):  # until the server hears it
            serve(
                self._to_serve([namespace], caller, current_function, checked),
                host=host,
                port=port,
                grpc_port=grpc_port,
                options=checked,
                worker=worker,
                renew=None if renew is None else anew,
            )
        if worker is not None:
            raise SystemExit(0)  # what follows in the program is for the process that watches over this one

    def _to_serve(
        self, namespace: list[Any], caller: dict[str, Any], current_function: str | None, options: ServeOptions
    ) -> GraphServer:
        server = self._server(is_mock=False, current_function=current_function)
        server.model_control = options.model_control
        child = self.spec.function_refs.get(current_function or "")
        server.triggers = self.triggers if child is None else child.triggers
        try:
            server.init_states(None, [*namespace, *self._sources(current_function, None), caller])
        except BaseException:
            server.close()
            raise
        return server

    def to_job(self, func_name: str | None = None, *, namespace: Any = None) -> Job:
        """Make an offline job of the function: its graph over the rows of files.

        Parameters
        ----------
        func_name : str, optional
            The job's name; by default the function's, with "-batch".
        namespace : module, dict, or a list of them, optional
            Where class and handler names are looked up, before the function's source and the caller's module.

        Raises
        ------
        MLRunInvalidArgumentError
            The function has child functions, or streams its answers, or the name is too long.
        """
        from penstock.offline.job import Job

        caller = _globals(sys._getframe(1))
        return Job(cast("ServingFunction", self), func_name, namespace=[namespace, caller])

    def deploy(
        self,
        target: str | None = None,
        output: str | None = None,
        *,
        apply: bool = False,
        watch: bool = False,
        **options: Any,
    ) -> str:
        """Start a local server process; or write what another target needs, and have it deployed.

        From then on `invoke` calls the function where it runs.

        Parameters
        ----------
        target : {"nuclio", "compose", "k8s", "kserve"}, optional
            Without it, a process of this machine serves the function until this one ends; it is started again if it
            dies. Its source has to be in a file.
        output : str, optional
            The folder that is written, by default ``deploy/<target>``.
        apply : bool
            Deploy what was written, with the target's own tool.
        watch : bool
            Say what is happening, and what the server says, on standard error.
        **options
            Of a server process: ``host``, ``port``, ``timeout``. Of a target: ``image``, ``namespace``, ``python``,
            ``kafka``, ``include``, ``wheel``, ``dashboard``; see docs/deploying.md.

        Returns
        -------
        str
            The address of the function if it runs, else the folder.

        Raises
        ------
        GraphError
            It cannot be deployed; the text says what to write.
        DeployError
            The server did not start, or a tool failed.
        """
        from penstock.deploying import deploy

        return deploy(
            self, target, output, apply=apply, watch=watch, module=_globals(sys._getframe(1)), options=options
        )

    def undeploy(self) -> None:
        """Stop the local server process that `deploy` started; it finishes what it took."""
        if self._local is not None:
            self._local.close()
            self._local, self.status.address = None, ""

    def _sources(self, current_function: str | None, workdir: str | None) -> list[Any]:
        """Return where names are: in the function's source, its child functions', and where it was made."""
        from penstock.source_code import load_source

        workdir = workdir or self._workdir
        own, base = self.spec.build.further, self.spec.further.get("base_spec") or {}
        code = own.get("functionSourceCode") or _embedded(base)
        found: list[Any] = [
            load_source(self.spec.filename or _source_of(self.spec.command), workdir=workdir, code=code)
        ]
        for name, child in self.spec.function_refs.items():
            if child.url and current_function in (None, "*", name) and child.url.endswith((".py", ".ipynb")):
                found.append(load_source(child.url, workdir=workdir))
        return [*found, self._globals]

    def _server(
        self,
        *,
        is_mock: bool,
        current_function: str | None = None,
        verbose: bool | None = None,
        track_models: bool = False,
        stream_profile: Any = None,
    ) -> GraphServer:
        from penstock.server import GraphServer

        spec = self.spec
        spec.check()
        return GraphServer(
            spec.graph,
            name=self.metadata.name,
            project=self.metadata.project,
            tag=self.metadata.tag,
            function_hash=self.metadata.hash,
            parameters=spec.parameters,
            verbose=self.verbose if verbose is None else verbose,
            current_function=current_function,
            is_mock=is_mock,
            default_content_type=spec.default_content_type or None,
            load_mode=spec.load_mode,
            graph_initializer=spec.graph_initializer,
            error_stream=spec.error_stream,
            secrets=spec.secret_sources,
            track_models=track_models or spec.track_models,
            streaming=spec.streaming,
            functions={name: child.metadata.uri for name, child in spec.function_refs.items()},
            filename=spec.filename,
            trusted_model_paths=spec.trusted_model_paths,
            stream_profile=stream_profile,
        )


def _globals(frame: FrameType) -> dict[str, Any]:
    return frame.f_globals


def _source_of(command: str) -> str:
    return command if command.endswith((".py", ".ipynb")) else ""


def _embedded(base_spec: Mapping[str, Any]) -> str:
    """Find the code that MLRun carries in the Nuclio part of a function."""
    build = (base_spec.get("spec") or {}).get("build") or {}
    return str(build.get("functionSourceCode") or "")
