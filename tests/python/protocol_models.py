"""Servers for the protocol's clients; served by `penstock serve`."""

from typing import ClassVar

import numpy as np
import penstock
from penstock.serving import V2ModelServer


class Echo(V2ModelServer):
    """Gives back what it got, the names in capitals."""

    def load(self):
        pass

    def predict(self, body):
        inputs = body["inputs"]
        return {name.upper(): array for name, array in inputs.items()} if isinstance(inputs, dict) else {"OUT": inputs}


class Sums(V2ModelServer):
    inputs: ClassVar = [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}]
    outputs: ClassVar = [
        {"name": "sum", "datatype": "FP32", "shape": [-1]},
        {"name": "half", "datatype": "FP16", "shape": [-1]},
        {"name": "brain", "datatype": "BF16", "shape": [-1]},
        {"name": "text", "datatype": "BYTES", "shape": [-1]},
    ]

    def load(self):
        pass

    def predict(self, body):
        total = body["inputs"].sum(axis=1)
        texts = np.array([f"sum {value:g}" for value in total], dtype=object)
        return {"sum": total, "half": total.astype("float16"), "brain": total, "text": texts}


class Hooked(Sums):
    """Its requests and replies pass through Python."""

    def postprocess(self, response):
        response["parameters"] = {"hooked": True}
        return response


class Swapped(V2ModelServer):
    """Answers in the byte order of other machines."""

    def load(self):
        pass

    def predict(self, body):
        return body["inputs"].astype(">f4")


class Picky(V2ModelServer):
    def load(self):
        pass

    def predict(self, body):
        if body.get("parameters", {}).get("fail"):
            raise ValueError("told to")
        return np.array([len(body.get("parameters", {}))])


class Waits(V2ModelServer):
    def load(self):
        pass

    async def predict(self, body):
        import asyncio

        await asyncio.Event().wait()


class Words(V2ModelServer):
    def load(self):
        pass

    def predict(self, body):
        yield from body["inputs"][0].split()


class Counts(V2ModelServer):
    """Answers in as many parts as it is told to; below 0, it fails after those."""

    def load(self):
        pass

    def predict(self, body):
        number = int(np.asarray(body["inputs"]).reshape(-1)[0])
        for count in range(abs(number)):
            yield np.array([count], dtype="int32")
        if number < 0:
            raise ValueError("told to")


class LateCounts(Counts):
    async def predict(self, body):
        for part in super().predict(body):
            yield part


class Gaps(V2ModelServer):
    """Answers with a text for each row, and None if it is negative."""

    def load(self):
        pass

    def predict(self, body):
        return np.array([None if value < 0 else "text" for value in np.asarray(body["inputs"])], dtype=object)


fn = penstock.new_function("protocol")
for name, kind in {
    "echo": Echo,
    "sums": Sums,
    "hooked": Hooked,
    "swapped": Swapped,
    "picky": Picky,
    "waits": Waits,
    "words": Words,
    "counts": Counts,
    "late_counts": LateCounts,
    "gaps": Gaps,
    "org/echo": Echo,
}.items():
    fn.add_model(name, class_name=kind, model_path="")
fn.add_model("batched", class_name=Sums, model_path="").batch(32)

described = penstock.new_function("described")  # nothing in it fails by itself
described.add_model("echo", class_name=Echo, model_path="")
