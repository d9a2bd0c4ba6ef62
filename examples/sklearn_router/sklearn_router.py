"""A router with two models of scikit-learn: one served by the hub's ready-made class, one by a class of our own.

Run it to test the router here, or serve it: `penstock serve examples/sklearn_router/sklearn_router.py`, then

    curl localhost:8080/v2/models/model2/infer -d '{"inputs": [[5.1, 3.5, 1.4, 0.2]]}'
"""

import tempfile

import numpy as np
import penstock as mlrun
from cloudpickle import dump, load
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier


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

    def op_classes(self, event):  # noqa: ARG002
        """Answer on <model-url>/classes: the names of the classes."""
        return {"classes": load_iris()["target_names"].tolist()}


def train(model, path):
    """Fit a model to the iris data and save it."""
    rows, classes = load_iris(return_X_y=True)
    with open(path, "wb") as file:
        dump(model.fit(rows, classes), file)
    return path


folder = tempfile.TemporaryDirectory(prefix="sklearn-router-")  # goes when the process ends
path1 = train(LogisticRegression(max_iter=1000), f"{folder.name}/model1.pkl")
path2 = train(DecisionTreeClassifier(max_depth=3, random_state=1), f"{folder.name}/model2.pkl")

# load the model serving function and add models to it
fn = mlrun.import_function("hub://v2_model_server")
fn.add_model("model1", model_path=path1)
fn.add_model("model2", class_name="ClassifierModel", model_path=path2)

if __name__ == "__main__":
    # create and use the graph simulator
    server = fn.to_mock_server()
    x = load_iris()["data"].tolist()
    for name in ("model1", "model2"):
        result = server.test(f"/v2/models/{name}/infer", {"inputs": x})
        right = np.mean(np.equal(result["outputs"], load_iris()["target"]))
        print(f"{name}: {right:.0%} of {len(x)} flowers are what they are taken for")
    server.wait_for_completion()
