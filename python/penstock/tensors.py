"""Tensors of the Open Inference Protocol in JSON, to NumPy arrays and back."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from penstock.errors import BadRequest

if TYPE_CHECKING:
    import numpy as np

DTYPES = {
    "BOOL": "bool", "UINT8": "uint8", "UINT16": "uint16", "UINT32": "uint32", "UINT64": "uint64",
    "INT8": "int8", "INT16": "int16", "INT32": "int32", "INT64": "int64",
    "FP16": "float16", "FP32": "float32", "FP64": "float64", "BYTES": "object",
    "BF16": "float32",  # NumPy has no BF16; an FP32 holds each of its values
}  # fmt: skip
_DATATYPES = {dtype: datatype for datatype, dtype in DTYPES.items() if datatype != "BF16"} | {"bfloat16": "BF16"}
_HALVES = ("FP16", "BF16")
_KEYS = ("name", "shape", "datatype")


def is_tensor(item: object) -> bool:
    """Tell whether this is a tensor of the protocol: a dict with name, shape and datatype."""
    return isinstance(item, Mapping) and all(key in item for key in _KEYS)


def are_tensors(inputs: object) -> bool:
    """Tell whether a request is protocol-shaped: every input is a tensor.

    Examples
    --------
    >>> are_tensors([[1, 2]]), are_tensors([{"name": "x", "shape": [1], "datatype": "FP32", "data": [1]}])
    (False, True)
    """
    return isinstance(inputs, (list, tuple)) and bool(inputs) and all(is_tensor(item) for item in inputs)


def to_array(tensor: Mapping[str, Any]) -> np.ndarray[Any, Any]:
    """Make the array of a tensor, whose data may be nested or flat.

    Raises
    ------
    BadRequest
        The datatype is unknown, or the data does not fill the shape.

    Examples
    --------
    >>> to_array({"name": "x", "shape": [2, 1], "datatype": "INT64", "data": [1, 2]}).tolist()
    [[1], [2]]
    """
    import numpy as np

    name, datatype, shape = tensor["name"], tensor["datatype"], tensor["shape"]
    if datatype not in DTYPES:
        raise BadRequest(f"input '{name}': unknown datatype {datatype!r}, known are {', '.join(DTYPES)}")
    if not isinstance(shape, (list, tuple)) or not all(type(size) is int and size >= 0 for size in shape):
        raise BadRequest(f"input '{name}': shape is a list of whole numbers, not {shape!r}")
    if "data" not in tensor:
        raise BadRequest(f"input '{name}': there is no data")
    data = tensor["data"]
    try:
        if datatype == "BYTES":
            flat = np.array(_flatten(data), dtype=object)
        elif isinstance(data, np.ndarray):
            flat = data.astype(DTYPES[datatype], copy=False).reshape(-1)
        else:
            flat = _exact(np.array(_without_null(data, datatype)), np.dtype(DTYPES[datatype])).reshape(-1)
    except (TypeError, ValueError, OverflowError) as error:
        raise BadRequest(f"input '{name}': the data is not {datatype}: {error}") from None
    if flat.size != math.prod(shape):
        needed = math.prod(shape)
        raise BadRequest(f"input '{name}': shape {list(shape)} needs {needed} values, the data has {flat.size}")
    return flat.reshape(shape)


def _exact(values: Any, dtype: Any) -> Any:
    """Return values as another type; whole numbers that it does not hold are an error, with any NumPy."""
    import numpy as np

    if dtype.kind in "iu" and values.size:
        if values.dtype.kind not in "iub":
            return np.array(values.tolist(), dtype=dtype)
        low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
        if int(values.min()) < low or int(values.max()) > high:
            raise OverflowError(f"whole numbers from {low} to {high} are needed")
    return values.astype(dtype)


def of_bytes(described: Mapping[str, Any], data: bytes) -> dict[str, Any]:
    r"""Make the tensor of an input whose bytes are all that was sent; one dimension may vary.

    Raises
    ------
    BadRequest
        The bytes do not fill the shape.

    Examples
    --------
    >>> of_bytes({"name": "x", "datatype": "INT16", "shape": [-1, 2]}, b"\x01\x00\x02\x00")["data"].tolist()
    [[1, 2]]
    """
    import numpy as np

    name, datatype, shape = str(described["name"]), str(described["datatype"]), list(described["shape"])
    if datatype == "BYTES":
        return {"name": name, "datatype": datatype, "shape": [1], "data": [data]}
    dtype = np.dtype("uint16" if datatype == "BF16" else DTYPES[datatype])
    fixed = math.prod(size for size in shape if size != -1) * dtype.itemsize
    if shape.count(-1) > 1 or (-1 not in shape and len(data) != fixed) or fixed == 0 or len(data) % fixed:
        raise BadRequest(f"input '{name}': {len(data)} bytes do not fill shape {shape} of {datatype}")
    array = np.frombuffer(data, dtype).reshape([len(data) // fixed if size == -1 else size for size in shape])
    if datatype == "BF16":
        array = (array.astype("uint32") << 16).view("float32")
    return {"name": name, "datatype": datatype, "shape": list(array.shape), "data": array}


def to_arrays(inputs: Sequence[Mapping[str, Any]]) -> Any:
    """Return what `predict` gets: the array of a single input, or a dict of name to array."""
    if len(inputs) == 1:
        return to_array(inputs[0])
    arrays = {tensor["name"]: to_array(tensor) for tensor in inputs}
    if len(arrays) != len(inputs):
        raise BadRequest("two inputs have the same name")
    return arrays


def to_tensors(result: Any, names: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Write what `predict` returned as tensors: an array, rows, a dict of name to array, or tensors.

    Examples
    --------
    >>> to_tensors([1.5, 2.5], ["score"])
    [{'name': 'score', 'shape': [2], 'datatype': 'FP64', 'data': [1.5, 2.5]}]
    """
    import numpy as np

    if isinstance(result, Mapping) and are_tensors(result.get("outputs")):
        result = result["outputs"]
    if are_tensors(result):
        return [dict(tensor) for tensor in result]
    arrays = result if isinstance(result, Mapping) else {names[0] if names else "output0": result}
    return [_to_tensor(name, np.asarray(array)) for name, array in arrays.items()]


def metadata_of(name: str, array: np.ndarray[Any, Any]) -> dict[str, Any]:
    """Describe an array as model metadata: the first dimension is the rows, so it varies."""
    shape = [-1, *array.shape[1:]] if array.ndim else []
    return {"name": name, "datatype": _DATATYPES.get(array.dtype.name, "BYTES"), "shape": shape}


def chosen(outputs: list[dict[str, Any]], asked: object) -> list[dict[str, Any]]:
    """Return the outputs that a request asks for, in its order; all of them if it asks for none.

    Raises
    ------
    BadRequest
        There is no such output.

    Examples
    --------
    >>> chosen([{"name": "a"}, {"name": "b"}], [{"name": "b"}])
    [{'name': 'b'}]
    """
    if not isinstance(asked, (list, tuple)) or not asked:
        return outputs
    by_name = {output["name"]: output for output in outputs}
    picked = []
    for item in asked:
        name = item.get("name") if isinstance(item, Mapping) else None
        if not isinstance(name, str):
            raise BadRequest("outputs must hold objects with a name")
        if name not in by_name:
            known = ", ".join(f"'{known}'" for known in by_name) or "none"
            raise BadRequest(f"the model has no output '{name}', it has {known}")
        picked.append(by_name[name])
    return picked


def in_json(reply: dict[str, Any]) -> dict[str, Any]:
    """Return a reply as JSON has it, which knows neither FP16 nor BF16: those go as FP32. Metadata stays as it is.

    Examples
    --------
    >>> in_json({"outputs": [{"name": "y", "shape": [1], "datatype": "FP16", "data": [1.5]}]})["outputs"][0]["datatype"]
    'FP32'
    """
    outputs = reply.get("outputs")
    if not isinstance(outputs, list) or not are_tensors(outputs):
        return reply
    if all(output["datatype"] not in _HALVES or "data" not in output for output in outputs):
        return reply
    return {**reply, "outputs": [_widened(output) for output in outputs]}


def _to_tensor(name: str, array: np.ndarray[Any, Any]) -> dict[str, Any]:
    import numpy as np

    datatype = _DATATYPES.get(array.dtype.name, "BYTES")
    if not array.ndim and array.dtype == object:  # a forgotten return, a set ...: its text would look like an answer
        raise TypeError(f"output '{name}' is of type {type(array.item()).__name__}, which makes no tensor")
    data = array.reshape(-1).tolist()
    if datatype == "BYTES":
        if None in data:
            raise TypeError(f"output '{name}' holds None at {data.index(None)}, which BYTES cannot: write '' for it")
        data = [_text(item) if isinstance(item, bytes) else str(item) for item in data]
    elif array.dtype.kind == "f" and np.isnan(array).any():  # infinities stay: bytes have them, JSON makes them null
        data = [None if math.isnan(item) else item for item in data]
    return {"name": name, "shape": list(array.shape), "datatype": datatype, "data": data}


def _widened(output: dict[str, Any]) -> dict[str, Any]:
    return {**output, "datatype": "FP32"} if output["datatype"] in _HALVES else output


def _text(item: bytes) -> str | bytes:
    """Return an element of BYTES as text, which is what JSON has; bytes that are none stay, for the wire's own form."""
    try:
        return item.decode("utf-8")
    except UnicodeDecodeError:
        return item


def _flatten(data: Any) -> list[Any]:
    if not isinstance(data, (list, tuple)) and not hasattr(data, "tolist"):
        return [data]
    items = data.tolist() if hasattr(data, "tolist") else data
    return [leaf for item in items for leaf in _flatten(item)]


def _without_null(data: Any, datatype: str) -> Any:
    """Read null as NaN, where the datatype has one."""
    if "FP" not in datatype and datatype != "BF16":
        return data
    if isinstance(data, (list, tuple)):
        changes = any(item is None or isinstance(item, (list, tuple)) for item in data)
        return [_without_null(item, datatype) for item in data] if changes else data
    return math.nan if data is None else data
