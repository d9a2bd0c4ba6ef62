"""Making one event of a stream."""

from __future__ import annotations

import dataclasses
import inspect
from collections import OrderedDict
from typing import Any

from penstock.storey_steps.base import Port, Step, whole

_MOST_OPEN = 1024  # streams; one that broke off stays until as many others have come


@dataclasses.dataclass
class _Stream:
    chunks: list[Any] = dataclasses.field(default_factory=list)
    ended: int = 0


class Collector(Step):
    """Makes one event of the chunks of a stream: the list of them, or the only one. Other events pass.

    Parameters
    ----------
    expected_completions : int
        How often a stream ends before it is complete: once for each branch that brings it here.
    """

    takes_chunks = True

    def __init__(self, expected_completions: int = 1, **options: Any) -> None:
        super().__init__(**options)
        self._expected = whole(expected_completions, "expected_completions", 1)
        self._open: OrderedDict[str, _Stream] = OrderedDict()

    def take(self, port: Port, token: int, event: Any) -> None:
        """Keep a chunk, or send on what has come together."""
        if getattr(event, "streaming_step", None) is None:
            body = event.body
            port.emit([token], _bare(list(body)) if inspect.isgenerator(body) else event)
            return
        stream = self._open.setdefault(event.id, _Stream())
        if not event.last_chunk:
            stream.chunks.append(event.body)
            if len(self._open) > _MOST_OPEN:
                self._open.popitem(last=False)
            port.drop([token])
            return
        stream.ended += 1
        if stream.ended < self._expected:
            port.drop([token])
        else:
            del self._open[event.id]
            port.emit([token], _bare(stream.chunks))


def _bare(chunks: list[Any]) -> Any:
    return chunks[0] if len(chunks) == 1 else chunks
