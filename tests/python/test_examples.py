"""The examples: as scripts, in the mock server and under `penstock serve`, with the same answers in both."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from served import Served
from sklearn.datasets import load_iris

EXAMPLES = Path(__file__).parents[2] / "examples"
ROWS = load_iris()["data"][::10].tolist()
TRUTH = load_iris()["target"][::10].tolist()


def load_example(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / name / f"{name}.py")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def forget(module):
    sys.modules.pop(module.__name__, None)
    if hasattr(module, "folder"):
        module.folder.cleanup()


@pytest.fixture(scope="module")
def load():
    """Load an example as a module, once."""
    loaded = {}

    def example(name):
        if name not in loaded:
            loaded[name] = load_example(name)
        return loaded[name]

    yield example
    for module in loaded.values():
        forget(module)


@pytest.fixture
def nlp(tmp_path, monkeypatch):
    """The pipeline, with an output stream of its own."""
    monkeypatch.setenv("OUTPUT_STREAM", str(tmp_path / "entities.jsonl"))
    module = load_example("nlp")
    yield module
    forget(module)


@pytest.fixture
def serve():
    servers = []

    def start(name, **environment):
        servers.append(Served(EXAMPLES / name / f"{name}.py", **environment))
        return servers[-1]

    yield start
    for server in servers:
        server.end()


def comparable(reply):
    """Leave out what is another one each time."""
    return {key: value for key, value in reply.items() if key not in {"id", "timestamp"}}


def run_script(name, folder, **environment):
    done = subprocess.run(
        [sys.executable, EXAMPLES / name / f"{name}.py"],
        cwd=folder,
        check=False,
        capture_output=True,
        text=True,
        timeout=50,
        env={**os.environ, "PYTHONWARNINGS": "error", **environment},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_router_runs_as_a_script(tmp_path):
    lines = run_script("sklearn_router", tmp_path).splitlines()
    assert [line.partition(":")[0] for line in lines] == ["model1", "model2"]
    assert all("97% of 150 flowers" in line for line in lines)


def test_the_router_answers_alike_in_the_mock_server_and_over_http(load, serve):
    served = serve("sklearn_router")
    with load("sklearn_router").fn.to_mock_server(namespace=load("sklearn_router")) as mock:
        for model in ("model1", "model2"):
            here = mock.test(f"/v2/models/{model}/infer", {"inputs": ROWS})
            status, there = served.post({"inputs": ROWS}, f"/v2/models/{model}/infer")
            assert status == 200
            assert comparable(here) == comparable(there)
            assert here["model_name"] == model
            assert sum(a == b for a, b in zip(here["outputs"], TRUTH, strict=True)) >= 14
        here = mock.test("/v2/models/model2/classes", {})
        assert here == served.post({}, "/v2/models/model2/classes")[1]
        assert here == {"classes": ["setosa", "versicolor", "virginica"]}
        assert mock.test("/v2/models/", method="GET") == served.get("/v2/models/")[1]


def test_the_advanced_flow_runs_as_a_script(tmp_path):
    printed = run_script("advanced", tmp_path)
    assert "flowchart TB" in printed
    assert "'model_name': 'm2', 'outputs': [0, 0, 1, 1, 2]" in printed
    assert "'origin_state': 'pre-process'" in printed


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v2/models/m1/infer", {"inputs": ROWS}),
        ("/v2/models/m2/infer", {"inputs": ROWS}),
        ("/v2/models/infer", {"inputs": ROWS}),
        ("/", {"inputs": ROWS}),
        ("/", {"inputs": []}),
    ],
)
def test_the_advanced_flow_answers_alike_in_the_mock_server_and_over_http(path, body, load, advanced):
    mock, served = advanced
    here = mock.test(path, body)
    status, there = served.post(body, path)
    assert status == 200
    assert comparable(here) == comparable(there)
    if body["inputs"]:
        assert here["model_name"] == {"m1": "m1", "m2": "m2"}.get(path.split("/")[-2], "ensemble")
        assert sum(a == b for a, b in zip(here["outputs"], TRUTH, strict=True)) >= 14
    else:
        text = "ValueError: there are no rows in this request"
        assert here == {"error": text, "origin_state": "pre-process", "tag": "something"}


@pytest.fixture(scope="module")
def advanced(load):
    module = load("advanced")
    served = Served(EXAMPLES / "advanced" / "advanced.py")
    try:
        with module.function.to_mock_server(namespace=module) as mock:
            yield mock, served
    finally:
        served.end()


def records(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_the_nlp_pipeline_runs_as_a_script(tmp_path):
    printed = run_script("nlp", tmp_path, OUTPUT_STREAM=str(tmp_path / "out.jsonl"))
    found = [json.loads(line) for line in printed.splitlines() if line.startswith('{"')]
    assert found == records(tmp_path / "out.jsonl")
    assert {entity["text"] for entity in found} >= {"Sherlock Holmes", "Irene Adler", "Baker Street", "Odessa"}


def test_the_nlp_pipeline_writes_the_same_in_the_mock_server_and_under_serve(nlp, serve, tmp_path):
    text, there = str(EXAMPLES / "nlp" / "holmes.txt"), tmp_path / "served.jsonl"
    with nlp.fn.to_mock_server(namespace=nlp) as mock:
        assert list(mock.test(body={"url": text})) == ["id"]
    served = serve("nlp", OUTPUT_STREAM=str(there))
    status, answer = served.post({"url": text})
    assert (status, list(answer)) == (200, ["id"])
    assert served.stop()[0] == 0  # it finishes what it took
    written = records(there)
    assert written == records(tmp_path / "entities.jsonl")
    first = {"paragraph": 1, "text": "Sherlock Holmes", "label": "PERSON", "at": 3, "meaning": "somebody"}
    assert written[0] == first
    assert [entity["text"] for entity in written if entity["paragraph"] == 5] == [
        "twentieth of March, 1888",
        "Baker Street",
        "Study in Scarlet",
        "Holmes",
    ]


def test_the_child_function_of_the_nlp_pipeline_runs_alone(nlp, tmp_path):
    with nlp.fn.to_mock_server(namespace=nlp, current_function="enrich") as enrich:
        enrich.test(body={"paragraph": 9, "url": "", "text": "Holmes went to Odessa."})
    assert [entity["text"] for entity in records(tmp_path / "entities.jsonl")] == ["Holmes", "Odessa"]


def test_the_graphs_of_the_examples_can_be_drawn(load, nlp):
    assert "classDef f0" in str(nlp.graph.plot(format="mermaid"))  # the child function
    assert 'subgraph n3["ensemble' in str(load("advanced").graph.plot(format="mermaid"))
    assert "model2" in str(load("sklearn_router").fn.spec.graph.plot(format="svg"))
