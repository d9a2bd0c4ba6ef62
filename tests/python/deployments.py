"""Functions to deploy, and the examples, for tests."""

import importlib.util
import sys
from pathlib import Path

import penstock
import pytest
from penstock.deploying import written

EXAMPLES = Path(__file__).parents[2] / "examples"
KAFKA = "kafka.events:9092"
SOURCE = """
import json
import penstock
import shapes

def double(body):
    return {"x": shapes.twice(body["x"])}

class Model(penstock.serving.V2ModelServer):
    def load(self):
        self.model = 2

    def predict(self, body):
        return [self.model * row[0] for row in body["inputs"]]

fn = penstock.new_function("doubles")
fn.set_topology("flow").to("double").respond()
"""


def load_example(name):
    """Load an example with fixed streams; forget it with `forget`."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / name / f"{name}.py")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OUTPUT_STREAM", "/tmp/penstock-nlp.jsonl")
        patch.delenv("INTERNAL_STREAM", raising=False)
        spec.loader.exec_module(module)
    return module


def forget(module):
    sys.modules.pop(module.__name__, None)
    if hasattr(module, "folder"):
        module.folder.cleanup()


def files_of(function, target, *, module=None, **options):
    """Return what a target needs, as text where it is text."""
    options.setdefault("python", "3.11")
    _, files = written(function, target, module=module or {}, options=options)
    return files


def chain(*, child="later"):
    """A function that hands events to a child through a queue in memory."""
    fn = penstock.new_function("chain")
    graph = fn.set_topology("flow")
    graph.to("(event)", name="first").to(">>", "q", path=None).to("(event)", name="second", function=child)
    fn.add_child_function(child, "./")
    return fn
