"""Triton's Python backend: model.py of its repository."""

# ruff: noqa: E402 - what starts Triton's interpreter pays no heed to PYTHONPATH
import os
import sys

sys.path[:0] = os.environ["PYTHONPATH"].split(os.pathsep)

import numpy as np
import triton_python_backend_utils as triton
from model import predict


class TritonPythonModel:
    def execute(self, requests):
        rows = [triton.get_input_tensor_by_name(request, "x").as_numpy() for request in requests]
        results = np.split(predict(np.concatenate(rows)), np.cumsum([len(part) for part in rows])[:-1])
        return [triton.InferenceResponse([triton.Tensor("y", result)]) for result in results]
