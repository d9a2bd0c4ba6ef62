"""Pre-process events, ask an ensemble of two models, post-process the answer, and catch what fails on the way.

Run it to test the graph here, or serve it: `penstock serve examples/advanced/advanced.py`, then

    curl localhost:8080/v2/models/infer -d '{"inputs": [[5.1, 3.5, 1.4, 0.2]]}'
    curl localhost:8080 -d '{"inputs": []}'
"""

import tempfile

import numpy as np
import penstock as mlrun
from cloudpickle import dump, load
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier


class Echo:
    """Hand the event on, and log it in verbose mode; refuse requests without rows."""

    def __init__(self, context, name=None, some_arg=None):
        self.context = context
        self.name = name
        self.some_arg = some_arg

    def do(self, body):
        """Look at one event."""
        if self.context.verbose:
            self.context.logger.info("echo", step=self.name, some_arg=self.some_arg)
        if "inputs" in body and len(body["inputs"]) == 0:
            raise ValueError("there are no rows in this request")
        return body


class ClassifierModel(mlrun.serving.V2ModelServer):
    """A classifier that was saved as a pickle."""

    def load(self):
        """Load and initialize the model and/or other elements."""
        model_file, _ = self.get_model(".pkl")
        with open(model_file, "rb") as file:
            self.model = load(file)

    def predict(self, body: dict) -> list:
        """Generate model predictions from samples."""
        feats = np.asarray(body["inputs"])
        result: np.ndarray = self.model.predict(feats)
        return result.tolist()


def error_catcher(event):
    """Answer for the step that failed."""
    event.body = {"error": event.error, "origin_state": event.origin_state, "tag": event.body["tag"]}
    return event


def train(model, path):
    """Fit a model to the iris data and save it."""
    rows, classes = load_iris(return_X_y=True)
    with open(path, "wb") as file:
        dump(model.fit(rows, classes), file)
    return path


folder = tempfile.TemporaryDirectory(prefix="advanced-")  # goes when the process ends
path1 = train(LogisticRegression(max_iter=1000), f"{folder.name}/m1.pkl")
path2 = train(DecisionTreeClassifier(max_depth=3, random_state=1), f"{folder.name}/m2.pkl")

function = mlrun.code_to_function("advanced", filename="", kind="serving", image="mlrun/mlrun", requirements=["storey"])
graph = function.set_topology("flow", engine="async")

# use built-in storey class or our custom Echo class to create and link Task steps
graph.to("storey.Extend", name="enrich", _fn='({"tag": "something"})') \
     .to(class_name="Echo", name="pre-process", some_arg="abc").error_handler("catcher")  # fmt: skip

# add an Ensemble router with two child models (routes), the "*" prefix marks that it is a router class
router = graph.add_step("*mlrun.serving.VotingEnsemble", name="ensemble", after="pre-process")
router.add_route("m1", class_name="ClassifierModel", model_path=path1)
router.add_route("m2", class_name="ClassifierModel", model_path=path2)

# add the final step (after the router) which handles post processing and responds to the client
graph.add_step(class_name="Echo", name="final", after="ensemble").respond()

# add error handling step, run only when/if the "pre-process" step fails (keep after="")
graph.add_step(handler="error_catcher", name="catcher", full_event=True, after="")

if __name__ == "__main__":
    print(graph.plot(format="mermaid"))
    server = function.to_mock_server()
    data = load_iris()["data"][::30].tolist()
    print(server.test("/v2/models/m2/infer", body={"inputs": data}))
    print(server.test("/v2/models/infer", body={"inputs": data}))
    print(server.test(body={"inputs": []}))
    server.wait_for_completion()
