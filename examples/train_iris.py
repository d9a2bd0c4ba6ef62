"""Two models of the iris data, trained and saved where examples/iris.py finds them."""

from pathlib import Path

from cloudpickle import dump
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.tree import DecisionTreeClassifier


def split():
    """Return what to learn from and what no model has seen: rows and classes of each."""
    rows, classes = load_iris(return_X_y=True)
    learn, held_out, learn_classes, held_out_classes = train_test_split(
        rows, classes, test_size=50, stratify=classes, random_state=1
    )
    return learn, learn_classes, held_out, held_out_classes


def train(folder):
    """Train m1 and m2, save each into a folder of its own below this one, and return them by name."""
    learn, classes, _, _ = split()
    models = {
        "m1": LogisticRegression(max_iter=1000).fit(learn, classes),
        "m2": DecisionTreeClassifier(max_depth=3, random_state=1).fit(learn, classes),
    }
    for name, model in models.items():
        path = Path(folder) / name / "model.pkl"
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "wb") as file:
            dump(model, file)
    return models
