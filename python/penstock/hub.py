"""The built-in hub: ready-made functions, and classes of steps, by the names that MLRun's hub has for them."""

from __future__ import annotations

from penstock.errors import GraphError
from penstock.resolve import nearest

PREFIX = "hub://"

FUNCTIONS = {
    "v2_model_server": "PickleModelServer",
    "pickle_model_server": "PickleModelServer",
    "sklearn_model_server": "SklearnModelServer",
    "xgb_model_server": "XGBModelServer",
    "xgb_serving": "XGBModelServer",
    "lgbm_model_server": "LGBMModelServer",
    "pytorch_model_server": "PyTorchModelServer",
    "onnx_model_server": "ONNXModelServer",
    "hugging_face_serving": "HuggingFaceModelServer",
}


def hub_name(url: str) -> str:
    """Return the name in a ``hub://`` URL, without owner and version.

    Examples
    --------
    >>> hub_name("hub://default/v2-model-server:latest")
    'v2_model_server'
    """
    return url.removeprefix(PREFIX).rpartition("/")[2].partition(":")[0].replace("-", "_")


def hub_class(url: str) -> str:
    """Return the class behind a ``hub://`` URL.

    Raises
    ------
    GraphError
        The built-in hub has no such function; the text has the nearest.

    Examples
    --------
    >>> hub_class("hub://v2_model_server")
    'penstock.serving.PickleModelServer'
    """
    name = hub_name(url)
    if name not in FUNCTIONS:
        near = nearest(name, FUNCTIONS) or f"; it has {', '.join(FUNCTIONS)}"
        raise GraphError(f"the built-in hub has no '{name}'{near}")
    return f"penstock.serving.{FUNCTIONS[name]}"
