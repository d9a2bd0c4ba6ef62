"""The model server: the class that people subclass to put a model into a graph."""

from __future__ import annotations

from collections.abc import Coroutine
from types import CoroutineType
from typing import TYPE_CHECKING, Any

from penstock import tensors
from penstock.errors import BadRequest, GraphError, StepNotReady, refuse
from penstock.event import Response
from penstock.files import check_trust, open_model
from penstock.generate import GENERATE, generate
from penstock.infer import infer, parts
from penstock.loading import Loading, check_hooks, has_coroutines, run_coroutine
from penstock.operations import PREDICT, check_inputs, operation_of, put_reply, request_of, rows_of_dicts
from penstock.replies import metadata_of, reply_in_rows, reply_in_tensors

if TYPE_CHECKING:
    from penstock._core import InferenceStats
    from penstock.dataitem import DataItem
    from penstock.modelspec import ModelSpec
    from penstock.tracking import Tracker

_HOOKS = ("do_event", "do_events", "preprocess", "validate", "postprocess", "_infer", "_reply")


class V2ModelServer:
    """A model behind the V2 protocol: subclass it and write `load` and `predict`.

    Plain rows in `inputs` come to `predict` as they are, and go back as plain rows. Tensors of the Open
    Inference Protocol come as a NumPy array (a dict of them if there are several inputs), and go back as tensors.
    `load`, `predict`, `explain` and the operations ``op_xx`` may be async functions.

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
    shard_by_endpoint : bool
        Keep the tracking records of one model in order, where their stream has partitions.
    **class_args
        What `get_param` returns. `load_mode="async"` loads on a thread; `model_endpoint_uid` names the model in
        replies and tracking records.

    Attributes
    ----------
    ready : bool
        Whether the model is loaded.
    model_spec : ModelSpec, optional
        What the `model_spec.yaml` says that `get_model` found.
    labels, metrics : dict
        What goes into the tracking records.

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
        shard_by_endpoint: bool = True,
        **class_args: Any,
    ) -> None:
        self.context = context
        self.name = name or type(self).__name__
        self.version = self.name.partition(":")[2]
        self.model_path = model_path
        self.model = model
        self.ready = False
        self.labels: dict[str, str] = {}
        self.metrics: dict[str, Any] = {}
        self.model_spec: ModelSpec | None = None
        self.model_endpoint_uid = str(class_args.get("model_endpoint_uid") or "")
        self.shard_by_endpoint = shard_by_endpoint
        self.inputs = list(type(self).inputs)
        self.outputs = list(type(self).outputs)
        self.set_paths(input_path, result_path)
        self._params = class_args
        self._tracker: Tracker | None = None
        self._loading: Loading | None = None
        self._stats: InferenceStats | None = None  # set where it gets into a graph that runs

    @property
    def is_async(self) -> bool:
        """Whether events may wait in a coroutine of the model's."""
        return has_coroutines(type(self))

    @property
    def _native(self) -> bool:
        """Whether a tensor request may go from the wire straight to `predict`."""
        own = all(getattr(type(self), hook) is getattr(V2ModelServer, hook) for hook in _HOOKS)
        plain = self._tracker is None and self._loading is None and not self.is_async
        return own and plain and not self._input_path and not self._result_path

    def post_init(self, mode: str = "sync") -> None:
        """Load the model; called once, when the graph is made.

        Parameters
        ----------
        mode : {"sync", "async"}
            "async" loads on a thread of its own: requests get 503 until the model is ready.

        Raises
        ------
        StepNotReady
            There is nothing to load, or loading failed.
        """
        if self._stats is None:
            from penstock._core import InferenceStats

            self._stats = InferenceStats()
        if self.ready or self._loading is not None:
            return
        if self.model is None and type(self).load is V2ModelServer.load:
            raise StepNotReady(f"model '{self.name}': please specify a load method or a model object")
        check_hooks(self)
        if self.context is not None:
            from penstock.tracking import tracker_of

            self._tracker = tracker_of(self)
        if "async" in (mode, self._params.get("load_mode"), getattr(self.context, "load_mode", None)):
            self._loading = Loading(self)
        else:
            self.load_now()

    def load_now(self) -> None:
        """Load the model on this thread; `post_init` calls it.

        Raises
        ------
        StepNotReady
            Loading failed.
        """
        try:
            loaded: Any = self.load()  # type: ignore[func-returns-value]  # a coroutine, if it is an async function
            if isinstance(loaded, CoroutineType):
                run_coroutine(loaded)
        except GraphError:
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
        if operation in (*PREDICT, "explain"):
            check_inputs(request)
        return request

    def postprocess(self, response: dict[str, Any]) -> dict[str, Any]:
        """Change the reply before it goes back."""
        return response

    def get_param(self, key: str, default: Any = None) -> Any:
        """Return a parameter of the model, else of the function."""
        if key in self._params:
            return self._params[key]
        return default if self.context is None else self.context.get_param(key, default)

    def set_metric(self, name: str, value: Any) -> None:
        """Give a metric's value; the latest goes into each tracking record."""
        self.metrics[name] = value

    def logged_results(
        self,
        request: dict[str, Any],  # noqa: ARG002  # for those who write their own
        response: dict[str, Any],  # noqa: ARG002
        op: str,  # noqa: ARG002
    ) -> tuple[Any, Any]:
        """Return the inputs and outputs to track instead of the request's and reply's own; None for those."""
        return None, None

    def get_model(self, suffix: str | tuple[str, ...] = "") -> tuple[str, dict[str, DataItem]]:
        """Return the path of the model's file on this machine, and its other files by name.

        A `model_spec.yaml` beside it is read: `model_spec` has it, its inputs and outputs describe the model, and
        `get_param` finds its parameters.

        Parameters
        ----------
        suffix : str or tuple of str
            The end of the file's name, for a `model_path` that is a directory.

        Raises
        ------
        ModelFileNotFound
            There is no such file.
        UntrustedModelFile
            It can run code, and a link or the spec leads out of what the graph names.
        """
        found = open_model(self.name, self.model_path, suffix)
        check_trust(self.name, found.file, self.context, model_path=self.model_path)
        spec = found.spec
        if spec is not None:
            self.model_spec = spec
            self._params = spec.parameters | self._params
            self.labels = spec.labels | self.labels
            self.inputs = self.inputs or spec.inputs
            self.outputs = self.outputs or spec.outputs
        return found.file, found.extra_data

    def columns(self) -> list[str]:
        """Return the names of the inputs, in the order that `predict` expects; empty if they have none."""
        if self.model_spec is not None and self.model_spec.inputs:
            return self.model_spec.columns()
        return [str(feature["name"]) for feature in type(self).inputs]

    def infer(self, request: dict[str, Any], event_id: str = "") -> dict[str, Any]:
        """Answer an infer request outside any graph, as the graph would."""
        reply = self._infer(request, "infer", event_id)
        answer: dict[str, Any] = run_coroutine(reply) if type(reply) is CoroutineType else reply
        return answer

    def do_event(self, event: Any) -> Any:
        """Handle one event: its path or its body name the operation; a coroutine, where the model has to wait."""
        body = event.body
        operation = operation_of(event)
        if operation in ("", "ready") and event.method == "GET":
            event.body = self._describe(operation, event)
            event.terminated = True
            return event
        if self._loading is not None:
            self._loading.check(event)
        custom = getattr(self, "op_" + operation, None) if operation else None
        if custom is not None:
            result = custom(event)
            if type(result) is CoroutineType:
                return self._customised(event, result)
            if result is not event:
                event.body = result
            return event
        if operation in GENERATE:
            return generate(self, event, operation)
        if operation not in (*PREDICT, "explain"):
            raise BadRequest(f"illegal model operation {operation}, method={event.method}")
        waited = getattr(event, "_waited", 0)
        reply = self._infer(request_of(event, self._input_path, self.inputs), operation, event.id, waited)
        if type(reply) is CoroutineType:
            return self._answered(event, body, reply)
        event.body = self._answer(body, reply)
        return event

    def do_events(self, events: list[Any]) -> Any:
        """Handle a batch: each caller's request is prepared alone, `predict` runs once for rows that fit together.

        A coroutine of the list, where the model has to wait.
        """
        from penstock.batches import infer_batch

        return infer_batch(self, events)

    def learn(self, inputs: Any, outputs: Any) -> None:
        """Take the metadata from a first request's arrays, unless it is known."""
        if not self.inputs:
            self.inputs = metadata_of(inputs)
        if not self.outputs:
            self.outputs = [
                {"name": tensor["name"], "datatype": tensor["datatype"], "shape": [-1, *tensor["shape"][1:]]}
                for tensor in outputs
            ]

    def metadata(self) -> dict[str, Any]:
        """Describe the model as MLRun does."""
        return {
            "name": self.name.partition(":")[0],
            "model_endpoint_uid": self.model_endpoint_uid,
            "inputs": self.inputs,
            "outputs": self.outputs,
        }

    def _describe(self, operation: str, event: Any) -> Any:
        if operation == "ready":
            if not self.ready:
                return Response(body=b"model not ready", status_code=503)
            return Response(body=f"Model {self.name} is ready (event_id = {event.id})".encode())
        return self.metadata()

    def _answer(self, body: Any, reply: Any) -> Any:
        """Put the reply where `result_path` says."""
        return put_reply(body, self._result_path, reply)

    async def _customised(self, event: Any, result: Coroutine[Any, Any, Any]) -> Any:
        changed = await result
        if changed is not event:
            event.body = changed
        return event

    async def _answered(self, event: Any, body: Any, reply: Coroutine[Any, Any, Any]) -> Any:
        event.body = self._answer(body, await reply)
        return event

    def _infer(self, request: dict[str, Any], operation: str, event_id: str, waited: int = 0) -> Any:
        """Return the reply, a coroutine of it, or a generator of replies."""
        return infer(self, request, operation, event_id, waited)

    def _parts(self, request: dict[str, Any], request_id: str, result: Any, names: list[str], waited: int) -> Any:
        """Return a generator of replies, for a `predict` that the core has called and that is one."""
        return parts(self, request, request_id, result, names, waited)

    def _prepare(self, request: dict[str, Any], operation: str) -> tuple[dict[str, Any], list[str] | None]:
        """Run the hooks ahead of `predict`; names of the inputs if they are tensors, else None."""
        names: list[str] | None = None
        inputs = request.get("inputs")
        if tensors.are_tensors(inputs):
            names = [tensor["name"] for tensor in inputs or []]
            request = request | {"inputs": tensors.to_arrays(inputs or [])}
        elif operation != "infer" and operation.endswith("_dict"):
            request = rows_of_dicts(request, self.columns())
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
        if named is None:
            reply = reply_in_rows(self, request_id, result, operation)
        else:
            reply = reply_in_tensors(self, request, request_id, result, named, operation)
        return self.postprocess(reply)
