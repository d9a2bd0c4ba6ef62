"""The functions that the benchmarks serve: `penstock serve apps.py:NAME`. Nothing but NumPy is imported."""

import time

import numpy as np
import penstock
from costs import BATCH, DELAY, batch_seconds, wait_until

ENSEMBLE_COST = 0.02  # seconds, of each of three models that release the GIL
BUSY_COST = 0.001  # seconds
CHUNKS = 2000  # of one answer
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


class Scores(Small):
    """Gets an image, answers with 1,000 scores, as a classifier does."""

    def load(self):
        self.scores = np.random.default_rng(0).normal(size=(1, 1000)).astype("float32")

    def predict(self, body):
        return self.scores + body["inputs"][0, 0, 0, 0]


class Echo(Small):
    """Answers with what it is asked: all that is left to pay for is the wire, both ways."""

    def predict(self, body):
        return body["inputs"]


class Busy(Small):
    """Waits 1 ms outside the GIL, one request at a time: 1,000 a second are all it can do."""

    def predict(self, body):
        wait_until(time.perf_counter() + BUSY_COST)
        return super().predict(body)


class Batched(Small):
    """A call has a price, and a row has a smaller one."""

    def predict(self, body):
        wait_until(time.perf_counter() + batch_seconds(len(body["inputs"])))
        return super().predict(body)


class Waiting(Small):
    """20 ms outside the GIL."""

    def predict(self, body):
        wait_until(time.perf_counter() + ENSEMBLE_COST)
        return [0] * len(body["inputs"])


def tokens(body):
    """Answer bit by bit."""
    for number in range(CHUNKS):
        yield f"token {number} "


def router(name, **models):
    function = penstock.new_function(name)
    function.set_topology("router")
    for key, model in models.items():
        function.add_model(key, class_name=model, model_path=".")
    return function


small = router("small", m=Small)
image = router("image", m=Image)
scores = router("scores", m=Scores)
echo = router("echo", m=Echo)
busy = router("busy", m=Busy)
twenty = router("twenty", m=Small, **{f"m{number}": Small for number in range(19)})
eager = penstock.new_function("eager")
eager.add_model("m", class_name=Small, model_path=".").batch(max_size=BATCH)
chunks = penstock.new_function("chunks")
chunks.set_topology("flow").to(tokens, name="tokens").respond()
mixed = router("mixed", quick=Small, sleep=Sleeper, spin=Spinner)
batched = penstock.new_function("batched")
batched.add_model("m", class_name=Batched, model_path=".").batch(max_size=BATCH)
patient = penstock.new_function("patient")
patient.add_model("m", class_name=Batched, model_path=".").batch(max_size=BATCH, max_delay=DELAY)
adaptive = penstock.new_function("adaptive")
adaptive.add_model("m", class_name=Batched, model_path=".").batch(max_size=BATCH, adaptive=True)
ensemble = penstock.new_function("ensemble")
ensemble.set_topology("router", class_name="penstock.serving.VotingEnsemble")
for number in range(3):
    ensemble.add_model(f"m{number}", class_name=Waiting, model_path=".")
