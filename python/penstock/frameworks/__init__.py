"""Ready-made model servers: each loads the models of one framework.

| class | loads | extra |
|---|---|---|
| `SklearnModelServer` | pickles of scikit-learn models | ``sklearn`` |
| `PickleModelServer` | pickles of anything with a `predict` | |
| `XGBModelServer` | XGBoost's own files, or pickles | ``xgboost`` |
| `LGBMModelServer` | LightGBM's own files, or pickles | ``lightgbm`` |
| `ONNXModelServer` | ONNX files | ``onnx`` |
| `PyTorchModelServer` | TorchScript, states of a class, or whole modules | ``torch`` |
| `HuggingFaceModelServer` | pipelines of transformers | ``huggingface`` |

Each takes plain rows, and tensors of the Open Inference Protocol; a framework is imported when its server is made.
"""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    from penstock import serving

    if name.endswith("ModelServer") and name in serving.__all__:
        return getattr(serving, name)
    raise AttributeError(f"module 'penstock.frameworks' has no attribute '{name}'")
