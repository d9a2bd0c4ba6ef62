"""The floor with one NumPy model, as a process: `python floor_app.py PORT [THREADS]`, until SIGTERM.

The folder of the compiled penstock_floor has to be on PYTHONPATH.
"""

import sys

import numpy as np
import penstock_floor

WEIGHTS = np.ones((4, 1), dtype="float32")


def predict(body):
    return body["inputs"] @ WEIGHTS


if __name__ == "__main__":
    penstock_floor.serve(int(sys.argv[1]), predict, threads=int(sys.argv[2]) if len(sys.argv) > 2 else 1)
