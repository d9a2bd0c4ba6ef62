"""Servers of pickled models, scikit-learn's first of all."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from typing import Any, ClassVar

from penstock.errors import GraphError
from penstock.frameworks.base import PICKLES, FrameworkModelServer
from penstock.replies import metadata_of
from penstock.resolve import nearest

_METHODS = ("predict", "predict_proba", "predict_log_proba", "decision_function", "transform", "score_samples")


class PickleModelServer(FrameworkModelServer):
    """Serves a pickled model that has a `predict`, or is a function.

    Parameters
    ----------
    method : str
        What to call instead of `predict`: "predict_proba", "decision_function", "transform" ...
    **class_args
        As `V2ModelServer` takes them.

    Examples
    --------
    >>> class Sum:
    ...     def predict(self, rows): return rows.sum(axis=1)
    >>> PickleModelServer(name="sum", model=Sum()).infer({"inputs": [[1, 2], [3, 4]]})["outputs"]
    [3, 7]
    """

    suffixes: ClassVar[tuple[str, ...]] = PICKLES

    def __init__(self, *args: Any, method: str = "predict", **class_args: Any) -> None:
        super().__init__(*args, **class_args)
        self.method = method
        self._pandas: Any = None

    def inspect(self) -> None:
        """Take the number and names of the features, and the type of the classes."""
        model = self.model
        if not callable(getattr(model, self.method, None)):
            known = [method for method in _METHODS if hasattr(model, method)]
            if self.method != "predict" or not callable(model):
                raise GraphError(
                    f"model '{self.name}': a {type(model).__name__} has no {self.method}{nearest(self.method, known)}"
                )
        width = getattr(model, "n_features_in_", None)
        self.width = int(width) if width is not None else None
        names = getattr(model, "feature_names_in_", None)
        self.feature_names = [str(name) for name in names] if names is not None else []
        if self.feature_names and importlib.util.find_spec("pandas") is not None:
            self._pandas = importlib.import_module("pandas")  # the model was fitted on its frames
        if self.width is not None and not self.inputs:
            self.inputs = [{"name": "input0", "datatype": "FP64", "shape": [-1, self.width]}]
        classes = getattr(model, "classes_", None)
        if self.method == "predict" and hasattr(classes, "dtype") and not self.outputs:
            self.outputs = [metadata_of({"output0": classes})[0]]

    def predict(self, body: dict[str, Any]) -> Any:
        """Return one result a row."""
        rows = self.rows(body)
        if self._pandas is not None:
            rows = self._frame(body["inputs"], rows)
        call = getattr(self.model, self.method, self.model)
        return call(rows)

    def _frame(self, inputs: Any, rows: Any) -> Any:
        """Make a frame, whose columns each have a type of their own."""
        columns = self.feature_names
        data = {name: inputs[name] for name in columns} if isinstance(inputs, Mapping) else rows
        frame = self._pandas.DataFrame(data, columns=columns)
        return frame.infer_objects() if rows.dtype == object else frame


class SklearnModelServer(PickleModelServer):
    """Serves a scikit-learn model from its pickle (`pickle`, `cloudpickle` or `joblib`).

    Parameters
    ----------
    method : str
        What to call instead of `predict`: "predict_proba", "decision_function", "transform" ...
    **class_args
        As `V2ModelServer` takes them.
    """

    package = "sklearn"
    extra = "sklearn"


SKLearnModelServer = SklearnModelServer
