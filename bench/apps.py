"""The functions that the benchmarks serve: `penstock serve apps.py:NAME`. Nothing but NumPy is imported."""

import time

import numpy as np
import penstock

BATCH = 32
BATCH_COST = 0.011  # seconds a call ...
ROW_COST = 0.0009  # ... and seconds a row, of a model that is worth batching
ENSEMBLE_COST = 0.02  # seconds, of each of three models that release the GIL
SLEEP = 0.2
SPIN = 0.05


class Small(penstock.serving.V2ModelServer):
    """One product with four weights: what it costs is what the server costs."""

    def load(self):
        self.weights = np.ones((4, 1), dtype="float32")

    def predict(self, body):
        return body["inputs"] @ self.weights


class Sleeper(Small):
    """Waits outside the GIL, as for a database."""

    def predict(self, body):
        time.sleep(SLEEP)
        return super().predict(body)


class Spinner(Small):
    """Computes in Python: it shares the GIL, but does not let go of it."""

    def predict(self, body):
        end = time.perf_counter() + SPIN
        while time.perf_counter() < end:
            pass
        return super().predict(body)


class Image(Small):
    """Reads all of an image, answers with one number."""

    def predict(self, body):
        return body["inputs"].mean(axis=(1, 2, 3), keepdims=True)


class Batched(Small):
    """A call has a price, and a row has a smaller one."""

    def predict(self, body):
        wait_until(time.perf_counter() + BATCH_COST + ROW_COST * len(body["inputs"]))
        return super().predict(body)


class Waiting(Small):
    """20 ms outside the GIL."""

    def predict(self, body):
        wait_until(time.perf_counter() + ENSEMBLE_COST)
        return [0] * len(body["inputs"])


def wait_until(end):
    """Sleep without the GIL, and not past the end: the timer's slack is made up for by the last stretch."""
    while (left := end - time.perf_counter()) > 0:
        time.sleep(max(left - 0.0002, 0.00001))


def router(name, **models):
    function = penstock.new_function(name)
    function.set_topology("router")
    for key, model in models.items():
        function.add_model(key, class_name=model, model_path=".")
    return function


small = router("small", m=Small)
image = router("image", m=Image)
mixed = router("mixed", quick=Small, sleep=Sleeper, spin=Spinner)
batched = penstock.new_function("batched")
batched.add_model("m", class_name=Batched, model_path=".").batch(max_size=BATCH)
patient = penstock.new_function("patient")
patient.add_model("m", class_name=Batched, model_path=".").batch(max_size=BATCH, max_delay=0.002)
adaptive = penstock.new_function("adaptive")
adaptive.add_model("m", class_name=Batched, model_path=".").batch(max_size=BATCH, adaptive=True)
ensemble = penstock.new_function("ensemble")
ensemble.set_topology("router", class_name="penstock.serving.VotingEnsemble")
for number in range(3):
    ensemble.add_model(f"m{number}", class_name=Waiting, model_path=".")
