"""The ready-made servers: real models of each framework, loaded from their files."""

import json
import pickle
import sys
import warnings
import zipfile

import cloudpickle
import joblib
import numpy as np
import pandas
import penstock
import pytest
from framework_models import CLASSES, ROWS, SOME, infer, refused, serve, tensor, write
from penstock.errors import GraphError, MissingExtra, ModelFileNotFound
from penstock.frameworks.huggingface import columns_of, plain, texts_of
from penstock.frameworks.pytorch import arrays_of, is_script
from penstock.serving import PickleModelServer, SklearnModelServer
from sklearn.linear_model import LinearRegression, LogisticRegression

NAMES = ["sepal length", "sepal width", "petal length", "petal width"]


@pytest.fixture(scope="module")
def classifier():
    return LogisticRegression(max_iter=1000).fit(ROWS, CLASSES)


@pytest.mark.parametrize(
    "class_name",
    [
        "SklearnModelServer",
        "mlrun.frameworks.sklearn.SKLearnModelServer",
        "mlrun.frameworks.sklearn.SklearnModelServer",
        "mlrun.frameworks.sklearn.PickleModelServer",
        "penstock.frameworks.SklearnModelServer",
    ],
)
def test_a_pickled_classifier_is_served_under_every_name(tmp_path, classifier, class_name):
    with serve(class_name, write(tmp_path, classifier)) as server:
        assert infer(server, SOME.tolist()) == classifier.predict(SOME).tolist()


def test_rows_in_rows_out_and_tensors_in_tensors_out(tmp_path, classifier):
    with serve("SklearnModelServer", write(tmp_path, classifier)) as server:
        (output,) = infer(server, [tensor(SOME)])
        assert output == {
            "name": "output0",
            "datatype": "INT64",
            "shape": [6],
            "data": classifier.predict(SOME).tolist(),
        }


def test_the_metadata_come_from_the_fitted_model(tmp_path, classifier):
    with serve("SklearnModelServer", write(tmp_path, classifier)) as server:
        metadata = server.test("/v2/models/m1", method="GET")
    assert metadata["inputs"] == [{"name": "input0", "datatype": "FP64", "shape": [-1, 4]}]
    assert metadata["outputs"] == [{"name": "output0", "datatype": "INT64", "shape": [-1]}]


def test_another_method_may_be_served(tmp_path, classifier):
    with serve("SklearnModelServer", write(tmp_path, classifier), method="predict_proba") as server:
        assert np.allclose(infer(server, SOME.tolist()), classifier.predict_proba(SOME))
    with pytest.raises(GraphError, match="a LogisticRegression has no predict_prba; did you mean 'predict_proba'"):
        serve("SklearnModelServer", write(tmp_path, classifier), method="predict_prba")


@pytest.mark.parametrize(
    ("inputs", "text"),
    [
        ([[1, 2, 3]], "model 'm1' takes rows of 4 values, these have 3 values"),
        ([1, 2, 3, 4], "model 'm1' takes rows of 4 values, these have shape []"),
        ([[1, 2], [1, 2, 3]], "model 'm1': the rows of inputs are not alike"),
    ],
)
def test_rows_that_do_not_fit_are_the_callers_fault(tmp_path, classifier, inputs, text):
    with serve("SklearnModelServer", write(tmp_path, classifier)) as server:
        assert text in refused(server, inputs)


def test_a_batch_with_a_bad_request_answers_the_others(tmp_path, classifier):
    model = SklearnModelServer(name="m1", model_path=write(tmp_path, classifier))
    model.post_init()
    bodies = [{"inputs": SOME[:1].tolist()}, {"inputs": [[1, 2, 3]]}, {"inputs": SOME[1:3].tolist()}]
    events = [penstock.Event(body, path="infer", method="POST") for body in bodies]
    first, bad, last = model.do_events(events)
    assert "rows of 4 values" in str(bad)
    assert first.body["outputs"] + last.body["outputs"] == classifier.predict(SOME[:3]).tolist()


def test_a_model_that_was_fitted_on_a_frame_gets_frames(tmp_path):
    frame = pandas.DataFrame(ROWS, columns=NAMES)
    model = LogisticRegression(max_iter=1000).fit(frame, CLASSES)
    with warnings.catch_warnings(), serve("SklearnModelServer", write(tmp_path, model)) as server:
        warnings.simplefilter("error")  # scikit-learn warns of rows without names
        expected = model.predict(frame[::25]).tolist()
        assert infer(server, SOME.tolist()) == expected
        named = [dict(zip(reversed(NAMES), reversed(row), strict=True)) for row in SOME.tolist()]
        assert infer(server, named, "infer_dict") == expected
        columns = [tensor(SOME[:, place], name) for place, name in enumerate(NAMES)]
        assert infer(server, columns[::-1])[0]["data"] == expected
        assert "inputs miss petal width" in refused(server, columns[:3])


def test_columns_of_text_and_of_numbers_stay_what_they_are(tmp_path):
    from sklearn.compose import make_column_transformer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    frame = pandas.DataFrame({"city": ["a", "b", "a", "b"], "age": [1.0, 2.0, 3.0, 4.0]})
    encode = make_column_transformer((OneHotEncoder(), ["city"]), remainder="passthrough")
    model = make_pipeline(encode, LinearRegression()).fit(frame, [1.0, 12.0, 3.0, 14.0])
    with serve("SklearnModelServer", write(tmp_path, model)) as server:
        assert np.allclose(infer(server, [["a", 5.0], ["b", 6.0]]), [5.0, 16.0])


class Dtypes:
    """Tells the types of its columns."""

    feature_names_in_ = np.array(["city", "age"])
    n_features_in_ = 2

    def predict(self, frame):
        return [dtype.kind for dtype in frame.dtypes] * (len(frame) // 2)


def test_each_column_of_mixed_rows_has_its_own_type():
    model = PickleModelServer(name="m1", model=Dtypes())
    model.post_init()
    assert model.infer({"inputs": [["a", 5.0], ["b", 6.0]]})["outputs"] == ["O", "f"]


def test_joblib_and_cloudpickle_files_are_read(tmp_path, classifier):
    joblib.dump(classifier, tmp_path / "model.joblib")
    with serve("SklearnModelServer", tmp_path / "model.joblib") as server:
        assert infer(server, SOME.tolist()) == classifier.predict(SOME).tolist()
    (tmp_path / "f.pkl").write_bytes(cloudpickle.dumps(lambda rows: rows + 1))
    with serve("PickleModelServer", tmp_path / "f.pkl") as server:
        assert infer(server, [[1, 2]]) == [[2, 3]]


def test_a_pickle_that_needs_a_missing_package_says_which(tmp_path, classifier, monkeypatch):
    write(tmp_path, classifier)
    for module in [name for name in sys.modules if name.startswith("sklearn")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setattr(sys, "meta_path", [_Without("sklearn"), *sys.meta_path])
    with pytest.raises(MissingExtra, match=r"its file needs the package 'sklearn': pip install \"penstock\[sklearn\]"):
        serve("PickleModelServer", tmp_path)


class _Without:
    """An environment without a package."""

    def __init__(self, package):
        self.package = package

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == self.package:
            raise ModuleNotFoundError(f"No module named '{name}'", name=name)


@pytest.mark.parametrize(
    ("class_name", "package", "extra"),
    [
        ("mlrun.frameworks.sklearn.SklearnModelServer", "sklearn", "sklearn"),
        ("mlrun.frameworks.xgboost.XGBoostModelServer", "xgboost", "xgboost"),
        ("mlrun.frameworks.lgbm.LGBMModelServer", "lightgbm", "lightgbm"),
        ("mlrun.frameworks.pytorch.PyTorchModelServer", "torch", "torch"),
        ("mlrun.frameworks.onnx.ONNXModelServer", "onnxruntime", "onnx"),
        ("mlrun.frameworks.huggingface.HuggingFaceModelServer", "transformers", "huggingface"),
    ],
)
@pytest.mark.parametrize("load_mode", ["sync", "async"])
def test_a_missing_package_is_named_when_the_graph_is_made(monkeypatch, class_name, package, extra, load_mode):
    monkeypatch.setitem(sys.modules, package, None)
    server = class_name.rpartition(".")[2].replace("XGBoost", "XGB")
    with pytest.raises(MissingExtra) as caught:
        serve(class_name, "/models/none", load_mode=load_mode)
    assert str(caught.value).startswith(f"model 'm1': {server} needs the package '{package}")
    assert str(caught.value).endswith(f'pip install "penstock[{extra}]"')
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named_with_what_is_looked_for(tmp_path):
    (tmp_path / "notes.md").write_text("")
    with pytest.raises(ModelFileNotFound, match=r"no file '\*.pkl' or .* in .*, which holds notes.md"):
        serve("SklearnModelServer", tmp_path)


def test_a_model_object_may_be_given(classifier):
    model = PickleModelServer(name="m1", model=classifier)
    model.post_init()
    assert model.infer({"inputs": SOME.tolist()})["outputs"] == classifier.predict(SOME).tolist()


def test_there_is_no_other_server_in_the_package():
    import penstock.frameworks

    with pytest.raises(AttributeError):
        penstock.frameworks.NoModelServer  # noqa: B018


class Pipeline:
    """Answers as a text classification of transformers does."""

    def __call__(self, rows, **_):
        return [[{"label": str(row).upper(), "score": np.float32(0.5)}] for row in rows]


def test_hugging_face_answers_rows_with_dicts_and_tensors_with_a_tensor_each():
    with serve("HuggingFaceModelServer", model=Pipeline()) as server:
        assert infer(server, ["a"]) == [{"label": "A", "score": 0.5}]
        outputs = infer(server, [tensor(np.array(["a", "b"]), datatype="BYTES")])
        assert [(output["name"], output["datatype"], output["data"]) for output in outputs] == [
            ("label", "BYTES", ["A", "B"]),
            ("score", "FP64", [0.5, 0.5]),
        ]


def test_results_that_differ_are_json():
    assert columns_of([]).tolist() == []
    assert [json.loads(text) for text in columns_of([{"a": [1]}, {"a": [2]}])] == [{"a": [1]}, {"a": [2]}]
    assert plain([{"a": (np.float64(1.5),)}, 2]) == [{"a": [1.5]}, 2]
    assert texts_of(np.array([[b"a"], ["b"]], dtype=object)) == ["a", "b"]


def test_torchscript_is_told_by_its_code(tmp_path):
    for name, entry in (("script.pt", "m/code/__torch__.py"), ("state.pt", "m/data.pkl")):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr(entry, "")
    (tmp_path / "old.pt").write_bytes(pickle.dumps(1))
    assert [is_script(str(tmp_path / name)) for name in ("script.pt", "state.pt", "old.pt")] == [True, False, False]


def test_results_of_a_module_are_arrays_by_name():
    assert arrays_of((1, [2, {"a": 3}])) == {"output0": 1, "output1": {"output0": 2, "output1": {"a": 3}}}
