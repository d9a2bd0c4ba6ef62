"""What a model runner runs: subclass `Model` and write `load` and `predict`."""

from __future__ import annotations

from typing import Any

from penstock.errors import GraphError, MLRunInvalidArgumentError, ModelNotRunnable, ModelRunnerError
from penstock.resolve import is_async

ASYNCIO = "asyncio"


class Model:
    """A model of a model runner.

    Parameters
    ----------
    name : str
        The name of its endpoint.
    raise_exception : bool
        Whether an event fails when the model does; else the failure's text is its answer.
    artifact_uri : str, optional
        Where its files are: a path, a URL that fsspec reads, or a ``store://`` URI.
    **parameters
        What `get_param` returns.

    Attributes
    ----------
    context : GraphContext, optional
        The graph's context; None in a process of its own.
    artifact : object, optional
        The artifact that was given as an object, such as an `LLMPromptArtifact`.

    Examples
    --------
    >>> class Double(Model):
    ...     def predict(self, body):
    ...         return 2 * body
    >>> Double("double").run(4)
    8
    """

    def __init__(
        self, name: str, raise_exception: bool = True, artifact_uri: str | None = None, **parameters: Any
    ) -> None:
        if artifact_uri is not None and not isinstance(artifact_uri, str):
            raise MLRunInvalidArgumentError(
                f"model '{name}': artifact_uri is text, not of type {type(artifact_uri).__name__}"
            )
        self.name = name
        self.raise_exception = raise_exception
        self.artifact_uri = artifact_uri
        self.artifact: Any = None
        self.artifacts: dict[str, Any] = {}  # of the endpoints that share this model
        self.context: Any = None
        self._parameters = parameters

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"context": None}

    def init(self) -> None:
        """Make the model ready; called once, where it runs."""
        self.load()

    def load(self) -> None:
        """Load the model; write your own."""

    def close(self) -> None:
        """Let go of what the model holds; write your own where there is something."""

    def get_param(self, key: str, default: Any = None) -> Any:
        """Return a parameter of the model, else of the function."""
        if key in self._parameters:
            return self._parameters[key]
        return default if self.context is None else self.context.get_param(key, default)

    def get_local_model_path(self, suffix: str = "") -> tuple[str, dict[str, str]]:
        """Return the path of the model's file on this machine, and its other files by name.

        Parameters
        ----------
        suffix : str
            The end of the file's name, for an artifact that is a directory.

        Raises
        ------
        ModelFileNotFound
            There is no such file.
        """
        from penstock.files import fetch_model

        path, extra = fetch_model(self.name, self.artifact_uri, suffix)
        return path, dict(extra)

    def predict(self, body: Any) -> Any:  # noqa: ARG002
        """Return the model's result for a body; write your own."""
        raise ModelRunnerError(f"model '{self.name}' has no predict")

    async def predict_async(self, body: Any) -> Any:  # noqa: ARG002
        """Return the model's result for a body, for the mechanism asyncio; write your own."""
        raise ModelRunnerError(f"model '{self.name}' has no predict_async")

    def format_batch(self, body: list[Any]) -> Any:
        """Turn a list of bodies into what `predict` takes."""
        return body

    def run(self, body: Any, path: str = "/", origin_name: str | None = None) -> Any:  # noqa: ARG002
        """Handle one body, or a list of them as a batch.

        Parameters
        ----------
        body : object
            The event's body.
        path : str
            The event's path.
        origin_name : str, optional
            The endpoint that is asked, for a model that several share.
        """
        return self.predict(self.format_batch(body) if isinstance(body, list) else body)

    async def run_async(self, body: Any, path: str = "/", origin_name: str | None = None) -> Any:  # noqa: ARG002
        """Do as `run` does, for the mechanism asyncio."""
        return await self.predict_async(self.format_batch(body) if isinstance(body, list) else body)


def check_runnable(model: Model, mechanism: str) -> None:
    """Raise if a model cannot run in a way: the method for it is missing.

    Raises
    ------
    ModelNotRunnable
        The text says which method.
    """
    wanted, around = ("predict_async", "run_async") if mechanism == ASYNCIO else ("predict", "run")
    kind = type(model)
    if getattr(kind, around) is not getattr(Model, around):
        return
    if getattr(kind, wanted) is getattr(Model, wanted):
        raise ModelNotRunnable(
            f"{model.name} is running with {mechanism} execution_mechanism but {wanted}() is not implemented"
        )
    if mechanism != ASYNCIO and is_async(model.predict):
        raise GraphError(
            f"model '{model.name}': predict is an async function, which {mechanism} cannot run;"
            " name it predict_async and use execution_mechanism='asyncio'"
        )
