"""The model that all peers serve: four numbers, four weights. `batched` costs what `costs` says."""

import os
import time

import numpy as np
from costs import BATCH, DELAY, batch_seconds, wait_until

BATCHED = os.environ["BENCH_MODEL"] == "batched"
SIZE = BATCH if BATCHED else 1
WAIT = DELAY if BATCHED else 0.0
WEIGHTS = np.ones((4, 1), dtype="float32")


def predict(rows):
    """Multiply (n, 4) with the weights."""
    if BATCHED:
        wait_until(time.perf_counter() + batch_seconds(len(rows)))
    return rows @ WEIGHTS


def rows_of(body):
    """Read the first tensor of an Open Inference Protocol request."""
    tensor = body["inputs"][0]
    return np.array(tensor["data"], dtype="float32").reshape(tensor["shape"])


def answer(result):
    """Write the answer to it."""
    tensor = {"name": "y", "shape": list(result.shape), "datatype": "FP32", "data": result.ravel().tolist()}
    return {"model_name": "m", "outputs": [tensor]}
