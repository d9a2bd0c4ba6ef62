"""Model tracking: what each model was asked and answered, as records on a stream, in MLRun's form."""

from __future__ import annotations

import logging
import queue
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
_HERE = ("memory", "dummy", "file")
_WAITING = 10_000  # records that may wait to be written elsewhere; further ones are lost, and logged
_CLOSE_SECONDS = 5.0
_PLAIN = (str, int, float, bool, list, tuple, dict, bytes)
_logger = logging.getLogger("penstock")
_making = threading.Lock()  # guards the making of a context's stream: models may load at the same time


class TrackingStream:
    """The stream that the records of all models of a function go to.

    What takes no longer than a log line is written at once; elsewhere a thread writes, so that no request waits.

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
        from penstock.streams import open_stream, scheme_of

        self.enabled = True
        self.stream_uri = path
        self.function_uri = function_uri
        self.hostname = socket.gethostname()
        self.output_stream: OutputStream = open_stream(path, **(options or {}))
        self._at_once = scheme_of(path) in _HERE
        self._waiting: queue.Queue[tuple[dict[str, Any], str | None] | None] = queue.Queue(_WAITING)
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()  # guards _thread

    def push(self, record: dict[str, Any], key: str | None = None) -> None:
        """Write a record; what goes wrong with that is logged, and fails no request."""
        if self._at_once:
            self._write(record, key)
            return
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="penstock-tracking", daemon=True)
                self._thread.start()
        try:
            self._waiting.put_nowait((record, key))
        except queue.Full:
            _logger.warning("the tracking stream %s is too slow: a record is lost", self.stream_uri)

    def close(self) -> None:
        """Write what waits, and let go of the stream."""
        with self._lock:
            thread, self._thread = self._thread, None
        if thread is not None:
            self._waiting.put(None)
            thread.join(_CLOSE_SECONDS)
        self.output_stream.close()

    def _run(self) -> None:
        while (waiting := self._waiting.get()) is not None:
            self._write(*waiting)

    def _write(self, record: dict[str, Any], key: str | None) -> None:
        try:
            self.output_stream.push([record], key)
        except Exception as error:
            text = f"{type(error).__name__}: {error}"
            _logger.warning("a tracking record could not be written to %s: %s", self.stream_uri, text)


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
        self._stream.push(record, record["endpoint_id"] if self._model.shard_by_endpoint else None)


def tracker_of(model: V2ModelServer) -> Tracker | None:
    """Make the tracker of a model; None if its function does not track models.

    Raises
    ------
    StepNotReady
        It does, and names no stream.
    """
    context = model.context
    if context is None or not getattr(context, "track_models", False):
        return None
    percentage = float(context.get_param("sampling_percentage", 100))
    return Tracker(
        model, _stream_of(model, context), sampling_percentage=percentage, seed=context.get_param("sampling_seed")
    )


def endpoint_id(model: V2ModelServer, function_uri: str = "") -> str:
    """Return what tells a model's records from all others': the given uid, or one that is always the same."""
    given = model.model_endpoint_uid
    return given or uuid.uuid5(uuid.NAMESPACE_URL, f"{function_uri}/{model.name}").hex


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
    """Make of a value what JSON can say, as far as its outside goes."""
    if hasattr(value, "tolist"):
        return value.tolist()
    return value if value is None or isinstance(value, _PLAIN) else f"<{type(value).__name__}>"
