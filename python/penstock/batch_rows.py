"""Rows of several requests in one, and back: lists, arrays, and dicts of name to array."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from penstock import tensors
from penstock.errors import PenstockError

if TYPE_CHECKING:
    import numpy as np


def rows_of(inputs: Any) -> int:
    """Return how many rows the inputs of a request have; a scalar is one.

    Examples
    --------
    >>> rows_of([[1, 2], [3, 4]]), rows_of([{"name": "x", "shape": [5, 2], "datatype": "FP32"}])
    (2, 5)
    """
    if isinstance(inputs, Mapping):
        inputs = next(iter(inputs.values()))
    if tensors.are_tensors(inputs):
        return int(next(iter(inputs[0]["shape"]), 1))
    return 1 if getattr(inputs, "shape", None) == () else len(inputs)


def form_of(inputs: Any, *, padded: bool = False) -> Any:
    """Say what rows must have in common to be joined; of plain rows, the first speaks for all.

    Examples
    --------
    >>> form_of([[1, 2]]) == form_of([[3, 4], [5, 6]]), form_of([[1, 2]]) == form_of([[1, 2, 3]])
    (True, False)
    >>> form_of([[1, 2]], padded=True) == form_of([[1, 2, 3]], padded=True)
    True
    """
    if isinstance(inputs, Mapping):
        return tuple((name, form_of(array, padded=padded)) for name, array in sorted(inputs.items()))
    if hasattr(inputs, "shape"):
        return _array_form(str(inputs.dtype), inputs.shape, padded)
    if tensors.are_tensors(inputs):
        return tuple((item["name"], _array_form(item["datatype"], item["shape"], padded)) for item in inputs)
    return _row_form(inputs[0], padded) if inputs else None


def _array_form(dtype: str, shape: Any, padded: bool) -> Any:
    if not len(shape):
        return object()  # without rows, it stays alone
    return dtype, len(shape) if padded else tuple(shape[1:])


def _row_form(row: Any, padded: bool) -> Any:
    if isinstance(row, (list, tuple)):
        first = row[0] if len(row) else None
        flat = not isinstance(first, (list, tuple))
        return "row", None if padded and flat else len(row), _row_form(first, False) if len(row) else None
    if isinstance(row, (int, float)) and not isinstance(row, bool):
        return "number"
    return (type(row), row.shape, str(row.dtype)) if hasattr(row, "shape") else type(row)


def join(parts: list[Any], pad: Any = None) -> Any:
    """Put the rows of several requests together.

    Examples
    --------
    >>> join([[[1, 2]], [[3]]], pad=True)
    [[1, 2], [3, 0]]
    """
    first = parts[0]
    if len(parts) == 1:
        return first
    if isinstance(first, Mapping):
        return {name: join([part[name] for part in parts], pad) for name in first}
    if hasattr(first, "shape"):
        import numpy as np

        if pad is None or all(part.shape[1:] == first.shape[1:] for part in parts):
            return np.concatenate(parts)
        return _join_padded(parts, pad)
    rows = [row for part in parts for row in part]
    if pad is None or not isinstance(rows[0], (list, tuple)):
        return rows
    longest = max(len(row) for row in rows)
    return [[*row, *[_filling(pad, row)] * (longest - len(row))] for row in rows]


def _join_padded(parts: list[np.ndarray[Any, Any]], pad: Any) -> np.ndarray[Any, Any]:
    import numpy as np

    shape = [max(sizes) for sizes in zip(*(part.shape[1:] for part in parts), strict=True)]
    filling = _filling(pad, [""] if parts[0].dtype.kind in "OUS" else [0])
    joined = np.full((sum(len(part) for part in parts), *shape), filling, dtype=parts[0].dtype)
    start = 0
    for part in parts:
        joined[(slice(start, start + len(part)), *(slice(size) for size in part.shape[1:]))] = part
        start += len(part)
    return joined


def _filling(pad: Any, row: Any) -> Any:
    """Return what fills a row up: 0, or "" among texts, unless a value was given."""
    if pad is not True:
        return pad
    return "" if len(row) and isinstance(row[0], (str, bytes)) else 0


def split(result: Any, counts: list[int]) -> list[Any]:
    """Cut what `predict` returned for joined rows into each request's part.

    Raises
    ------
    PenstockError
        There are not as many results as rows.

    Examples
    --------
    >>> split({"scores": [1, 2, 3]}, [1, 2])
    [{'scores': [1]}, {'scores': [2, 3]}]
    """
    if isinstance(result, Mapping) and tensors.are_tensors(result.get("outputs")):
        result = result["outputs"]
    if tensors.are_tensors(result):
        by_tensor = [_split_tensor(tensor, counts) for tensor in result]
        return [[parts[place] for parts in by_tensor] for place in range(len(counts))]
    if isinstance(result, Mapping):
        by_name = {name: split(rows, counts) for name, rows in result.items()}
        return [{name: parts[place] for name, parts in by_name.items()} for place in range(len(counts))]
    if len(result) != sum(counts):
        raise PenstockError(f"predict returned {len(result)} results for {sum(counts)} rows")
    parts, start = [], 0
    for count in counts:
        parts.append(result[start : start + count])
        start += count
    return parts


def _split_tensor(tensor: Mapping[str, Any], counts: list[int]) -> list[dict[str, Any]]:
    parts = split(tensors.to_array(tensor), counts)
    return [{**tensor, "shape": list(part.shape), "data": part.reshape(-1).tolist()} for part in parts]
