"""The demo, and the example that it serves: the mock server and HTTP give the same answers."""

import importlib
import json
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from served import Served

EXAMPLES = Path(__file__).parents[2] / "examples"
FLOWERS = [[5.1, 3.5, 1.4, 0.2], [5.9, 2.8, 4.3, 1.3], [6.9, 3.1, 5.4, 2.1]]
TENSOR = {"name": "x", "shape": [3, 4], "datatype": "FP32", "data": [value for row in FLOWERS for value in row]}
DEMO_SECONDS = 50


@pytest.fixture(scope="module")
def iris(tmp_path_factory):
    """The example as a module, with models trained for these tests."""
    folder = tmp_path_factory.mktemp("models")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(EXAMPLES))
        patch.setenv("IRIS_MODELS", str(folder))
        importlib.import_module("train_iris").train(folder)
        yield importlib.import_module("iris")
        for name in ("iris", "train_iris"):
            del sys.modules[name]


@pytest.fixture(scope="module")
def mock(iris):
    with iris.fn.to_mock_server(namespace=iris) as server:
        yield server


@pytest.fixture(scope="module")
def served(iris):
    server = Served(EXAMPLES / "iris.py", IRIS_MODELS=iris.models)
    yield server
    server.end()


def lasting(answer):
    """What is the same each time the question is asked."""
    return {key: value for key, value in answer.items() if key not in ("id", "timestamp")}


@pytest.mark.parametrize(
    ("path", "inputs"),
    [
        ("/", FLOWERS),
        ("/v2/models/m1/infer", FLOWERS),
        ("/v2/models/ensemble/infer", FLOWERS[1:]),
        ("/", [TENSOR]),
        ("/v2/models/m2/infer", [TENSOR]),
    ],
)
def test_the_mock_server_and_http_give_the_same_answer(mock, served, path, inputs):
    status, answer = served.post({"inputs": inputs}, path)
    assert status == 200
    assert lasting(answer) == lasting(mock.test(path, body={"inputs": inputs}))


def test_the_flowers_have_their_names(served):
    status, answer = served.post({"inputs": FLOWERS})
    assert status == 200
    assert (answer["outputs"], answer["names"]) == ([0, 1, 2], ["setosa", "versicolor", "virginica"])


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [("/", {"inputs": [[5.1, 3.5]]}, 422), ("/v2/models/m3/infer", {"inputs": FLOWERS}, 404), ("/", {}, 422)],
)
def test_the_mock_server_and_http_fail_alike(mock, served, path, body, status):
    in_mock = mock.test(path, body=body, silent=True)
    over_http = served.post(body, path)
    assert in_mock.status_code == over_http[0] == status
    said = in_mock.body["error"] if isinstance(in_mock.body, dict) else in_mock.body
    assert over_http[1]["error"] == said


def test_the_catcher_names_the_step_that_failed(served):
    status, answer = served.post({"inputs": [[5.1, 3.5]]})
    assert (status, answer["step"], answer["tag"]) == (422, "pre-process", "something")
    assert answer["error"] == "ValueError: a flower has 4 measures, this one has 2"


def test_the_example_trains_its_models_if_nobody_says_where_they_are():
    server = Served(EXAMPLES / "iris.py", IRIS_MODELS="")
    try:
        assert server.post({"inputs": FLOWERS[:1]})[1]["names"] == ["setosa"]
        assert server.stop()[0] == 0
    finally:
        server.end()


def demo(*arguments):
    return subprocess.Popen(
        [sys.executable, str(EXAMPLES / "demo.py"), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )


def test_the_demo_shows_all_of_it_and_ends_well(tmp_path):
    process = demo("--models", str(tmp_path))
    shown, said = process.communicate(timeout=DEMO_SECONDS)
    assert (process.returncode, said) == (0, ""), shown
    assert "\x1b" not in shown  # not a terminal: plain text
    assert re.search(r"m1 +LogisticRegression +\d+\.\d% of 50 rows", shown)
    assert "names     setosa, versicolor, virginica   (in truth: setosa, versicolor, virginica)" in shown
    assert re.search(r"422 +\{.*a flower has 4 measures, this one has 2", shown)
    assert re.search(r"400 +\{.*failed to json decode event", shown)
    assert re.search(r"404 +\{.*model m3 doesnt exist, available models: m1 \| m2", shown)
    assert re.search(r"hop +\d+ ns", shown)
    assert re.search(r"request +\d+ µs", shown)
    assert sorted(file.parent.name for file in tmp_path.rglob("*.pkl")) == ["m1", "m2"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_demo_serves_on_if_it_is_told_to_and_stops_when_interrupted(number):
    process = demo("--keep")
    try:
        command = next(line for line in process.stdout if line.startswith("   curl"))
        address, body = re.search(r"curl (http://[\d.:]+) -d '(.+)'", command).groups()
        with urllib.request.urlopen(address, body.encode(), timeout=20) as answer:  # as curl sends it
            assert json.loads(answer.read())["names"] == ["setosa"]
        process.send_signal(number)
        _, said = process.communicate(timeout=20)
        assert (process.returncode, said) == (0, "")
        with pytest.raises(urllib.error.URLError, match="refused"):
            urllib.request.urlopen(address, body.encode(), timeout=20)
    finally:
        process.terminate()
        process.communicate(timeout=20)
