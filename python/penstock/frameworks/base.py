"""What the ready-made servers share: how files are found, and rows made of what requests carry."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from penstock.errors import BadRequest, MissingExtra
from penstock.extras import load_extra
from penstock.models import V2ModelServer

if TYPE_CHECKING:
    import numpy as np

PICKLES = (".pkl", ".pickle", ".cloudpickle", ".joblib")
_EXTRAS = {
    "sklearn": "sklearn", "cloudpickle": "sklearn", "joblib": "sklearn", "xgboost": "xgboost",
    "lightgbm": "lightgbm", "torch": "torch", "pandas": "parquet",
}  # fmt: skip


class FrameworkModelServer(V2ModelServer):
    """The base of the ready-made servers: subclass one of those.

    Attributes
    ----------
    package, extra : str
        What has to be installed, and the extra of penstock that brings it.
    suffixes : tuple of str
        The ends of the names of files it loads, the preferred one first.
    width : int, optional
        How many values a row has, if that is known.
    feature_names : list of str
        The names of these values, if the model knows them.
    """

    package: ClassVar[str] = ""
    extra: ClassVar[str] = ""
    suffixes: ClassVar[tuple[str, ...]] = ()

    width: int | None = None
    feature_names: list[str] = []  # noqa: RUF012  # read only here; the instance gets its own

    def post_init(self, mode: str = "sync") -> None:
        """Load the model; a missing package is named first, whatever the mode."""
        if self.package and self.model is None:
            self.framework()
        super().post_init(mode)

    def framework(self) -> Any:
        """Import the framework.

        Raises
        ------
        MissingExtra
            It is not installed.
        """
        return load_extra(self.package, self.extra, f"model '{self.name}': {type(self).__name__}")

    def load(self) -> None:
        """Load the model's file, unless a model object was given, and take from the model what it says of itself."""
        if self.model is None:
            path, _ = self.get_model(self.suffixes)
            self.model = self.read(path)
        self.inspect()

    def read(self, path: str) -> Any:
        """Read the model's file; a pickle here."""
        return self.unpickle(path)

    def inspect(self) -> None:
        """Take the metadata from the model, where it knows them."""

    def columns(self) -> list[str]:
        """Return the names of the inputs, in the order that `predict` expects."""
        return super().columns() or self.feature_names

    def unpickle(self, path: str) -> Any:
        """Load a pickle; `get_model` has made sure that it may be loaded.

        Raises
        ------
        MissingExtra
            It needs a package that is not installed.
        """
        try:
            if path.endswith(".joblib"):
                return load_extra("joblib", "sklearn", f"model '{self.name}'").load(path)
            with open(path, "rb") as file:
                return pickle.load(file)  # noqa: S301  # get_model refuses what the graph does not name
        except ModuleNotFoundError as error:
            top = (error.name or "").partition(".")[0]
            how = f': pip install "penstock[{_EXTRAS[top]}]"' if top in _EXTRAS else ""
            raise MissingExtra(f"model '{self.name}': its file needs the package '{top}'{how}") from error

    def rows(self, body: Mapping[str, Any]) -> np.ndarray[Any, Any]:
        """Return the inputs as one array with a row a sample; columns that come by name are put in order.

        Raises
        ------
        BadRequest
            They are none, or have not as many values as the model takes.
        """
        import numpy as np

        inputs = body["inputs"]
        try:
            array = self._by_name(inputs) if isinstance(inputs, Mapping) else _array(inputs)
        except ValueError as error:
            if isinstance(error, BadRequest):
                raise
            raise BadRequest(f"model '{self.name}': the rows of inputs are not alike: {error}") from error
        if self.width is not None and (array.ndim != 2 or array.shape[1] != self.width):
            given = f"{array.shape[1]} values" if array.ndim == 2 else f"shape {list(array.shape[1:])}"
            raise BadRequest(f"model '{self.name}' takes rows of {self.width} values, these have {given}")
        checked: np.ndarray[Any, Any] = np.ascontiguousarray(array) if array.ndim else array
        return checked

    def _by_name(self, inputs: Mapping[str, Any]) -> np.ndarray[Any, Any]:
        import numpy as np

        names = self.columns() or list(inputs)
        missing = [name for name in names if name not in inputs]
        if missing:
            raise BadRequest(f"model '{self.name}': inputs miss {', '.join(missing)}, there are {', '.join(inputs)}")
        return np.column_stack([inputs[name] for name in names])


def _array(inputs: Any) -> np.ndarray[Any, Any]:
    """Make an array of rows; where text and numbers are mixed, each stays what it is."""
    import numpy as np

    array = np.asarray(inputs)
    if array.dtype.kind in "US" and isinstance(inputs, list):
        return np.asarray(inputs, dtype=object)
    return array
