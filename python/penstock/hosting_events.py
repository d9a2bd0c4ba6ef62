"""Events on their way into storey and back: tokens, captures, and the translation of one kind into the other."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any, Protocol

TOKEN = "_penstock_token"  # noqa: S105  # an attribute of storey's events
_ATTRIBUTES = "storey_attributes"  # the free attributes of storey's event, on ours
_STANDARD = frozenset(
    {
        "body",
        "chunk_id",
        "content_type",
        "error",
        "headers",
        "id",
        "key",
        "method",
        "origin_state",
        "path",
        "processing_time",
        "streaming_step",
    }
)
_COMPARED = ("id", "key", "path", "method", "content_type")


class Host(Protocol):
    """What tokens and captures need of the step that they belong to."""

    termination: object

    def captured(self, event: Any, outlet: int | None) -> None:
        """Take what the step sends on."""

    def fail(self, token: Token, error: BaseException) -> None:
        """Let an event fail."""

    def drop(self, token: Token) -> None:
        """Filter an event out."""


class Token:
    """What the events of storey carry that stand for one event of ours; their copies share it.

    To storey it is the event's awaitable result, so that errors which storey swallows are known, too. When the last
    event is gone that carried it and nothing was sent on, the event was filtered out.
    """

    __slots__ = ("__weakref__", "event", "failed", "host", "number", "sent", "settled", "time")

    def __init__(self, host: Host, number: int, event: Any) -> None:
        self.host = host
        self.number = number
        self.event = event
        self.time: Any = None
        self.sent = False  # something was derived from it while the step still worked on it
        self.settled = False
        self.failed = False

    def __deepcopy__(self, memo: dict[int, Any]) -> Token:
        return self

    def _set_result(self, result: Any) -> None:
        """Answer: the graph does that."""

    def _set_error(self, error: BaseException) -> None:
        """Fail: storey calls this for what a step raised."""
        self.host.fail(self, error)

    def __del__(self) -> None:
        if not self.settled:
            self.host.drop(self)


class Capture:
    """The end of a chain of storey's steps: hands its events back to the graph."""

    _legal_first_step = False
    _recovery_step = None

    def __init__(self, host: Host, name: str, outlet: int | None) -> None:
        self.name = name
        self.context = None
        self._host = host
        self._outlet = outlet
        self._inlets: list[Any] = []
        self._outlets: list[Any] = []
        self._runnable = True
        self._termination_received = 0

    def run(self, visited: set[Any] | None = None) -> list[Any]:
        """Begin; nothing is to be closed."""
        if visited is not None:
            visited.add(self)
        self._termination_received = 0
        return []

    def _check_step_in_flow(self, *_: Any) -> bool:
        return False

    def _should_terminate(self) -> bool:
        return self._termination_received == len(self._inlets)

    async def _do_and_recover(self, event: Any) -> None:
        await self._do(event)

    async def _do(self, event: Any) -> None:
        if event is not self._host.termination:
            self._host.captured(event, self._outlet)


class HostedContext:
    """The graph's context, as steps of storey see it: errors that the graph knows of are reported once."""

    def __init__(self, context: Any) -> None:
        self._context = context

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    def push_error(self, event: Any, message: str, source: str | None = None, **facts: Any) -> None:
        """Report a failure, unless the event has failed in the graph."""
        token = getattr(event, TOKEN, None)
        if (token is None or not token.failed) and hasattr(self._context, "push_error"):
            self._context.push_error(event, message, source=source, **facts)


class Bridge:
    """Makes events of storey of ours, and ours of storey's."""

    def __init__(self, event_type: type[Any]) -> None:
        self._event_type = event_type

    def to_storey(self, token: Token) -> Any:
        """Make the event of storey that stands for a token's."""
        ours = token.event
        token.time = ours.time
        event = self._event_type(
            ours.body,
            key=None if ours.key == "" else ours.key,
            processing_time=token.time,
            id=ours.id,
            headers=ours.headers,
            method=ours.method,
            path=ours.path,
            content_type=ours.content_type,
            awaitable_result=token,
        )
        for name in ("error", "origin_state"):
            if getattr(ours, name, None) is not None:
                setattr(event, name, getattr(ours, name))
        event.__dict__.update(getattr(ours, _ATTRIBUTES, None) or {})
        setattr(event, TOKEN, token)
        event._original_events = None
        return event

    def value(self, event: Any, token: Token | None) -> Any:
        """Return what goes on: the body, or an event if more than that has changed."""
        body = event.body
        if isinstance(body, list) and any(isinstance(item, self._event_type) for item in body):
            body = [self._to_ours(item) for item in body]
        if token is None:
            return body
        ours = token.event
        attributes = {
            name: value for name, value in vars(event).items() if not name.startswith("_") and name not in _STANDARD
        }
        changed = {
            name: getattr(event, name) or ""
            for name in _COMPARED
            if (getattr(event, name) or "") != (getattr(ours, name) or "")
        }
        if event.processing_time is not token.time:
            changed["time"] = event.processing_time
        if not changed and not attributes:
            return body
        made = copy.copy(ours)
        made.body = body
        for name, value in (changed | attributes).items():
            setattr(made, name, value)
        if attributes:
            setattr(made, _ATTRIBUTES, attributes)
        return made

    def _to_ours(self, event: Any) -> Any:
        token = getattr(event, TOKEN, None)
        if token is None:
            return event
        made = copy.copy(token.event)
        made.body = event.body
        return made


def replay(chunks: list[Any], error: str | None) -> Iterator[Any]:
    """Yield what a step of storey has streamed."""
    yield from chunks
    if error:
        raise RuntimeError(error)


def chooses(step: Any) -> bool:
    """Tell whether a step of storey decides itself which of the following steps get an event."""
    if getattr(step, "_outlets_selector", None) is not None:
        return True
    for base in type(step).__mro__:
        if "select_outlets" in vars(base):
            return not base.__module__.startswith("storey.") or base.__name__ == "Choice"
    return False
