"""What targets have in common: events go on as they come, and are done when they are written."""

from __future__ import annotations

from typing import Any

from penstock.storey_steps.base import Key, Port
from penstock.storey_steps.windows import Batching, Held

_MOST_HELD = 512  # events that are held until they are written; more are written without being waited for


class Target(Batching):
    """The base of steps that write what passes.

    An event goes on at once. It is settled, so that its source may forget it, when it is written; unless writing waits
    for the end of the graph, or for more events than a server would admit meanwhile.
    """

    def __init__(
        self,
        max_events: int | None = None,
        flush_after_seconds: float | None = None,
        key_field: str | Key | None = None,
        storage_options: dict[str, Any] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(max_events, flush_after_seconds, key_field, **options)
        self.storage_options = dict(storage_options or {})
        self._holds = flush_after_seconds is not None or (max_events is not None and max_events <= _MOST_HELD)

    def write(self, key: Any, entries: list[Any]) -> None:
        """Write the entries of a key."""
        raise TypeError(f"{type(self).__name__} does not say how it writes {len(entries)} events of {key!r}")

    def take(self, port: Port, token: int, event: Any) -> None:
        """Send the event on, and keep what is to be written of it."""
        key = None if self._key is None else self._key(event)
        entry = self.entry(event)
        port.emit([token], event, keep=True)
        held = self._held.get(key)
        if not self._holds or (held is not None and len(held.tokens) >= _MOST_HELD):
            port.drop([token])
            token = -1
        self.keep(port, key, token, entry)

    def release(self, port: Port, key: Any, held: Held) -> None:
        """Write what is held."""
        tokens = [token for token in held.tokens if token >= 0]
        try:
            self.write(key, held.entries)
        except Exception as error:
            if not tokens:
                raise
            port.fail(tokens, error)
        else:
            port.drop(tokens)


def file_system(path: str, storage_options: dict[str, Any]) -> tuple[Any, str]:
    """Return the file system of a path, and its path there."""
    import fsspec

    system, inner = fsspec.core.url_to_fs(path, **storage_options)
    return system, str(inner)


def make_folder(system: Any, path: str) -> None:
    """Make the folder that a file is in."""
    folder = path.rpartition("/")[0]
    if folder:
        system.makedirs(folder, exist_ok=True)
