"""Models for the tests of the model runner: their processes import this module."""

import ctypes
import json
import os
import signal
import threading

import numpy as np
from penstock.errors import MLRunBadRequestError
from penstock.serving import Model, ModelRunnerSelector


class Times(Model):
    """Multiplies by its parameter `factor`, and says so of itself if told to."""

    def predict(self, body):
        if body == "fail":
            raise TypeError("no number")
        if body == "refuse":
            raise MLRunBadRequestError("not this one")
        return body * self.get_param("factor", 1)

    async def predict_async(self, body):
        return self.predict(body)


class Increment(Model):
    def predict(self, body):
        body["n"] += 1
        return body


class Loaded(Model):
    """Knows where it was loaded."""

    def load(self):
        self.home = os.getpid()

    def predict(self, body):
        return {"loaded": self.home, "ran": os.getpid(), "thread": threading.get_ident()}


class Unloadable(Model):
    def load(self):
        raise KeyError("weights")

    def predict(self, body):
        return body


class FromFile(Model):
    def load(self):
        path, self.extra = self.get_local_model_path(".json")
        with open(path) as file:
            self.factors = json.load(file)

    def predict(self, body):
        return self.factors * body + [sorted(self.extra)]


class NoPredict(Model):
    pass


class Deadly(Model):
    """Dies on the body "die" or an array, ends itself on a number, tells its process else."""

    def predict(self, body):
        if isinstance(body, np.ndarray) or body == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if isinstance(body, int):
            os._exit(body)
        return os.getpid()


class Meet(Model):
    """Waits at a barrier of the function's parameters, so that it returns only if another call is under way."""

    def predict(self, body):
        self.get_param("barrier").wait(timeout=20)
        return body


class MeetInFifo(Model):
    """Waits in one end of a named pipe for who takes the other one."""

    def predict(self, body):
        with open(body, self.get_param("mode")) as file:
            return file.read() if self.get_param("mode") == "r" else file.write("met")


class Stuck(Model):
    """Never returns; says by a file that it has begun: the body, or its first item."""

    def predict(self, body):
        with open(body if isinstance(body, str) else body[0], "w") as file:
            file.write("begun")
        threading.Event().wait()


class Arrays(Model):
    """Looks at arrays, and returns, keeps or slices them."""

    def load(self):
        self.kept = []

    def predict(self, body):
        how, array = body["how"], body["array"]
        if how == "keep":
            self.kept.append(array)
            return [float(kept.sum()) for kept in self.kept]
        if how == "home":
            while isinstance(array, np.ndarray):
                array = array.base
            return isinstance(array, memoryview) and isinstance(array.obj, ctypes.Array)
        if how == "slice":
            return array[:, ::2]
        return {"same": array, "twice": [array * 2]}


class Unpicklable(Model):
    """Raises what cannot travel, and returns what cannot."""

    def predict(self, body):
        if body == "raise":

            class OddError(Exception):
                pass

            raise OddError("of its own kind")
        return lambda: body


class Rows(Model):
    """Takes batches as a dict."""

    def format_batch(self, body):
        return {"rows": body}

    def predict(self, body):
        if not isinstance(body, dict) or "rows" not in body:
            return [body, "alone"]
        if "short" in body["rows"]:
            return []
        return [[row, len(body["rows"])] for row in body["rows"]]


class ByName(ModelRunnerSelector):
    """Chooses what the body says."""

    def select_models(self, event, available_models):
        assert all(isinstance(model, Model) for model in available_models)
        return event.body["models"] if isinstance(event.body, dict) else None

    def select_outlets(self, event):
        return ["left"] if isinstance(event, dict) and "m0" in event else None
