"""A model in a place that another may take: calls that are under way have hold of the one that they began with."""

from __future__ import annotations

import threading
import weakref
from collections.abc import AsyncGenerator, Coroutine, Generator
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import TYPE_CHECKING, Any

from penstock.errors import ModelNotReady

if TYPE_CHECKING:
    from penstock.models import V2ModelServer


class Tenant:
    """A model as it is called. It goes when it has been replaced and the last call has ended; then `left` is set.

    Parameters
    ----------
    instance : V2ModelServer
        The model; it knows nothing of its tenancy.

    Attributes
    ----------
    left : threading.Event
        Set when nobody has hold of the tenant any more.

    Examples
    --------
    >>> from penstock.serving import V2ModelServer
    >>> tenant = Tenant(V2ModelServer(name="m"))
    >>> left = tenant.left
    >>> stream = tenant.pieces(piece for piece in "ab")
    >>> del tenant
    >>> next(stream), left.is_set(), next(stream), next(stream, None), left.is_set()
    ('a', False, 'b', None, True)
    """

    def __init__(self, instance: V2ModelServer) -> None:
        self.instance = instance
        self.left = threading.Event()
        weakref.finalize(self, self.left.set)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.instance, name)

    def do_event(self, event: Any) -> Any:
        """Handle one event."""
        return self.held(self.instance.do_event(event))

    def do_events(self, events: list[Any]) -> Any:
        """Handle a batch."""
        return self.held(self.instance.do_events(events))

    def predict(self, body: dict[str, Any]) -> Any:
        """Ask the model alone."""
        return self.instance.predict(body)

    def held(self, answer: Any) -> Any:
        """Stay until what the model has begun has ended, too: a coroutine, or an answer in pieces."""
        if type(answer) is CoroutineType:
            return self.later(answer)
        body = getattr(answer, "body", None)
        if type(body) is GeneratorType:
            answer.body = self.pieces(body)
        elif type(body) is AsyncGeneratorType:
            answer.body = self.pieces_later(body)
        return answer

    async def later(self, answer: Coroutine[Any, Any, Any]) -> Any:
        """Stay until a coroutine has ended."""
        return self.held(await answer)

    def pieces(self, pieces: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
        """Stay until a generator has."""
        return (yield from pieces)

    async def pieces_later(self, pieces: AsyncGenerator[Any, None]) -> AsyncGenerator[Any, None]:
        """Stay until an asynchronous generator has."""
        try:
            async for piece in pieces:
                yield piece
        finally:
            await pieces.aclose()


class Vacancy:
    """Stands where a model was that has been unloaded, or could not be loaded.

    Examples
    --------
    >>> from penstock.serving import V2ModelServer
    >>> vacancy = Vacancy(V2ModelServer(name="m"))
    >>> vacancy.ready, vacancy.metadata()["name"]
    (False, 'm')
    """

    ready = False
    is_async = False
    _native = False
    _loading = None
    _input_path = ()

    def __init__(self, former: V2ModelServer) -> None:
        self.name, self.version = former.name, former.version
        self.inputs, self.outputs = former.inputs, former.outputs
        self.context = former.context
        self._metadata = former.metadata()

    def do_event(self, event: Any) -> Any:  # noqa: ARG002  # whatever it is
        """Refuse an event.

        Raises
        ------
        ModelNotReady
            Always.
        """
        raise ModelNotReady(f"model {self.name} is not loaded")

    predict = do_events = do_event

    def metadata(self) -> dict[str, Any]:
        """Describe the model that was here."""
        return self._metadata
