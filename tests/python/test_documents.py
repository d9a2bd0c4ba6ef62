"""Specifications as text."""

import os
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from penstock.documents import from_text, pack, read, to_json, to_yaml, unpack, write
from penstock.errors import GraphError

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@settings(max_examples=40)
@given(st.dictionaries(st.text(), JSON))
def test_what_is_written_is_read_back(fields):
    assert from_text(to_json(fields)) == fields
    assert from_text(to_yaml(fields)) == fields
    assert unpack(pack(to_json(fields))) == fields


def test_objects_are_written_as_what_they_stand_for():
    fields = {"path": Path("a/b"), "array": np.array([[1, 2]]), "set": {1}, "function": os.path.join, "class": Fraction}
    assert from_text(to_json(fields)) == {
        "path": "a/b",
        "array": [[1, 2]],
        "set": [1],
        "function": "posixpath.join",
        "class": "fractions.Fraction",
    }


def test_an_object_without_a_form_is_refused():
    with pytest.raises(GraphError, match="it cannot be written down: a object has no form in JSON"):
        to_json({"a": object()})


def test_files_and_urls_are_written_and_read(tmp_path):
    for url in (str(tmp_path / "a" / "b.yaml"), str(tmp_path / "b.json"), "memory://documents/b.yaml"):
        write(url, {"a": [1]})
        assert read(url) == {"a": [1]}
    assert (tmp_path / "b.json").read_text() == '{\n  "a": [\n    1\n  ]\n}\n'
    assert (tmp_path / "a" / "b.yaml").read_text() == "a:\n- 1\n"


@pytest.mark.parametrize("url", ["/nowhere/a.json", "memory://documents/nowhere.json"])
def test_a_file_that_is_not_there_is_said(url):
    with pytest.raises(GraphError, match=f"there is no file {url}"):
        read(url)
