"""YAML as penstock writes it reads back as what it was, with a reader of version 1.1."""

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from penstock.deploying.yaml_text import dump

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=30)
SCALARS = st.none() | st.booleans() | st.integers() | TEXT
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4), max_leaves=20
)


@given(VALUES)
def test_what_is_written_reads_back(value):
    assert yaml.safe_load(dump(value)) == value


@pytest.mark.parametrize(
    "text", ["yes", "No", "1.0", "0x1", "1e3", "12:30", "~", "null", "a: b", "# x", "- x", "*a", "100m"]
)
def test_words_that_mean_something_else_stay_text(text):
    assert yaml.safe_load(dump({"a": text, text: [text, text]})) == {"a": text, text: [text, text]}


def test_it_is_made_for_people():
    text = dump({"args": ["serve", "--port"], "one": ["x"], "nested": [{"a": 1, "b": {"c": "x\ny\n"}}, {"a": 2}]})
    assert text == (
        'args: ["serve", "--port"]\none:\n  - x\nnested:\n'
        "  - a: 1\n    b:\n      c: |\n        x\n        y\n  - a: 2\n"
    )
