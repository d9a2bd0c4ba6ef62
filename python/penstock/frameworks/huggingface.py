"""The server of pipelines of transformers."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any, ClassVar

from penstock.errors import GraphError
from penstock.frameworks.base import FrameworkModelServer


class HuggingFaceModelServer(FrameworkModelServer):
    """Serves a pipeline of transformers: of a model in a directory (`model_path`), or of one that the hub has.

    Rows are what the pipeline takes: texts, or dicts such as a question with its context. Who sends tensors sends
    texts as BYTES, and gets a tensor for each thing that a result says, such as "label" and "score".

    Parameters
    ----------
    task : str, optional
        What the pipeline does, such as "text-classification".
    model_name : str, optional
        The model's name at the hub, without a `model_path`.
    tokenizer_name : str, optional
        The tokenizer's, if it is another.
    model_class, tokenizer_class : str, optional
        Classes of transformers that load them, instead of the task's own.
    device : int or str, optional
        Where to compute.
    pipeline_args : dict, optional
        Further arguments of ``transformers.pipeline``.
    inference_args : dict, optional
        Arguments of each call of the pipeline.
    **class_args
        As `V2ModelServer` takes them.
    """

    package: ClassVar[str] = "transformers"
    extra: ClassVar[str] = "huggingface"

    def __init__(
        self,
        *args: Any,
        task: str | None = None,
        model_name: str | None = None,
        tokenizer_name: str | None = None,
        model_class: str | None = None,
        tokenizer_class: str | None = None,
        device: int | str | None = None,
        pipeline_args: dict[str, Any] | None = None,
        inference_args: dict[str, Any] | None = None,
        **class_args: Any,
    ) -> None:
        super().__init__(*args, **class_args)
        self.task = task
        self.model_name = model_name
        self.tokenizer_name = tokenizer_name
        self.model_class = model_class
        self.tokenizer_class = tokenizer_class
        self.device = device
        self.pipeline_args = pipeline_args or {}
        self.inference_args = inference_args or {}

    def load(self) -> None:
        """Make the pipeline, unless one was given."""
        if self.model is not None:
            return
        place = self._place()
        if place is None and self.task is None:
            raise GraphError(f"model '{self.name}': give a task, a model_name or a model_path")
        transformers = self.framework()
        model: Any = place
        if self.model_class is not None:
            model = getattr(transformers, self.model_class).from_pretrained(place)
        tokenizer: Any = self.tokenizer_name
        if self.tokenizer_class is not None:
            tokenizer = getattr(transformers, self.tokenizer_class).from_pretrained(self.tokenizer_name or place)
        given = {"model": model, "tokenizer": tokenizer, "device": self.device}
        arguments = {key: value for key, value in given.items() if value is not None}
        self.model = transformers.pipeline(self.task, **arguments, **self.pipeline_args)

    def predict(self, body: dict[str, Any]) -> Any:
        """Return one result a row."""
        inputs = body["inputs"]
        if isinstance(inputs, Mapping):
            columns = {name: texts_of(array) for name, array in inputs.items()}
            rows: list[Any] = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
            return columns_of(self._results(rows))
        if hasattr(inputs, "dtype"):
            return columns_of(self._results(texts_of(inputs)))
        return self._results(inputs)

    def _place(self) -> str | None:
        if not self.model_path:
            return self.model_name
        path, _ = self.get_model("")
        return path if os.path.isdir(path) else os.path.dirname(path)

    def _results(self, rows: list[Any]) -> list[Any]:
        results = self.model(rows, **self.inference_args)
        return [plain(result) for result in results]


def texts_of(array: Any) -> list[Any]:
    """Return the rows of a tensor; bytes are text."""
    rows = array.reshape(len(array)) if array.dtype == object and array.ndim > 1 else array
    return [row.decode() if isinstance(row, bytes) else row for row in rows.tolist()]


def plain(result: Any) -> Any:
    """Make of a pipeline's result what JSON can say; a list of one result is that result.

    Examples
    --------
    >>> plain([{"generated_text": "once"}])
    {'generated_text': 'once'}
    """
    if isinstance(result, list) and len(result) == 1:
        return plain(result[0])
    if isinstance(result, Mapping):
        return {str(key): plain(value) for key, value in result.items()}
    if isinstance(result, (list, tuple)):
        return [plain(part) for part in result]
    return result.tolist() if hasattr(result, "tolist") else result


def columns_of(results: list[Any]) -> Any:
    """Write results as arrays by name, for tensors; results that differ are text, in JSON.

    Examples
    --------
    >>> columns_of([{"label": "A", "score": 0.5}, {"label": "B", "score": 0.25}])["score"].tolist()
    [0.5, 0.25]
    >>> columns_of([[1, 2], {"a": 3}]).tolist()
    ['[1, 2]', '{"a": 3}']
    """
    import numpy as np

    first = results[0] if results else None
    alike = isinstance(first, dict) and all(
        isinstance(result, dict)
        and result.keys() == first.keys()
        and all(isinstance(value, (str, int, float)) for value in result.values())
        for result in results
    )
    if isinstance(first, dict) and alike:
        return {key: _column([result[key] for result in results]) for key in first}
    return np.array([json.dumps(result, default=str) for result in results], dtype=object)


def _column(values: list[Any]) -> Any:
    import numpy as np

    return np.array(values, dtype=object if isinstance(values[0], str) else None)
