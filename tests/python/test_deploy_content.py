"""What is written runs: the content of an image under `penstock serve`, a folder of Nuclio in its processor."""

import sys

import pytest
from deployments import SOURCE, files_of, forget, load_example
from nuclio_processor import Worker
from penstock.deploying.dockerfile import context_of
from penstock.deploying.what import Options, describe
from penstock.targets import load_target
from served import Served
from sklearn.datasets import load_iris

ROWS = load_iris()["data"][::30].tolist()


def put(folder, files):
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


@pytest.fixture
def doubles(tmp_path, monkeypatch):
    """A function whose source imports a file beside it."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "shapes.py").write_text("def twice(number):\n    return 2 * number\n")
    (tmp_path / "doubles.py").write_text(SOURCE)
    function, module = load_target(str(tmp_path / "doubles.py"))
    monkeypatch.delitem(sys.modules, module.__name__)
    monkeypatch.delitem(sys.modules, "shapes", raising=False)
    return function, vars(module)


def test_the_content_of_an_image_serves_with_the_models_it_carries(tmp_path):
    module = load_example("sklearn_router")
    try:
        here = describe(module.fn, folder=str(tmp_path / "app"), module=vars(module), options=Options())
        put(tmp_path, context_of(here))
    finally:
        forget(module)  # and with it goes the folder that its models were in
    server = Served(tmp_path / "app" / "function.json", PYTHONPATH=_path(tmp_path / "app"))
    try:
        for model in ("model1", "model2"):
            status, answer = server.post({"inputs": ROWS}, f"/v2/models/{model}/infer")
            assert status == 200, answer
            assert answer["outputs"] == [0, 0, 1, 1, 2]
    finally:
        server.end()


def test_a_folder_of_nuclio_answers_in_its_processor(doubles, tmp_path):
    function, names = doubles
    put(tmp_path / "out", files_of(function, "nuclio", module=names))
    folder = tmp_path / "out" / "doubles"
    # What function.yaml sets; /opt/nuclio is another folder here.
    environment = {"PENSTOCK_SPEC_PATH": str(folder / "serving_spec.json"), "PENSTOCK_DEPLOYED": "1"}
    with Worker(folder, PYTHONPATH=_path(folder), **environment) as worker:
        answer = worker.request("/", b'{"x": 21}', content_type="application/json")
        assert (answer.status, answer.json) == (200, {"x": 42})


def _path(folder):
    return ":".join([str(folder), *filter(None, sys.path)])
