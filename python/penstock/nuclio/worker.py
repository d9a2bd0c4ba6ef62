"""A worker of a Nuclio function: one graph in one process, and the events that the processor hands it."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from penstock.documents import read_bytes, unpack
from penstock.errors import GraphError
from penstock.frontend import Frontend
from penstock.inspection import METRICS
from penstock.nuclio import answers, chunks, events
from penstock.nuclio.logs import Lines, NuclioHandler, NuclioLogger, level_of
from penstock.nuclio.records import Records
from penstock.server import GraphServer

if TYPE_CHECKING:
    from types import ModuleType

    from nuclio_sdk import Response

    from penstock._core import Event
    from penstock.counts import Counts

_SPEC_FILE = "serving_spec.json"  # in a folder, where that is what is mounted
_DRAIN_SECONDS = 8.0  # Nuclio waits 10 for a worker, by default
_CLOSE_SECONDS = 1.0  # of these, for what is left to be closed and for the interpreter's end
_AT_ONCE = 64
_LONG = 32 * 1024  # answers that the socket may not take in one piece
_NOTHING = object()
_GETS = ("GET", "HEAD")


def worker_of(context: Any) -> Worker | None:
    """Return what answers the events of a context; None before it is made."""
    return getattr(context, "_penstock", None)


def read_spec() -> dict[str, Any]:
    """Read the specification that the function was deployed with.

    Raises
    ------
    GraphError
        There is none.
    """
    path = os.environ.get("PENSTOCK_SPEC_PATH") or os.environ.get("MLRUN_SERVING_SPEC_PATH")
    packed = os.environ.get("SERVING_SPEC_ENV")
    if path:
        path = os.path.join(path, _SPEC_FILE) if os.path.isdir(path) else path
        if not packed or os.path.exists(path):
            return unpack(read_bytes(path).decode())
    if packed:
        return unpack(packed)
    raise GraphError(
        "Failed to find serving spec in env var or config file: set PENSTOCK_SPEC_PATH to its file, or SERVING_SPEC_ENV"
    )


class Worker:
    """One graph, as a worker of Nuclio runs it.

    Parameters
    ----------
    context : nuclio_sdk.Context
        The worker's context; it leads to this worker from then on.
    namespace : module, dict, or a list of them, optional
        Where names are looked up first.
    """

    def __init__(self, context: Any, namespace: Any = None) -> None:
        self.context = context
        server = GraphServer.from_dict(
            read_spec(), current_function=os.environ.get("SERVING_CURRENT_FUNCTION") or None, is_mock=False
        )
        self.server = server
        self._set_up_logs()
        server.context.worker_id = context.worker_id
        server.context.trigger = getattr(context, "trigger", None)
        server.context.platform = getattr(context, "platform", None)
        try:
            server.init_states(None, [namespace, *_modules(server.filename)])
            server.init_object()
        except BaseException:
            server.close()
            raise
        self._engine = server.engine
        self._engine.start()
        compiled = server.compiled
        assert compiled is not None  # noqa: S101  # init_states has run
        self._models = compiled.models
        self._responds = compiled.responds
        self._inspection = compiled.inspection
        self._inspection.attach(server.graph, self._counts)
        self._frontend = Frontend(server.name, compiled.models, compiled.routers)
        self._records = Records(self._engine, context, compiled, server._failed)
        self._streams = _streams(server.streaming)
        self._threads: ThreadPoolExecutor | None = None
        self._lock = threading.Lock()  # guards the start of _threads
        self._call_back()
        context._server = server
        context._penstock = self

    def _set_up_logs(self) -> None:
        server, level = self.server, level_of(self.server.context.verbose)
        self._lines = Lines(lambda: self.context.logger)
        server.context.logger = NuclioLogger(f"penstock.{server.name}", self._lines, level)
        own = logging.getLogger("penstock")
        own.handlers[:] = [NuclioHandler(self._lines)]
        own.setLevel(level)
        own.propagate = False

    def _call_back(self) -> None:
        platform = getattr(self.context, "platform", None)
        for name, callback in (("termination", self.terminate), ("drain", self.drain)):
            register = getattr(platform, f"set_{name}_callback", None)
            if register is not None:
                register(callback)

    def answer_here(self, event: Any) -> Response:
        """Answer an event on the thread of the processor's loop."""
        self._lines.release()
        # Steps do not see that loop, so that they may run one of their own, as they may elsewhere.
        loop = asyncio._get_running_loop()
        asyncio._set_running_loop(None)
        try:
            response = self.answer(event)
        finally:
            asyncio._set_running_loop(loop)
        self._records.look_later()
        self._hand_over(len(response.body))
        return response

    def _hand_over(self, size: int) -> None:
        """Write the lines of an event ahead of its answer, and none into it."""
        self._lines.flush()
        if size > _LONG:
            self._lines.hold()

    def answer(self, event: Any, *, streams: bool = False) -> Response:
        """Answer an event; whatever happens, this is a response."""
        try:
            if events.is_raw(event):
                events.decode(event)
            kind = events.kind_of(event)
            if events.is_stream(kind):
                return self._records.take(event, self.server.default_content_type)
            headers = events.headers_of(event)
            made = events.called(self._engine.event, event, kind, headers, self.server.default_content_type)
            if kind == "http" and (found := self._of_frontend(event, made)) is not None:
                return found
            return self._ask(made, events.timeout_of(headers), streams=streams)
        except BaseException as error:
            return answers.failure_of(error)

    def _ask(self, made: Event, timeout: float | None, *, streams: bool) -> Response:
        if not self._responds:
            self._engine.submit(made)
            return answers.taken(made.id)
        body = self._engine.run(made, timeout, _NOTHING)
        if body is _NOTHING:
            return answers.nothing()
        if _is_stream(body):
            make = chunks.streaming if streams else chunks.joined
            return make(body, events=chunks.wants_events(made.path, made.headers))
        return answers.answer_of(body)

    def answer_all(self, batch: list[Any]) -> list[Response]:
        """Answer a batch of events, all at once, so that the graph's own batches form."""
        self._lines.release()
        each = map if len(batch) == 1 else self._pool().map
        found = list(each(self._answer_of_batch, batch))
        self._hand_over(sum(len(response.body) for response in found))
        return found

    def _answer_of_batch(self, event: Any) -> Response:
        return answers.with_id(self.answer(event), events.text(event.id))

    async def answer_async(self, event: Any) -> Any:
        """Answer an event, or a batch of them, on other threads."""
        loop = asyncio.get_running_loop()
        if isinstance(event, list):
            return list(
                await asyncio.gather(*(loop.run_in_executor(self._pool(), self._answer_of_batch, one) for one in event))
            )
        run = contextvars.copy_context().run  # Nuclio's logger may be the request's
        response = await loop.run_in_executor(self._pool(), lambda: run(self.answer, event, streams=self._streams))
        self._records.look_later()
        return response

    def _pool(self) -> ThreadPoolExecutor:
        with self._lock:
            if self._threads is None:
                self._threads = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="penstock-nuclio")
            return self._threads

    def _of_frontend(self, event: Any, made: Event) -> Response | None:
        """Answer what is asked about the function and its models, as the HTTP server does ahead of the graph."""
        path, is_get = event.path, event.method in _GETS
        if path in ("/v2/health/live", "/v2/health/ready"):
            if is_get:
                return self._health(path)
            refused = answers.error_of(405, "method not allowed, use GET")
            refused.headers["Allow"] = "GET"
            return refused
        if is_get and path == METRICS:
            return answers.answer_of(self._inspection.answer(made).body)
        asked = is_get and (path.startswith("/v2") or path == "/openapi.json")
        if not asked and not path.startswith("/v2/repository"):
            return None
        return answers.answer_of(made.body) if self._frontend.choose(made) == 0 else None

    def _counts(self) -> Counts:
        core = self._engine.core
        return {"steps": core.stats(), "refused": core.refused}

    def _health(self, path: str) -> Response:
        ready = all(model.ready for model in self._models.values())
        asked = path.endswith("ready")
        response = answers.answer_of({"live": True, "ready": ready} if asked else {"live": True})
        response.status_code = 503 if asked and not ready else 200
        return response

    async def drain(self) -> None:
        """Settle the records of streams that are under way: their partitions go to another worker, or come anew."""
        await self._records.drain(_DRAIN_SECONDS)
        self._records.give_up()

    async def terminate(self) -> None:
        """Settle all, and end the process: Nuclio would go on waiting for one that stays."""
        _end_in(_DRAIN_SECONDS)
        end = time.monotonic() + _DRAIN_SECONDS - _CLOSE_SECONDS
        await self._records.drain((_DRAIN_SECONDS - _CLOSE_SECONDS) / 2)
        settled = await asyncio.get_running_loop().run_in_executor(None, self._engine.drain, end - time.monotonic())
        await self._records.drain(0.0)
        self._lines.flush()
        self.server.close()
        if not settled:  # a handler is still at it, and would keep the interpreter
            _end()
        _end_in(_CLOSE_SECONDS)
        sys.exit(0)


def _end_in(seconds: float) -> None:
    """End the process by then, if it is still there: a thread of a step's own may keep the interpreter."""
    timer = threading.Timer(seconds, _end)
    timer.daemon = True
    timer.start()


def _end() -> None:
    """End the process, whatever runs."""
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(0)  # 1 would end all other workers, too


def _modules(filename: str) -> list[ModuleType | dict[str, Any]]:
    """Return where the function's names are: in the module that Nuclio was told, and in the function's source."""
    from penstock.source_code import load_source

    found: list[Any] = []
    module = os.environ.get("NUCLIO_FUNCTION_HANDLER", "").partition(":")[0]
    if module in sys.modules and not module.startswith("penstock."):
        found.append(sys.modules[module])
    for folder in ("", os.environ.get("NUCLIO_PYTHON_PATH", "/opt/nuclio")):
        path = os.path.join(folder, os.path.basename(filename)) if folder else filename
        if filename and os.path.isfile(path):
            found.append(load_source(path))
            break
    return found


def _is_stream(body: Any) -> bool:
    return hasattr(body, "gi_frame")


def _streams(asked: bool | None) -> bool:
    """Tell whether the processor sends chunks as they come: Nuclio 1.15's does, ahead of that it wrote a repr."""
    if asked is not None:
        return asked
    wrapper: Any = getattr(sys.modules.get("wrapper_common"), "AbstractWrapper", None)
    methods = [getattr(method, "__code__", None) for method in vars(wrapper).values()] if wrapper else []
    return any("from_entrypoint_output_async" in code.co_names for code in methods if code is not None)
