"""The model server: the class that people subclass to put a model into a graph."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from io import BytesIO
from typing import Any

from penstock import tensors
from penstock.errors import BadBody, BadRequest, StepNotReady, refuse
from penstock.event import Response, decode_body
from penstock.files import fetch_model

_PREDICT = ("infer", "predict")
_PREFIX = "/v2/models/"
_HOOKS = ("do_event", "do_events", "preprocess", "validate", "postprocess", "_infer", "_reply")


class V2ModelServer:
    """A model behind the V2 protocol: subclass it and write `load` and `predict`.

    Plain rows in `inputs` come to `predict` as they are, and go back as plain rows. Tensors of the Open
    Inference Protocol come as a NumPy array (a dict of them if there are several inputs), and go back as tensors.

    Parameters
    ----------
    context : GraphContext, optional
        Given by the graph.
    name : str, optional
        The model's name; "name:version" has a version.
    model_path : str, optional
        A file or directory, or a URL that fsspec can read.
    model : object, optional
        A model that is loaded already.
    protocol : str, optional
        Accepted for MLRun's sake; there is one protocol.
    input_path, result_path : str, optional
        Where in the body the request is, and where the reply is written.
    **class_args
        What `get_param` returns.

    Examples
    --------
    >>> class Double(V2ModelServer):
    ...     def load(self): pass
    ...     def predict(self, body): return [2 * row for row in body["inputs"]]
    >>> Double(name="double").infer({"inputs": [1, 2]})["outputs"]
    [2, 4]
    """

    inputs: list[dict[str, Any]] = []  # noqa: RUF012  # read only here; the instance gets its own
    outputs: list[dict[str, Any]] = []  # noqa: RUF012

    def __init__(  # noqa: PLR0917  # the order is MLRun's
        self,
        context: Any = None,
        name: str | None = None,
        model_path: str | None = None,
        model: Any = None,
        protocol: str | None = None,  # noqa: ARG002  # see above
        input_path: str | None = None,
        result_path: str | None = None,
        **class_args: Any,
    ) -> None:
        self.context = context
        self.name = name or type(self).__name__
        self.version = self.name.partition(":")[2]
        self.model_path = model_path
        self.model = model
        self.ready = False
        self.labels: dict[str, str] = {}
        self.inputs = list(type(self).inputs)
        self.outputs = list(type(self).outputs)
        self.set_paths(input_path, result_path)
        self._params = class_args

    @property
    def _native(self) -> bool:
        """Whether a tensor request may go from the wire straight to `predict`."""
        own = all(getattr(type(self), hook) is getattr(V2ModelServer, hook) for hook in _HOOKS)
        return own and not self._input_path and not self._result_path

    def post_init(self) -> None:
        """Load the model; called once, when the graph is made.

        Raises
        ------
        StepNotReady
            There is nothing to load, or loading failed.
        """
        if self.ready:
            return
        if self.model is None and type(self).load is V2ModelServer.load:
            raise StepNotReady(f"model '{self.name}': please specify a load method or a model object")
        try:
            self.load()
        except StepNotReady:
            raise
        except Exception as error:
            raise StepNotReady(
                f"model '{self.name}': failed to load model {self.name}: {type(error).__name__}: {error}"
            ) from error
        self.ready = True

    def adopt(self, name: str, class_args: dict[str, Any], context: Any) -> None:
        """Take a name and arguments; called when the graph is made, on a model that was given as an object."""
        self.name = name or self.name
        self.version = self.name.partition(":")[2]
        self.context = self.context or context
        self.model_path = class_args.pop("model_path", self.model_path)
        self._params |= class_args

    def set_paths(self, input_path: str | None, result_path: str | None) -> None:
        """Say where in the body the request is, and where the reply is written."""
        self._input_path = input_path.split(".") if input_path else []
        self._result_path = result_path.split(".") if result_path else []

    def load(self) -> None:
        """Load the model; write your own unless a model object is given."""

    def predict(self, body: dict[str, Any]) -> Any:
        """Return one result a row of ``body["inputs"]``; by default, ask the model object."""
        if self.model is None or not hasattr(self.model, "predict"):
            raise BadRequest(f"model '{self.name}' has no predict")
        return self.model.predict(body["inputs"])

    def explain(self, body: dict[str, Any]) -> Any:  # noqa: ARG002  # for those who write their own
        """Explain predictions; write your own to offer it."""
        raise BadRequest(f"model '{self.name}' has no explain")

    def preprocess(self, request: dict[str, Any], operation: str) -> dict[str, Any]:  # noqa: ARG002
        """Change the request before it is validated."""
        return request

    def validate(self, request: dict[str, Any], operation: str) -> dict[str, Any]:
        """Refuse a bad request by raising: the caller gets 400."""
        if operation in (*_PREDICT, "explain"):
            if "inputs" not in request:
                raise BadBody('Exception: Expected key "inputs" in request body')
            if not isinstance(request["inputs"], list) and not _are_arrays(request["inputs"]):
                raise BadBody('Exception: Expected "inputs" to be a list')
        return request

    def postprocess(self, response: dict[str, Any]) -> dict[str, Any]:
        """Change the reply before it goes back."""
        return response

    def get_param(self, key: str, default: Any = None) -> Any:
        """Return a parameter of the model, else of the function."""
        if key in self._params:
            return self._params[key]
        return default if self.context is None else self.context.get_param(key, default)

    def get_model(self, suffix: str = "") -> tuple[str, dict[str, str]]:
        """Return the path of the model's file on this machine, and its other files by name.

        Parameters
        ----------
        suffix : str
            The end of the file's name, for a `model_path` that is a directory.

        Raises
        ------
        ModelFileNotFound
            There is no such file.
        """
        return fetch_model(self.name, self.model_path, suffix)

    def infer(self, request: dict[str, Any], event_id: str = "") -> dict[str, Any]:
        """Answer an infer request outside any graph, as the graph would."""
        return self._infer(request, "infer", event_id)

    def do_event(self, event: Any) -> Any:
        """Handle one event: its path or its body name the operation."""
        body = event.body
        operation = self._operation(event, body)
        if operation in ("", "ready") and event.method == "GET":
            event.body = self._describe(operation, event)
            event.terminated = True
            return event
        custom = getattr(self, "op_" + operation, None) if operation else None
        if custom is not None:
            result = custom(event)
            if result is not event:
                event.body = result
            return event
        if operation not in (*_PREDICT, "explain"):
            raise BadRequest(f"illegal model operation {operation}, method={event.method}")
        request = self._request(event)
        event.body = self._answer(body, self._infer(request, operation, event.id))
        return event

    def do_events(self, events: list[Any]) -> list[Any]:
        """Handle a batch: each caller's request is prepared alone, `predict` runs once for rows that fit together."""
        from penstock.batches import infer_batch

        return infer_batch(self, events)

    def learn(self, inputs: Any, outputs: Any) -> None:
        """Take the metadata from a first request's arrays, unless it is known."""
        import numpy as np

        if not self.inputs:
            named = inputs if isinstance(inputs, Mapping) else {"input0": inputs}
            self.inputs = [tensors.metadata_of(name, np.asarray(array)) for name, array in named.items()]
        if not self.outputs:
            self.outputs = [
                {"name": tensor["name"], "datatype": tensor["datatype"], "shape": [-1, *tensor["shape"][1:]]}
                for tensor in outputs
            ]

    def metadata(self) -> dict[str, Any]:
        """Describe the model as MLRun does."""
        return {
            "name": self.name.partition(":")[0],
            "model_endpoint_uid": "",
            "inputs": self.inputs,
            "outputs": self.outputs,
        }

    def _operation(self, event: Any, body: Any) -> str:
        path = (event.path or "").partition("?")[0]
        if path.startswith(_PREFIX):
            parts = path[len(_PREFIX) :].strip("/").split("/")
            path = "/".join(parts[3:] if parts[1:2] == ["versions"] else parts[1:])
        operation = path.strip("/")
        if not operation and isinstance(body, Mapping) and event.method != "GET":
            operation = str(body.get("operation") or "")
        return operation or ("" if event.method == "GET" else "infer")

    def _describe(self, operation: str, event: Any) -> Any:
        if operation == "ready":
            if not self.ready:
                return Response(body=b"model not ready", status_code=503)
            return Response(body=f"Model {self.name} is ready (event_id = {event.id})".encode())
        return self.metadata()

    def _request(self, event: Any) -> dict[str, Any]:
        """Take the request out of an event's body: a dict of its own, so that hooks may change it."""
        body = event.body
        for key in self._input_path:
            body = body.get(key) if isinstance(body, Mapping) else None
        if (event.content_type or "").startswith("image/"):
            return {"inputs": [BytesIO(body)]}
        if isinstance(body, (str, bytes, bytearray)):
            body = decode_body(bytes(body) if isinstance(body, bytearray) else body, declared_json=True)
        if not isinstance(body, Mapping):
            raise BadBody('Exception: Expected key "inputs" in request body')
        return dict(body)

    def _answer(self, body: Any, reply: Any) -> Any:
        """Put the reply where `result_path` says."""
        if not self._result_path or not isinstance(body, dict):
            return reply
        place = body
        for key in self._result_path[:-1]:
            place = place.setdefault(key, {})
        place[self._result_path[-1]] = reply
        return body

    def _infer(self, request: dict[str, Any], operation: str, event_id: str) -> dict[str, Any]:
        given = request.get("id")
        request, named = self._prepare(request, operation)
        request_id = given or (event_id if named is None else "")
        result = self.explain(request) if operation == "explain" else self.predict(request)
        return self._reply(request, request_id, result, named, operation)

    def _prepare(self, request: dict[str, Any], operation: str) -> tuple[dict[str, Any], list[str] | None]:
        """Run the hooks ahead of `predict`; names of the inputs if they are tensors, else None."""
        names: list[str] | None = None
        inputs = request.get("inputs")
        if tensors.are_tensors(inputs):
            names = [tensor["name"] for tensor in inputs or []]
            request = request | {"inputs": tensors.to_arrays(inputs or [])}
        request = self.preprocess(request, operation)
        try:
            request = self.validate(request, operation)
        except Exception as error:
            refuse(error)
            raise
        return request, names

    def _reply(
        self, request: dict[str, Any], request_id: str, result: Any, named: list[str] | None, operation: str
    ) -> dict[str, Any]:
        name = self.name if operation == "explain" else self.name.partition(":")[0]
        reply: dict[str, Any] = {"id": request_id} if request_id or named is None else {}
        reply["model_name"] = name
        if named is None:
            reply["outputs"] = _plain_rows(result)
            if operation != "explain":
                reply["timestamp"] = datetime.now(timezone.utc).isoformat(sep=" ", timespec="microseconds")
        else:
            outputs = tensors.to_tensors(result, [str(output.get("name")) for output in self.outputs])
            if self.version:
                reply["model_version"] = self.version
            if not self.inputs or not self.outputs:
                inputs = request["inputs"]
                self.learn(inputs if isinstance(inputs, Mapping) else {named[0]: inputs}, outputs)
            reply["outputs"] = outputs
        return self.postprocess(reply)


def _are_arrays(inputs: Any) -> bool:
    values = list(inputs.values()) if isinstance(inputs, Mapping) else [inputs]
    return bool(values) and all(hasattr(value, "shape") and hasattr(value, "dtype") for value in values)


def _plain_rows(result: Any) -> Any:
    """Make arrays into rows: a caller of plain rows gets plain rows."""
    if isinstance(result, dict):
        return {key: _plain_rows(value) for key, value in result.items()}
    return result.tolist() if hasattr(result, "tolist") else result
