"""Model tracking: what each model was asked and answered, as records on a stream, in MLRun's form."""

from __future__ import annotations

import random
import socket
import threading
import time
import traceback
import uuid
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from penstock import tensors
from penstock.errors import StepNotReady, text_of

if TYPE_CHECKING:
    from penstock.models import V2ModelServer
    from penstock.streams import OutputStream

_PARAMETER = "log_stream"
_making = threading.Lock()  # guards the making of a context's stream: models may load at the same time


class TrackingStream:
    """The stream that the records of all models of a function go to.

    Parameters
    ----------
    path : str
        The stream's path.
    options : dict, optional
        What the kind of stream takes beside its path.
    function_uri : str
        The function's name, as the records say it.

    Attributes
    ----------
    output_stream : OutputStream
        The stream itself; of ``dummy://`` it has the records in `event_list`.
    """

    def __init__(self, path: str, options: Mapping[str, Any] | None = None, *, function_uri: str = "") -> None:
        from penstock.streams import open_stream

        self.enabled = True
        self.stream_uri = path
        self.function_uri = function_uri
        self.hostname = socket.gethostname()
        self.output_stream: OutputStream = open_stream(path, **(options or {}))


class Tracker:
    """Writes the records of one model.

    Parameters
    ----------
    model : V2ModelServer
        The model.
    stream : TrackingStream
        Where the records go.
    sampling_percentage : float
        How many of the rows are recorded, from 0 to 100.
    seed : int, optional
        For a choice of rows that can be repeated.
    """

    def __init__(
        self, model: V2ModelServer, stream: TrackingStream, *, sampling_percentage: float = 100.0, seed: Any = None
    ) -> None:
        self._model = model
        self._stream = stream
        self._percentage = sampling_percentage
        self._random = random.Random(seed)  # noqa: S311  # a sample is no secret
        context = model.context
        self._verbose = bool(getattr(context, "verbose", False))
        self._base = {
            "class": type(model).__name__,
            "worker": getattr(context, "worker_id", 0) or 0,
            "model": model.name.partition(":")[0],
            "version": model.version,
            "host": stream.hostname,
            "function_uri": stream.function_uri,
            "endpoint_id": endpoint_id(model, stream.function_uri),
            "sampling_percentage": sampling_percentage,
        }

    def start(self) -> tuple[datetime, float]:
        """Return when a request begins."""
        return datetime.now(timezone.utc), time.perf_counter()

    def answered(
        self, start: tuple[datetime, float], request: Mapping[str, Any], reply: Mapping[str, Any], operation: str
    ) -> None:
        """Record a request and its reply, as far as the sample has rows of it."""
        inputs, outputs = self._model.logged_results(dict(request), dict(reply), operation)
        rows = _rows(request.get("inputs") if inputs is None else inputs)
        results = _outputs(reply.get("outputs") if outputs is None else outputs)
        if self._percentage < 100:
            places = [place for place in range(len(rows)) if self._random.random() * 100 < self._percentage]
            if not places:
                return
            if isinstance(results, list) and len(results) == len(rows):
                results = [results[place] for place in places]
            rows = [rows[place] for place in places]
        record = self._record(start, request, rows, operation)
        record["resp"] = {**reply, "outputs": results}
        record["microsec"] = round((time.perf_counter() - start[1]) * 1e6)
        if self._model.metrics:
            record["metrics"] = dict(self._model.metrics)
        record["effective_sample_count"] = len(rows)
        self._push(record)

    def failed(
        self, start: tuple[datetime, float], request: Mapping[str, Any], error: BaseException, operation: str
    ) -> None:
        """Record a request that failed."""
        record = self._record(start, request, _rows(request.get("inputs")), operation)
        text = f"{type(error).__name__}: {text_of(error)}"
        if self._verbose:
            text = "".join(traceback.format_exception(error)).rstrip()
        record["error"] = text
        self._push(record)

    def _record(
        self, start: tuple[datetime, float], request: Mapping[str, Any], rows: list[Any], operation: str
    ) -> dict[str, Any]:
        record = dict(self._base)
        if self._model.labels:
            record["labels"] = dict(self._model.labels)
        record["request"] = {**request, "inputs": rows}
        record["op"] = operation
        record["when"] = start[0].isoformat(sep=" ", timespec="microseconds")
        return record

    def _push(self, record: dict[str, Any]) -> None:
        """Write a record; a stream that takes none fails no request."""
        key = record["endpoint_id"] if self._model.shard_by_endpoint else None
        try:
            self._stream.output_stream.push([record], key)
        except Exception as error:
            self._model.context.logger.warning(
                "a tracking record was lost", model=self._model.name, error=f"{type(error).__name__}: {error}"
            )


def tracker_of(model: V2ModelServer) -> Tracker | None:
    """Make the tracker of a model; None if its function does not track models.

    Raises
    ------
    StepNotReady
        It does, and names no stream.
    """
    context = model.context
    if context is None or not _tracks(context):
        return None
    percentage = float(context.get_param("sampling_percentage", 100))
    return Tracker(
        model, _stream_of(model, context), sampling_percentage=percentage, seed=context.get_param("sampling_seed")
    )


def endpoint_id(model: V2ModelServer, function_uri: str = "") -> str:
    """Return what tells a model's records from all others': the given uid, or one that is always the same."""
    given = model.model_endpoint_uid
    return given or uuid.uuid5(uuid.NAMESPACE_URL, f"{function_uri}/{model.name}").hex


def _tracks(context: Any) -> bool:
    if getattr(context, "track_models", False):
        return True
    return bool(getattr(getattr(context, "server", None), "track_models", False))


def _stream_of(model: V2ModelServer, context: Any) -> TrackingStream:
    """Return the context's stream; the first model opens it."""
    with _making:
        stream: Any = getattr(context, "stream", None)
        if getattr(stream, "output_stream", None) is None:
            path = context.get_param(_PARAMETER)
            if not path and not context.is_mock:
                raise StepNotReady(
                    f"model '{model.name}': models are tracked, and no stream is named to write to; "
                    "write fn.set_tracking(stream_path)"
                )
            project = getattr(context, "project", "") or "default"
            options = context.get_param("stream_args") or {}
            context.stream = stream = TrackingStream(
                path or "dummy://", options, function_uri=f"{project}/{context.name}"
            )
    tracking: TrackingStream = stream
    return tracking


def _rows(inputs: Any) -> list[Any]:
    """Write inputs as a list of rows, each a list."""
    if isinstance(inputs, Mapping):  # arrays by name: a row has one part of each
        return [list(row) for row in zip(*(_listed(array) for array in inputs.values()), strict=False)]
    return [row if isinstance(row, (list, dict)) else [row] for row in _listed(inputs)]


def _outputs(outputs: Any) -> Any:
    """Write outputs as rows; what has names keeps them."""
    if tensors.are_tensors(outputs):
        arrays = {tensor["name"]: tensors.to_array(tensor).tolist() for tensor in outputs}
        return next(iter(arrays.values())) if len(arrays) == 1 else arrays
    if isinstance(outputs, Mapping):
        return {key: _plain(value) for key, value in outputs.items()}
    return _listed(outputs)


def _listed(values: Any) -> list[Any]:
    values = _plain(values)
    if not isinstance(values, (list, tuple)):
        return [] if values is None else [values]
    return [_plain(value) for value in values]


def _plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else value
