"""Model files: what a model_spec.yaml says, and which files may be loaded that can run code."""

import pickle
import sys
import types

import penstock
import pytest
from penstock.errors import MissingExtra, ModelFileNotFound, StepNotReady, UntrustedModelFile
from penstock.files import fetch_model, open_model, trusted
from penstock.modelspec import ModelSpec
from penstock.serving import V2ModelServer

SPEC = """\
kind: model
metadata:
  key: churn
spec:
  model_file: second.pkl
  inputs:
  - {name: age, value_type: int}
  - {name: weight, value_type: float32}
  - {name: born, value_type: datetime}
  parameters: {limit: 3}
  extra_data: {words: words.txt}
"""


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    for name in ("first.pkl", "second.pkl"):
        (folder / name).write_bytes(pickle.dumps(name))
    (folder / "words.txt").write_text("a b")
    return folder


class Unpickles(V2ModelServer):
    def load(self):
        path, _ = self.get_model(".pkl")
        with open(path, "rb") as file:
            self.model = pickle.load(file)

    def predict(self, body):
        return [self.model, self.get_param("limit", None)]


def outputs(model_path, **parameters):
    fn = penstock.new_function("f")
    fn.spec.parameters = parameters
    fn.add_model("m1", class_name=Unpickles, model_path=model_path)
    with fn.to_mock_server() as server:
        return server.test("/v2/models/m1/infer", body={"inputs": [1]})["outputs"]


def test_a_spec_names_the_file_and_gives_parameters(model):
    assert outputs(model) == ["first.pkl", None]
    (model / "model_spec.yaml").write_text(SPEC)
    assert outputs(model) == ["second.pkl", 3]
    assert outputs(model / "model_spec.yaml") == ["second.pkl", 3]


def test_a_spec_describes_columns_and_names_further_files(model):
    (model / "model_spec.yaml").write_text(SPEC)
    found = open_model("m", str(model), ".pkl")
    assert [(column["name"], column["datatype"]) for column in found.spec.inputs] == [
        ("age", "INT64"),
        ("weight", "FP32"),
        ("born", "BYTES"),
    ]
    assert found.extra_data["words"].get() == b"a b"
    assert "second.pkl" not in found.extra_data


def test_a_spec_in_json_needs_no_yaml(model, monkeypatch):
    monkeypatch.setitem(sys.modules, "yaml", None)
    (model / "model_spec.json").write_text('{"model_file": "second.pkl", "inputs": ["a", "b"]}')
    assert open_model("m", str(model), ".pkl").file.endswith("second.pkl")
    (model / "model_spec.json").unlink()
    (model / "model_spec.yaml").write_text(SPEC)
    with pytest.raises(MissingExtra, match=r'needs the package .*: pip install "penstock\[yaml\]"'):
        open_model("m", str(model), ".pkl")


@pytest.mark.parametrize("text", ["- a\n", "{a: ", "5"])
def test_a_spec_that_is_none_says_so(model, text):
    (model / "model_spec.yaml").write_text(text)
    with pytest.raises(StepNotReady, match=r"model_spec.yaml (is neither JSON nor YAML|holds no fields)"):
        open_model("m", str(model), ".pkl")


def test_what_a_spec_leaves_open_is_empty():
    assert ModelSpec.from_dict({"spec": {"unknown": 1, "inputs": None}}).to_dict() == {}


def test_the_first_of_several_suffixes_wins(model):
    (model / "a.onnx").write_text("")
    assert fetch_model("m", str(model), (".pkl", ".onnx"))[0].endswith("first.pkl")
    assert fetch_model("m", str(model), (".onnx", ".pkl"))[0].endswith("a.onnx")
    with pytest.raises(ModelFileNotFound, match=r"no file '\*.x' or '\*.y' in .*, which holds a.onnx, first.pkl"):
        fetch_model("m", str(model), (".x", ".y"))


def test_a_link_out_of_the_model_path_is_refused(model, tmp_path):
    (tmp_path / "evil.pkl").write_bytes(pickle.dumps("evil"))
    (model / "a.pkl").symlink_to(tmp_path / "evil.pkl")
    with pytest.raises(UntrustedModelFile, match=r"evil.pkl can run code when it is loaded, and lies outside"):
        outputs(model)
    assert outputs(model, trusted_model_paths=[str(tmp_path)]) == ["evil", None]
    assert outputs(model, trusted_model_paths=str(tmp_path)) == ["evil", None]
    fn = penstock.new_function("f")
    fn.spec.trusted_model_paths = [str(tmp_path)]
    fn.add_model("m1", class_name=Unpickles, model_path=model)
    with fn.to_mock_server() as server:
        assert server.test("/v2/models/m1/infer", body={"inputs": [1]})["outputs"] == ["evil", None]


@pytest.mark.parametrize("place", ["../evil.pkl", "{outside}/evil.pkl"])
def test_a_spec_that_leads_out_of_the_model_path_is_refused(model, tmp_path, place):
    (tmp_path / "evil.pkl").write_bytes(pickle.dumps("evil"))
    (model / "model_spec.json").write_text(f'{{"model_file": "{place.format(outside=tmp_path)}"}}')
    with pytest.raises(UntrustedModelFile, match="model 'm1': "):
        outputs(model)


def test_a_link_to_the_model_path_itself_is_fine(model, tmp_path):
    (tmp_path / "current").symlink_to(model)
    assert outputs(tmp_path / "current") == ["first.pkl", None]


def test_files_beside_a_trusted_path_are_not_trusted(tmp_path):
    assert trusted(str(tmp_path / "m1" / "a.pkl"), model_path=str(tmp_path / "m1"))
    assert not trusted(str(tmp_path / "m12" / "a.pkl"), model_path=str(tmp_path / "m1"))
    assert not trusted(str(tmp_path / "m1" / "a.pkl"))


def test_what_was_downloaded_is_trusted_as_its_url(model):
    import fsspec

    files = fsspec.filesystem("memory")
    files.pipe("/files-test/m/model.pkl", pickle.dumps("far"))
    assert outputs("memory://files-test/m") == ["far", None]
    path, _ = fetch_model("m", "memory://files-test/m", ".pkl")
    assert trusted(path, model_path="memory://files-test")
    assert not trusted(path, model_path="memory://files-test/m2")
    assert not trusted(path, model_path=str(model))


def test_a_driver_that_is_missing_is_named():
    with pytest.raises(StepNotReady, match="model 'm1': cannot read nowhere://a/b"):
        outputs("nowhere://a/b")


def test_v3io_is_read_through_the_driver_that_fsspec_knows(monkeypatch):
    import fsspec
    from fsspec.implementations.memory import MemoryFileSystem

    class Driver(MemoryFileSystem):
        protocol = "v3io"

        @classmethod
        def _strip_protocol(cls, path):
            return super()._strip_protocol(path.replace("v3io://", "memory://"))

    monkeypatch.setitem(sys.modules, "v3iofs", types.ModuleType("v3iofs"))
    monkeypatch.setitem(sys.modules["fsspec.registry"]._registry, "v3io", Driver)
    fsspec.filesystem("memory").pipe("/projects/m/model.pkl", pickle.dumps("far"))
    assert outputs("v3io:///projects/m") == ["far", None]


def test_v3io_needs_its_driver(monkeypatch):
    monkeypatch.setitem(sys.modules, "v3iofs", None)
    with pytest.raises(MissingExtra, match=r'v3io://projects/m needs the package .*: pip install "penstock\[v3io\]"'):
        fetch_model("m1", "v3io://projects/m", "")
