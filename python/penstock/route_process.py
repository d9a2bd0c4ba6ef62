"""Routes in processes of their own, for models that compute in Python and would share one interpreter otherwise.

A process makes its route's object itself, so a model is loaded there and only there; requests and answers
cross by pickle. Processes are spawned, never forked.
"""

from __future__ import annotations

import dataclasses
import inspect
import multiprocessing
import pickle
import signal
import threading
from typing import TYPE_CHECKING, Any

from penstock.counting import Count, now
from penstock.errors import GraphError, PenstockError, StepNotReady, describe
from penstock.handlers import load_step
from penstock.infer import rows_in
from penstock.models import V2ModelServer
from penstock.natives import is_storey_name
from penstock.operations import PREDICT, operation_of
from penstock.resolve import Resolver, is_expression
from penstock.spec import Target
from penstock.steps import TaskStep

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.process import BaseProcess

    from penstock._core import InferenceStats

_JOIN_SECONDS = 2.0  # how long a process that was told to end may take
_SENT = ("path", "method", "content_type", "headers", "key")
_IMPORTABLE = "a class or function must be at the top of a module that can be imported"


class RouteProcess:
    """One route, run in a process; it handles one event at a time.

    Parameters
    ----------
    route : TaskStep
        The route.
    name : str
        The name of its step.
    context : GraphContext
        The graph's context; the process has one of its own with the same parameters.
    resolver : Resolver
        Finds what the route names, here: the process has no namespaces.

    Raises
    ------
    GraphError
        The route cannot be sent to a process.
    """

    def __init__(self, route: TaskStep, name: str, context: Any, resolver: Resolver) -> None:
        self.name = name
        self._recipe = _recipe(route, name, context, resolver)
        self._process: BaseProcess | None = None
        self._connection: Connection | None = None
        self.model: ProcessModel | None = None
        self._closed = False
        self._lock = threading.Lock()  # one call at a time

    def start(self) -> None:
        """Start the process; `wait` for it before it is used."""
        spawning = multiprocessing.get_context("spawn")
        self._connection, theirs = spawning.Pipe()
        self._process = spawning.Process(
            target=_serve, args=(theirs, self._recipe), name=f"penstock-{self.name}", daemon=True
        )
        self._process.start()
        theirs.close()

    def wait(self) -> None:
        """Wait until the process has made its route.

        Raises
        ------
        StepNotReady
            It could not.
        """
        try:
            failure, described = self._receive()
        except EOFError:
            code = self._end()
            raise StepNotReady(
                f"route '{self.name}': its process ended with code {code} before it was ready; a script that is "
                "started with python needs its code below: if __name__ == '__main__':"
            ) from None
        if failure is not None:
            self._end()
            raise StepNotReady(f"route '{self.name}' in its process: {failure}")
        self.model = None if described is None else ProcessModel(**described)

    def do_event(self, event: Any) -> Any:
        """Have the process handle an event; return the event with the answer.

        Raises
        ------
        Exception
            What the route raised; or a PenstockError if the process ended. The next event gets a new one.
        """
        if self.model is None or self.model._stats is None or operation_of(event) not in PREDICT:
            return self._ask(event)
        count = Count(self.model._stats, event._waited)
        count.asked(rows_in(event.body))
        try:
            answer = self._ask(event)
        except Exception:
            count.failed()
            raise
        count.answered(now())
        return answer

    def _ask(self, event: Any) -> Any:
        request = (event.body, event.id, {field: getattr(event, field) for field in _SENT})
        try:
            sent = pickle.dumps(request, pickle.HIGHEST_PROTOCOL)
        except Exception as error:
            raise PenstockError(f"route '{self.name}': the event cannot be sent to its process: {error}") from error
        with self._lock:
            if self._closed:
                raise PenstockError(f"route '{self.name}': its process has ended with the graph")
            if self._process is None:
                self.start()
                self.wait()
            try:
                self._connected.send_bytes(sent)
                failure, event.body, event.terminated = self._receive()
            except (EOFError, OSError) as broken:
                code = self._end()
                raise PenstockError(f"route '{self.name}': its process ended with code {code}") from broken
        if failure is not None:
            raise failure
        return event

    def close(self) -> None:
        """End the process; a call that is under way fails."""
        self._closed = True
        process = self._process
        if not self._lock.acquire(timeout=0.0):
            if process is not None:
                process.terminate()  # the call that has the lock sees its pipe end
            self._lock.acquire()
        try:
            self._end()
        finally:
            self._lock.release()

    @property
    def _connected(self) -> Connection:
        assert self._connection is not None  # noqa: S101  # set with the process
        return self._connection

    def _receive(self) -> Any:
        return pickle.loads(self._connected.recv_bytes())  # noqa: S301  # from a process that was started here

    def _end(self) -> int | None:
        process, self._process = self._process, None
        if process is None:
            return None
        self._connected.close()  # which tells the process to end
        process.join(_JOIN_SECONDS)
        if process.is_alive():
            process.kill()
            process.join()
        code = process.exitcode
        process.close()
        return code


@dataclasses.dataclass
class ProcessModel:
    """What the protocol's metadata calls need to know about a model that is in a process."""

    name: str
    inputs: list[dict[str, Any]]
    outputs: list[dict[str, Any]]
    described: dict[str, Any]
    ready: bool = True
    _stats: InferenceStats | None = None
    _loading: None = None  # the graph waits for its processes, so that none is still loading

    def metadata(self) -> dict[str, Any]:
        """Describe the model as it described itself when it was loaded."""
        return dict(self.described)


def _recipe(route: TaskStep, name: str, context: Any, resolver: Resolver) -> bytes:
    """Write down how to make the route's object in another process."""
    if route.options.max_batch_size > 1:
        raise GraphError(f"route '{name}': it runs in a process of its own, so it cannot have .batch()")
    target = route.target
    found, handler = target.class_object, target.handler_object
    if found is None and route.class_name and not is_storey_name(route.class_name):
        found = resolver.find(route.class_name)
    if found is None and handler is None and route.handler and not is_expression(route.handler):
        handler = resolver.function(route.handler)
    sent = TaskStep(
        route.name, Target(route.class_name, route.handler, found, handler), resolver.class_args(route.class_args)
    )
    sent.full_event, sent.input_path, sent.result_path = route.full_event, route.input_path, route.result_path
    fields = {
        "name": context.name,
        "parameters": context._parameters,
        "verbose": context.verbose,
        "current_function": context.current_function,
        "is_mock": context.is_mock,
    }
    try:
        return pickle.dumps((sent, name, fields), pickle.HIGHEST_PROTOCOL)
    except Exception as error:
        raise GraphError(f"route '{name}' cannot be sent to a process: {error}; {_IMPORTABLE}") from error


def _serve(connection: Connection, recipe: bytes) -> None:
    """Make the route and answer requests until the other end of the pipe closes; runs in the process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent's to handle
    try:
        route = _made(recipe)
    except BaseException as error:
        text = str(error) if isinstance(error, PenstockError) else f"{type(error).__name__}: {error}"
        text = f"{text}; {_IMPORTABLE}" if isinstance(error, (AttributeError, ImportError)) else text
        connection.send_bytes(pickle.dumps((text, None)))
        return
    try:
        connection.send_bytes(pickle.dumps((None, _described(route.object))))
        while True:
            _send(connection, _answer(route, connection.recv_bytes()))
    except (EOFError, OSError):
        return


def _made(recipe: bytes) -> Any:
    from penstock.context import GraphContext
    from penstock.routers import Route

    step, name, fields = pickle.loads(recipe)  # noqa: S301  # from the process that started this one
    loaded = load_step(step, name, GraphContext(**fields), Resolver())
    if loaded.kind not in ("map", "model"):
        raise GraphError(f"{step.class_name} does not answer every event, so it cannot be a route in a process")
    handler = loaded.target.do_event if loaded.kind == "model" else loaded.target
    return Route(step.name, name, loaded.object, handler, full_event=loaded.full_event)


def _described(made: Any) -> dict[str, Any] | None:
    if not isinstance(made, V2ModelServer):
        return None
    return {"name": made.name, "inputs": made.inputs, "outputs": made.outputs, "described": made.metadata()}


def _answer(route: Any, request: bytes) -> tuple[BaseException | None, Any, bool]:
    from penstock.event import Event

    try:
        body, event_id, fields = pickle.loads(request)  # noqa: S301  # see _made
        event = Event(body, event_id=event_id, **fields)
        done = route.run(event)
        if inspect.isawaitable(done):
            done = _awaited(done)
        if inspect.isawaitable(done.body):
            done.body = _awaited(done.body)
        return None, done.body, done.terminated
    except BaseException as error:
        return error, None, False


def _awaited(awaitable: Any) -> Any:
    import asyncio

    async def wait() -> Any:
        return await awaitable

    return asyncio.run(wait())


def _send(connection: Connection, answer: tuple[BaseException | None, Any, bool]) -> None:
    try:
        data = pickle.dumps(answer, pickle.HIGHEST_PROTOCOL)
        if answer[0] is not None:
            pickle.loads(data)  # noqa: S301  # an exception may be written and not be read
    except Exception as unsendable:
        error = unsendable if answer[0] is None else answer[0]
        status, kind, message = describe(error)
        told = _Told(f"{kind}: {message}" if kind else message)
        told.status_code = status
        data = pickle.dumps((told, None, False))
    connection.send_bytes(data)


class _Told(PenstockError):
    """What is left of an exception, or an answer, that cannot be pickled."""

    kind = ""
