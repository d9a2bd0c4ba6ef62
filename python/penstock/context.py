"""The context: what a step may ask about the graph that it runs in."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from penstock.event import Response

if TYPE_CHECKING:
    from penstock.server import GraphServer


class GraphLogger:
    """Python logging with Nuclio's calls: extra facts are given as keyword arguments.

    Examples
    --------
    >>> GraphLogger("penstock.docs").info("rows read", count=3)
    """

    def __init__(self, name: str, *, level: int | None = None) -> None:
        self._logger = logging.getLogger(name)
        if level is not None:
            self._logger.setLevel(level)

    def _log(self, level: int, message: object, args: tuple[object, ...], facts: dict[str, object]) -> None:
        if not self._logger.isEnabledFor(level):
            return
        exc_info: Any = facts.pop("exc_info", None)
        text = str(message) % args if args else str(message)
        if facts:
            text += " (" + ", ".join(f"{key}={value!r}" for key, value in facts.items()) + ")"
        self._logger.log(level, "%s", text, exc_info=exc_info)

    def debug(self, message: object, *args: object, **facts: object) -> None:
        """Log what only matters when looking for a fault."""
        self._log(logging.DEBUG, message, args, facts)

    def info(self, message: object, *args: object, **facts: object) -> None:
        """Log what happened."""
        self._log(logging.INFO, message, args, facts)

    def warning(self, message: object, *args: object, **facts: object) -> None:
        """Log what may be wrong."""
        self._log(logging.WARNING, message, args, facts)

    def error(self, message: object, *args: object, **facts: object) -> None:
        """Log what went wrong."""
        self._log(logging.ERROR, message, args, facts)

    warn = warning
    debug_with = debug
    info_with = info
    warn_with = warning
    error_with = error


class GraphContext:
    """What a step gets when its constructor, or its function, has a parameter named `context`.

    Attributes
    ----------
    logger : GraphLogger
        Logs to the Python logger ``penstock.<function name>``.
    verbose : bool
        Whether the function is in verbose mode.
    root : object
        The graph.
    current_function : str
        The child function that runs here; "*" when all run in this process.
    is_mock : bool
        Whether this is a mock server.
    server : GraphServer, optional
        The server that runs the graph.
    """

    Response = Response

    def __init__(
        self,
        *,
        name: str = "",
        parameters: dict[str, Any] | None = None,
        root: Any = None,
        verbose: bool = False,
        current_function: str = "*",
        is_mock: bool = False,
        server: GraphServer | None = None,
    ) -> None:
        self.name = name
        self.logger = GraphLogger(f"penstock.{name}" if name else "penstock", level=logging.DEBUG if verbose else None)
        self.verbose = verbose
        self.root = root
        self.current_function = current_function
        self.is_mock = is_mock
        self.server = server
        self._parameters = parameters if parameters is not None else {}

    def get_param(self, key: str, default: Any = None) -> Any:
        """Return a parameter of the function (``fn.spec.parameters``).

        Examples
        --------
        >>> GraphContext(parameters={"limit": 3}).get_param("limit", 0)
        3
        """
        return self._parameters.get(key, default)

    def push_error(self, event: Any, message: str, source: str | None = None, **facts: Any) -> None:
        """Report an event's failure that no caller is told of."""
        self.logger.error(message, source=source, event_id=getattr(event, "id", None), **facts)
