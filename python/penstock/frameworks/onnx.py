"""The server of ONNX models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from penstock.errors import BadRequest, GraphError
from penstock.frameworks.base import FrameworkModelServer
from penstock.resolve import nearest
from penstock.tensors import DTYPES

if TYPE_CHECKING:
    import numpy as np

_DATATYPES = {
    "bool": "BOOL", "uint8": "UINT8", "uint16": "UINT16", "uint32": "UINT32", "uint64": "UINT64",
    "int8": "INT8", "int16": "INT16", "int32": "INT32", "int64": "INT64",
    "float16": "FP16", "float": "FP32", "double": "FP64", "string": "BYTES",
}  # fmt: skip


class ONNXModelServer(FrameworkModelServer):
    """Serves an ONNX model; its inputs and outputs are those of the model's graph.

    Parameters
    ----------
    output_names : list of str, optional
        Which outputs to compute; by default all that are tensors. One output goes back as rows, several by name.
    providers : list of str, optional
        The execution providers of onnxruntime, by default the processor's.
    **class_args
        As `V2ModelServer` takes them.
    """

    package: ClassVar[str] = "onnxruntime"
    extra: ClassVar[str] = "onnx"
    suffixes: ClassVar[tuple[str, ...]] = (".onnx",)

    def __init__(
        self,
        *args: Any,
        output_names: list[str] | None = None,
        providers: list[str] | None = None,
        **class_args: Any,
    ) -> None:
        super().__init__(*args, **class_args)
        self.output_names = list(output_names or [])
        self.providers = providers or ["CPUExecutionProvider"]

    def read(self, path: str) -> Any:
        """Open a session on the file."""
        return self.framework().InferenceSession(path, providers=self.providers)

    def inspect(self) -> None:
        """Take the inputs and outputs from the model's graph."""
        self._takes = {item.name: _metadata(item) for item in self.model.get_inputs()}
        gives = {item.name: item for item in self.model.get_outputs()}
        for name in self.output_names:
            if name not in gives:
                raise GraphError(f"model '{self.name}' has no output '{name}'{nearest(name, gives)}")
        if not self.output_names:
            self.output_names = [name for name, item in gives.items() if item.type.startswith("tensor(")]
        self.inputs = list(self._takes.values())
        self.outputs = [_metadata(gives[name]) for name in self.output_names]

    def columns(self) -> list[str]:
        """Return the names of the inputs, where the model's spec has them."""
        return self.model_spec.columns() if self.model_spec is not None else []

    def predict(self, body: dict[str, Any]) -> Any:
        """Return one result a row; several outputs by name."""
        results = self.model.run(self.output_names, self._feed(body["inputs"]))
        return results[0] if len(results) == 1 else dict(zip(self.output_names, results, strict=True))

    def _feed(self, inputs: Any) -> dict[str, Any]:
        import numpy as np

        names = list(self._takes)
        if isinstance(inputs, list) and inputs and isinstance(inputs[0], Mapping):
            inputs = {name: [row[name] for row in inputs] for name in names if all(name in row for row in inputs)}
        if isinstance(inputs, Mapping):
            missing = [name for name in names if name not in inputs]
            if missing:
                raise BadRequest(f"model '{self.name}': inputs miss {', '.join(missing)}")
            return {name: self._typed(name, inputs[name]) for name in names}
        if len(names) == 1:
            return {names[0]: self._typed(names[0], inputs)}
        columns = np.asarray(inputs, dtype=object)
        if columns.ndim != 2 or columns.shape[1] != len(names):
            raise BadRequest(f"model '{self.name}' takes {len(names)} inputs: {', '.join(names)}")
        return {name: self._typed(name, columns[:, place]) for place, name in enumerate(names)}

    def _typed(self, name: str, values: Any) -> np.ndarray[Any, Any]:
        """Make the array that the input `name` takes."""
        import numpy as np

        takes = self._takes[name]
        try:
            array = np.asarray(values)
            if takes["datatype"] == "BYTES":
                texts = [item.decode() if isinstance(item, bytes) else str(item) for item in array.reshape(-1)]
                array = np.array(texts, dtype=object).reshape(array.shape)
            else:
                array = np.ascontiguousarray(array, dtype=DTYPES[takes["datatype"]])
        except ValueError as error:
            raise BadRequest(f"model '{self.name}': input '{name}' is not {takes['datatype']}: {error}") from error
        rank = len(takes["shape"])
        if array.ndim == rank - 1 and takes["shape"][-1:] == [1]:
            array = array.reshape(*array.shape, 1)
        self._check(name, list(array.shape), takes["shape"])
        return array

    def _check(self, name: str, given: list[int], wanted: list[int]) -> None:
        fits = len(given) == len(wanted) and all(size in (-1, have) for size, have in zip(wanted, given, strict=True))
        if not fits:
            raise BadRequest(f"model '{self.name}': input '{name}' has shape {wanted}, this is {given}")


def _metadata(item: Any) -> dict[str, Any]:
    """Describe an input or output; sizes that the graph leaves open are -1."""
    kind = item.type.removeprefix("tensor(").removesuffix(")")
    shape = [size if isinstance(size, int) and size >= 0 else -1 for size in item.shape or []]
    return {"name": item.name, "datatype": _DATATYPES.get(kind, "BYTES"), "shape": shape}
