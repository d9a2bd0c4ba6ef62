"""The server of PyTorch models."""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Mapping
from typing import Any, ClassVar

from penstock.frameworks.base import FrameworkModelServer
from penstock.resolve import Resolver


class PyTorchModelServer(FrameworkModelServer):
    """Serves a PyTorch module: a TorchScript file, the state of a class that is named, or a pickled module.

    Parameters
    ----------
    model_class : str or type, optional
        The module's class, for a file that holds its state; a dotted path, or a name in the main script.
    model_class_args : dict, optional
        The arguments of that class.
    device : str
        Where to compute, such as "cuda".
    **class_args
        As `V2ModelServer` takes them.
    """

    package: ClassVar[str] = "torch"
    extra: ClassVar[str] = "torch"
    suffixes: ClassVar[tuple[str, ...]] = (".pt", ".pth", ".ckpt", ".pkl")

    def __init__(
        self,
        *args: Any,
        model_class: Any = None,
        model_class_args: dict[str, Any] | None = None,
        device: str = "cpu",
        **class_args: Any,
    ) -> None:
        super().__init__(*args, **class_args)
        self.model_class = model_class
        self.model_class_args = model_class_args or {}
        self.device = device

    def read(self, path: str) -> Any:
        """Read the file; a state is read without running code of its own."""
        torch = self.framework()
        if self.model_class is not None:
            named = isinstance(self.model_class, str)
            kind = Resolver(sys.modules.get("__main__")).find(self.model_class) if named else self.model_class
            module = kind(**self.model_class_args)
            module.load_state_dict(torch.load(path, map_location=self.device, weights_only=True))
            return module
        if is_script(path):
            return torch.jit.load(path, map_location=self.device)
        return torch.load(path, map_location=self.device, weights_only=False)  # get_model refuses what is not named

    def inspect(self) -> None:
        """Make the module ready to predict."""
        self.model = self.model.to(self.device).eval()

    def predict(self, body: dict[str, Any]) -> Any:
        """Return one result a row; several inputs are arguments by name, several outputs have names."""
        torch = self.framework()
        inputs = body["inputs"]
        with torch.inference_mode():
            if isinstance(inputs, Mapping):
                result = self.model(**{name: self._tensor(torch, values) for name, values in inputs.items()})
            else:
                result = self.model(self._tensor(torch, inputs))
        return arrays_of(result)

    def _tensor(self, torch: Any, values: Any) -> Any:
        """Make a tensor; numbers of plain rows are of the type that modules compute in."""
        import numpy as np

        array = np.array(values)  # a copy: what comes from the wire may not be written to, and torch wants to
        if isinstance(values, list) and array.dtype.kind == "f":
            array = array.astype(np.float32)
        return torch.from_numpy(array).to(self.device)


def is_script(path: str) -> bool:
    """Tell whether a file is TorchScript: an archive with code of its own, in a language that reaches nothing else."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any("/code/" in name for name in archive.namelist())


def arrays_of(result: Any) -> Any:
    """Make arrays of a module's result."""
    if isinstance(result, Mapping):
        return {str(name): arrays_of(part) for name, part in result.items()}
    if isinstance(result, (tuple, list)):
        return {f"output{place}": arrays_of(part) for place, part in enumerate(result)}
    return result.detach().cpu().numpy() if hasattr(result, "detach") else result
