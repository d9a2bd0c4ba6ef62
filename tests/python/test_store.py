"""The local registry: what is logged is found again, by every form of its URI."""

import json
import os
import threading

import pandas
import penstock
import pytest
from hypothesis import given
from hypothesis import strategies as st
from penstock import registry, store
from penstock.errors import GraphError, ModelFileNotFound
from penstock.registry import Address
from penstock.serving import V2ModelServer


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("PENSTOCK_STORE", str(tmp_path / "store"))
    return tmp_path / "store"


class Factor:
    """A model that pickles."""

    def __init__(self, factor):
        self.factor = factor

    def predict(self, rows):
        return [self.factor * row for row in rows]


class Scaled(V2ModelServer):
    def load(self):
        path, extra = self.get_model(".json")
        with open(path) as file:
            self.factor = json.load(file)
        self.extra = extra

    def predict(self, body):
        return [self.factor * row[0] + self.get_param("offset", 0) for row in body["inputs"]]


def log(key="m", factor=2, **more):
    return penstock.log_model(key, body=json.dumps(factor).encode(), model_file="factor.json", **more)


def infer(uri, inputs, **class_args):
    fn = penstock.new_function("f")
    fn.add_model("m1", class_name=Scaled, model_path=uri, **class_args)
    with fn.to_mock_server() as server:
        return server.test("/v2/models/m1/infer", body={"inputs": inputs})["outputs"]


def test_a_logged_model_is_served_by_its_uri():
    uri = log(factor=3, parameters={"offset": 1})
    assert uri == "store://models/default/m@1"
    assert infer(uri, [[2]]) == [7]


def test_arguments_of_the_model_win_over_parameters_of_its_spec():
    uri = log(parameters={"offset": 1})
    assert infer(uri, [[2]], offset=100) == [104]


def test_every_form_of_a_uri_finds_its_version():
    first = log(factor=1, tag="good", project="shop")
    second = log(factor=2, project="shop", iteration=4)
    uid = store.get_resource(second).metadata["uid"]
    versions = {
        "store://models/shop/m": 2,
        "store://models/shop/m:latest": 2,
        "store://models/shop/m:good": 1,
        "store://models/shop/m#4": 2,
        "store://models/shop/m#0": 1,
        "store://models/shop/m@1": 1,
        f"store://models/shop/m@{uid}": 2,
        f"store://models/shop/m#4:latest@{uid}": 2,
        f"store://models/shop/m^{uid}": 2,
        first: 1,
        second: 2,
    }
    found = {uri: os.path.basename(store.get_resource(uri).path) for uri in versions}
    assert found == {uri: str(version) for uri, version in versions.items()}


def test_a_tag_moves_to_the_version_that_was_logged_last():
    log(factor=1, tag="prod")
    log(factor=2, tag="prod")
    assert store.get_resource("store://models/m:prod").path.endswith("2")


@pytest.mark.parametrize(
    ("uri", "text"),
    [
        ("store://models/default/none", "is not in the store .*, whose default holds m"),
        ("store://models/default/m:gone", r"which has m as @1, :good"),
        ("store://models/default/m@7", r"which has m as @1, :good"),
        ("store://models/empty/m", "whose empty is empty"),
    ],
)
def test_a_uri_that_leads_nowhere_says_what_there_is(uri, text):
    log(tag="good")
    with pytest.raises(ModelFileNotFound, match=text):
        store.get_resource(uri)


@pytest.mark.parametrize("uri", ["store://", "store://models", "store://modles/p/m", "store://models/../m"])
def test_a_uri_that_is_none_is_refused(uri):
    with pytest.raises(GraphError):
        store.get_resource(uri)


@given(
    key=st.from_regex(r"\A[a-z0-9][a-z0-9_.\-]{0,9}\Z"),
    project=st.from_regex(r"\A[a-z0-9][a-z0-9_.\-]{0,9}\Z"),
    iteration=st.none() | st.integers(1, 99),
    tag=st.sampled_from(["", "v1", "latest"]),
    uid=st.sampled_from(["", "0a1b"]),
)
def test_an_address_survives_being_written(key, project, iteration, tag, uid):
    address = Address("models", project, key, iteration, tag, uid)
    assert Address.parse(str(address)) == address


def test_what_a_spec_says_is_kept():
    uri = log(
        inputs=["age", {"name": "city", "value_type": "str"}],
        outputs=[{"name": "churn", "datatype": "FP32", "shape": [-1]}],
        metrics={"accuracy": 0.5},
        framework="own",
        labels={"team": "a"},
    )
    artifact = store.get_resource(uri)
    assert artifact.model_spec.columns() == ["age", "city"]
    assert artifact.inputs[1] == {"name": "city", "value_type": "str", "datatype": "BYTES", "shape": [-1]}
    assert (artifact.metrics, artifact.framework, artifact.labels) == ({"accuracy": 0.5}, "own", {"team": "a"})
    assert json.loads(artifact.get()) == 2


def test_the_metadata_of_a_served_model_come_from_its_spec():
    uri = log(inputs=["age"], outputs=["churn"])
    fn = penstock.new_function("f")
    fn.add_model("m1", class_name=Scaled, model_path=uri)
    with fn.to_mock_server() as server:
        metadata = server.test("/v2/models/m1", method="GET")
    assert metadata["inputs"] == [{"name": "age", "datatype": "FP64", "shape": [-1]}]
    assert metadata["outputs"] == [{"name": "churn", "datatype": "FP64", "shape": [-1]}]


def test_extra_data_are_copied_kept_or_written(tmp_path):
    (tmp_path / "words.txt").write_text("a b")
    uri = log(extra_data={"words": tmp_path / "words.txt", "far": "s3://bucket/x", "raw": b"bytes"})
    model = Scaled(name="m", model_path=uri)
    model.post_init()
    assert model.extra["words"].get() == b"a b"
    assert model.extra["far"] == "s3://bucket/x"
    assert model.extra["raw"].local().startswith(uri.path)


def test_a_directory_is_copied_whole(tmp_path):
    source = tmp_path / "made"
    (source / "deep").mkdir(parents=True)
    (source / "factor.json").write_text("5")
    (source / "deep" / "more.txt").write_text("")
    uri = penstock.log_model("m", model_dir=source, model_file="factor.json")
    assert os.path.isfile(os.path.join(uri.path, "deep", "more.txt"))
    assert infer(uri, [[2]]) == [10]


def test_a_file_is_copied(tmp_path):
    (tmp_path / "factor.json").write_text("4")
    uri = penstock.log_model("m", model_file=tmp_path / "factor.json")
    (tmp_path / "factor.json").unlink()
    assert infer(uri, [[2]]) == [8]


def test_an_object_is_pickled():
    uri = penstock.log_model("m", body=Factor(3))
    fn = penstock.new_function("f")
    fn.add_model("m1", class_name="mlrun.frameworks.sklearn.PickleModelServer", model_path=uri)
    with fn.to_mock_server() as server:
        assert server.test("/v2/models/m1/infer", body={"inputs": [1, 2]})["outputs"] == [3, 6]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"key": "m"}, "give the model as body, model_file or model_dir"),
        ({"key": "../m", "body": b""}, "the key '../m' is not made of letters"),
        ({"key": "m", "body": b"", "project": "a/b"}, "the project 'a/b' is not"),
        ({"key": "m", "body": b"", "tag": "../../x"}, "the tag '../../x' is not"),
        ({"key": "m", "model_file": "none.pkl"}, "there is no file none.pkl"),
        ({"key": "m", "model_dir": "none"}, "there is no directory none"),
        ({"key": "m", "body": b"", "model_file": "a", "extra_data": {"a": b""}}, "two files named a"),
    ],
)
def test_what_cannot_be_logged_says_so_and_leaves_nothing(folder, arguments, text):
    with pytest.raises(GraphError, match=text):
        penstock.log_model(**arguments)
    assert not list(folder.glob("models/*/*/*"))


def test_writers_at_the_same_time_get_versions_of_their_own():
    made = []
    threads = [threading.Thread(target=lambda: made.append(log().version)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(made) == list(range(1, 9))


def test_a_number_that_another_writer_has_just_taken_is_not_used_twice(monkeypatch):
    first = log()
    versions = registry.versions
    stale = iter([[0]])  # what was listed before the other writer was done
    monkeypatch.setattr(registry, "versions", lambda folder: next(stale, None) or versions(folder))
    assert (first.version, log().version) == (1, 2)


def test_the_same_uri_gives_the_same_object_until_there_is_a_newer_version():
    log()
    first = store.get_resource("store://models/m")
    assert store.get_resource("store://models/m") is first
    assert store.get_resource("store://models/m", use_cache=False) is not first
    log()
    assert store.get_resource("store://models/m").path != first.path


def test_an_artifact_is_text_or_a_file(tmp_path):
    (tmp_path / "rows.csv").write_text("a\n1\n")
    text = penstock.log_artifact("note", "hello", format="txt")
    rows = penstock.log_artifact("rows", local_path=tmp_path / "rows.csv", format="csv")
    assert store.get_resource(text).get(encoding="utf-8") == "hello"
    assert penstock.get_dataitem(rows).get() == b"a\n1\n"
    assert penstock.get_dataitem("store://artifacts/note").key == "note.txt"


def test_feature_vectors_are_registered_in_the_process():
    with pytest.raises(GraphError, match=r"is not known here; penstock.store.register"):
        store.get_resource("store://feature-vectors/shop/none")
    store.register("store://feature-vectors/shop/known", {"c1": [1]})
    assert store.get_resource("store://feature-vectors/shop/known") == {"c1": [1]}
    with pytest.raises(GraphError, match="is a dict, no data item"):
        penstock.get_dataitem("store://feature-vectors/shop/known")


def test_any_other_url_is_a_data_item(tmp_path):
    (tmp_path / "a.txt").write_text("0123456789")
    item = store.get_resource(str(tmp_path / "a.txt"))
    assert item.get(size=3, offset=2) == b"234"
    assert item.get(encoding="utf-8") == "0123456789"
    assert item.local() == str(item)
    assert item.exists()
    assert not penstock.DataItem(str(tmp_path / "none")).exists()
    assert penstock.DataItem(str(tmp_path)).listdir() == ["a.txt"]


def test_a_data_item_elsewhere_is_copied_here():
    import fsspec

    fsspec.filesystem("memory").pipe("/store-test/a.csv", b"x\n1\n")
    item = penstock.get_dataitem("memory://store-test/a.csv")
    with open(item.local(), "rb") as file:
        assert file.read() == b"x\n1\n"
    with pytest.raises(ModelFileNotFound, match="data item: there is no file or directory memory://none"):
        penstock.get_dataitem("memory://none").local()


def test_a_table_is_read_as_a_frame():
    frame = pandas.DataFrame({"a": [1, 2], "b": ["x", "y"]})
    uri = penstock.log_dataset("rows", frame, format="csv")
    assert store.get_resource(uri).as_df().equals(frame)
    assert penstock.get_dataitem(uri).as_df(columns=["a"]).columns.tolist() == ["a"]
    text = penstock.log_artifact("text", "x", format="txt")
    with pytest.raises(GraphError, match="no csv, parquet or json file"):
        store.get_resource(text).as_df()
    with pytest.raises(GraphError, match="written as parquet or csv"):
        penstock.log_dataset("rows", frame, format="xls")
