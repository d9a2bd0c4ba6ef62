"""Graphs whose models are loaded and unloaded while they serve; the target of `test_model_control.py`."""

import asyncio
import os
import pathlib
import threading
import time

import numpy as np
import penstock

FOLDER = pathlib.Path(os.environ.get("CONTROLLED", "."))  # holds models: files with a number


class Factor(penstock.serving.V2ModelServer):
    """Multiplies rows by the number in its file; a row below 0 has it wait for the file "go"."""

    def load(self):
        with open(self.get_model()[0]) as file:
            self.factor = float(file.read())

    def predict(self, body):
        rows = body["inputs"]
        if np.min(rows) < 0:
            (FOLDER / "entered").touch()
            while not (FOLDER / "go").exists():
                time.sleep(0.005)
        result = np.asarray(rows) * self.factor * self.get_param("scale", 1)
        return result if hasattr(rows, "dtype") else result.tolist()

    def unload(self):
        with open(FOLDER / "released", "a") as file:
            file.write(f"{self.name} {self.factor:g} {threading.current_thread().name.rpartition('-')[0]}\n")


class Later(Factor):
    async def predict(self, body):
        await asyncio.sleep(0.001)
        while np.min(body["inputs"]) < 0 and not (FOLDER / "go").exists():
            (FOLDER / "entered").touch()
            await asyncio.sleep(0.005)
        return [[value * self.factor for value in row] for row in body["inputs"]]


class Pieces(Factor):
    def predict(self, body):
        yield f"{self.factor:g} "
        (FOLDER / "entered").touch()
        while not (FOLDER / "go").exists():
            time.sleep(0.005)
        yield f"{self.factor:g}"


def path(name="a.txt"):
    return str(FOLDER / "models" / name)


def add(function, key, kind=Factor, **more):
    more = {"model_path": path(), "scale": 1, **more}
    return function.add_model(key, class_name=kind, **more)


def new(name, **more):
    made = penstock.new_function(name)
    made.spec.trusted_model_paths = [str(FOLDER / "models")]
    made.set_topology("router", **more)
    return made


router = new("router")
add(router, "m")
add(router, "other", model_path=path("b.txt"))
router.add_model("given", class_name=Factor(name="given", model_path=path()))

batched = new("batched")
add(batched, "m").batch(8, 0.001)

later = new("later")
add(later, "m", Later)

pieces = new("pieces")
add(pieces, "m", Pieces)

flow = penstock.new_function("flow")
flow.spec.trusted_model_paths = [str(FOLDER / "models")]
models = flow.set_topology("flow").to("(event)", name="first").to("*", name="models")
models.add_route("m", class_name=Factor, model_path=path(), scale=1)
models.to("(dict(event, after=True))", name="last").respond()

step = penstock.new_function("step")
step.spec.trusted_model_paths = [str(FOLDER / "models")]
step.set_topology("flow").to(Factor, name="m", model_path=path(), scale=1).respond()


def ensemble(name, **more):
    made = new(name, class_name="penstock.serving.VotingEnsemble", vote_type="regression", **more)
    add(made, "m")
    add(made, "other", model_path=path("b.txt"))
    return made


voting = ensemble("voting")
voting_in_line = ensemble("voting_in_line", executor_type="array")

versions = new("versions")
for number, file in (("1", "a.txt"), ("2", "b.txt"), ("10", "c.txt")):
    add(versions, f"m:{number}", model_path=path(file))

latest = new("latest", version_policy={"latest": 2})
for number, file in (("1", "none.txt"), ("2", "b.txt"), ("10", "c.txt")):
    add(latest, f"m:{number}", model_path=path(file))
