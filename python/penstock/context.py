"""The context: what a step may ask about the graph that it runs in."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from penstock.errors import GraphError
from penstock.event import Response
from penstock.resolve import nearest
from penstock.secret_store import SecretStore

if TYPE_CHECKING:
    from penstock.server import GraphServer


def message_of(message: object, args: tuple[object, ...]) -> str:
    """Put arguments into a message; those that have no place in it follow it: a line of a log is no reason to fail.

    Examples
    --------
    >>> message_of("%d rows", (3,)), message_of("rows", (3,))
    ('3 rows', 'rows (3,)')
    """
    if not args:
        return str(message)
    try:
        return str(message) % args
    except (TypeError, ValueError):
        return f"{message} {args!r}"


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
        text = message_of(message, args)
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

    def exception(self, message: object, *args: object, **facts: object) -> None:
        """Log what went wrong, with the stack of the exception that is being handled."""
        self._log(logging.ERROR, message, args, {"exc_info": True, **facts})

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
    project : str
        The function's project.
    worker_id : int or str
        The worker that runs the graph.
    trigger : object, optional
        What brings events, where the function is deployed.
    platform : object, optional
        What the function is deployed in.
    load_mode : str, optional
        "async" if models load while the graph runs already.
    track_models : bool
        Whether models write what they are asked and answer to a stream.
    trusted_model_paths : list of str
        Where model files that can run code may be loaded from, too.
    stream : object, optional
        What models write to; the first one that does opens it.
    """

    Response = Response
    executor = None
    project_obj = None
    monitoring_mock = False

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
        project: str = "",
        secrets: SecretStore | None = None,
        load_mode: str | None = None,
        track_models: bool = False,
        trusted_model_paths: Iterable[str] = (),
        worker_id: int | str = 0,
        trigger: Any = None,
        platform: Any = None,
    ) -> None:
        self.name = name
        self.logger = GraphLogger(f"penstock.{name}" if name else "penstock", level=logging.DEBUG if verbose else None)
        self.verbose = verbose
        self.root = root
        self.current_function = current_function
        self.is_mock = is_mock
        self.server = server
        self.project = project or "default"
        self.load_mode = load_mode
        self.track_models = track_models
        self.trusted_model_paths = list(trusted_model_paths)
        self.worker_id = worker_id
        self.trigger = trigger
        self.platform = platform
        self.stream: Any = None
        self._parameters = parameters if parameters is not None else {}
        self._secrets = secrets or SecretStore()
        self._tables: dict[str, Any] = {}
        self._resources: dict[str, Any] = {}

    def get_param(self, key: str, default: Any = None) -> Any:
        """Return a parameter of the function (``fn.spec.parameters``).

        Examples
        --------
        >>> GraphContext(parameters={"limit": 3}).get_param("limit", 0)
        3
        """
        return self._parameters.get(key, default)

    def get_secret(self, key: str, default: Any = None) -> Any:
        """Return a secret of the function (``fn.with_secrets``), or `default` if none of its sources has it.

        Examples
        --------
        >>> secrets = SecretStore()
        >>> secrets.add("inline", {"TOKEN": "s3cret"})
        >>> GraphContext(secrets=secrets).get_secret("TOKEN")
        's3cret'
        """
        return self._secrets.get(key, default)

    def get_store_resource(self, uri: str, use_cache: bool = True) -> Any:
        """Return what a ``store://`` URI, a path or another URL names: a model, an artifact, features, a data item.

        Parameters
        ----------
        uri : str
            The URI.
        use_cache : bool
            Return the same object for the same URI.
        """
        if not use_cache or uri not in self._resources:
            from penstock.store import get_resource

            found = get_resource(uri, self, use_cache=use_cache)
            if not use_cache:
                return found
            self._resources[uri] = found
        return self._resources[uri]

    def set_table(self, name: str, table: Any) -> None:
        """Give a table a name that steps ask for it by; for example in the function's ``graph_initializer``."""
        self._tables[name] = table

    def get_table(self, name: str) -> Any:
        """Return a table: one that `set_table` named, or that a URI names.

        Raises
        ------
        GraphError
            There is no such table.

        Examples
        --------
        >>> context = GraphContext()
        >>> context.set_table("users", {"u1": {"age": 33}})
        >>> context.get_table("users")["u1"]
        {'age': 33}
        """
        if name in self._tables:
            return self._tables[name]
        if "://" in name:
            return self.get_store_resource(name)
        near = nearest(name, self._tables)
        raise GraphError(f"there is no table '{name}'{near}; name one with context.set_table('{name}', ...)")

    def get_remote_endpoint(self, name: str, external: bool = True) -> str:  # noqa: ARG002  # MLRun's argument
        """Return the address of another function: a URL as it is, a name by the parameter "endpoints".

        Raises
        ------
        GraphError
            The parameter has no such name.

        Examples
        --------
        >>> GraphContext(parameters={"endpoints": {"scorer": "http://10.0.0.7"}}).get_remote_endpoint("scorer")
        'http://10.0.0.7'
        """
        if name.startswith(("http://", "https://")):
            return name
        known: dict[str, str] = self.get_param("endpoints") or {}
        if name not in known:
            raise GraphError(
                f"there is no address of a function '{name}'{nearest(name, known)}; "
                "write fn.spec.parameters['endpoints'] = {name: url}"
            )
        return known[name]

    def push_error(self, event: Any, message: str, source: str | None = None, **facts: Any) -> None:
        """Report an event's failure that no caller is told of: to the log, and to the error stream if there is one."""
        self.logger.error(message, source=source, event_id=getattr(event, "id", None), **facts)
        if self.server is not None:
            self.server.report(event, message, source or "", facts)
