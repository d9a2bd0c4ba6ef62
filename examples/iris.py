"""Measures of flowers in, names of flowers out: two trained models vote, inside a graph.

Serve it with `penstock serve examples/iris.py`. It reads its models from the folder that IRIS_MODELS names; without
that it trains them first.
"""

import os
import tempfile

import numpy as np
import penstock
from cloudpickle import load

NAMES = ["setosa", "versicolor", "virginica"]


class Measures:
    """Let only rows through that are measures of a flower."""

    def __init__(self, columns):
        self.columns = columns

    def do(self, body):
        """Refuse by raising: the event goes to the catcher."""
        for row in body["inputs"]:
            if isinstance(row, list) and len(row) != self.columns:
                raise ValueError(f"a flower has {self.columns} measures, this one has {len(row)}")
        return body


class ClassifierModel(penstock.serving.V2ModelServer):
    """A model that was saved as a pickle."""

    def load(self):
        """Load the model, once, when the graph is made."""
        model_file, _ = self.get_model(".pkl")
        with open(model_file, "rb") as file:
            self.model = load(file)

    def predict(self, body):
        """Return one class a row."""
        rows = np.asarray(body["inputs"])
        return self.model.predict(rows).tolist()


class FlowerNames:
    """Add the names, for people; who sends tensors gets tensors alone, as other servers of the protocol answer."""

    def do(self, reply):
        """Add them to the ensemble's reply."""
        if any(isinstance(output, dict) for output in reply["outputs"]):
            return reply
        return reply | {"names": [NAMES[number] for number in reply["outputs"]]}


def error_catcher(event):
    """Answer for a step that failed: which one, why, and a status of our own choice."""
    answer = {"error": event.error, "step": event.origin_state, "tag": event.body["tag"]}
    event.body = penstock.Response(body=answer, status_code=422, content_type="application/json")
    return event


models = os.environ.get("IRIS_MODELS")
if not models:
    from train_iris import train

    folder = tempfile.TemporaryDirectory(prefix="iris-models-")  # goes when the process ends
    models = folder.name
    train(models)

fn = penstock.new_function("iris", kind="serving")
graph = fn.set_topology("flow", engine="async")

graph.to("storey.Extend", name="enrich", _fn='({"tag": "something"})').to(
    class_name="Measures", name="pre-process", columns=4
).error_handler("catcher")

router = graph.add_step("*penstock.serving.VotingEnsemble", name="ensemble", after="pre-process")
router.add_route("m1", class_name="ClassifierModel", model_path=f"{models}/m1")
router.add_route("m2", class_name="ClassifierModel", model_path=f"{models}/m2")

graph.add_step(class_name="FlowerNames", name="final", after="ensemble").respond()
graph.add_step(handler="error_catcher", name="catcher", full_event=True, after="")
