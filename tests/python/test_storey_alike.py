"""The native steps beside those of the storey package: the same events in, the same out."""

import datetime
import sys

import pytest

if sys.version_info[:2] not in ((3, 11), (3, 12)):
    pytest.skip("storey is installed on Python 3.11 and 3.12 only", allow_module_level=True)

import pandas
import storey
import storey.steps
from fake_port import FakePort, give
from hypothesis import given, settings
from hypothesis import strategies as st
from penstock import natives, storey_steps
from penstock.event import Event
from storey.steps import EmitPeriod

ROWS = [
    {"n": 1, "kind": "a", "at": "2020-02-09T10:00:00", "text": 'comma, "quote"'},
    {"n": 2, "kind": "b", "at": "2020-02-10T11:30:00", "text": None},
    {"n": 3, "kind": "a", "at": "2020-02-09T10:59:00", "more": 1},
]


def through(step, bodies):
    """Run bodies through a stage; returns the bodies that come out."""
    port = FakePort()
    for token, body in enumerate(bodies):
        body = dict(body) if isinstance(body, dict) else body
        event = Event(body, key=f"key{token % 2}", time=datetime.datetime(2021, 3, 4, 5, 6))
        give(step, port, token, event)
    step.finish(port)
    getattr(step, "close", lambda: None)()
    assert not port.failed, port.failed
    assert not port.held
    return port.bodies


@settings(deadline=None, max_examples=20)
@given(st.lists(st.integers(0, 2), max_size=12), st.integers(1, 4))
def test_batches_are_alike(values, size):
    options = {"max_events": size, "key_field": lambda event: event.body, "full_event": False}
    ours = through(storey_steps.Batch(**options), values)
    assert through(natives.host(storey.Batch(**options)), values) == ours


@settings(deadline=None, max_examples=20)
@given(st.lists(st.integers(0, 2), max_size=12), st.integers(2, 4), st.sampled_from(list(EmitPeriod)), st.booleans())
def test_samples_are_alike(values, size, period, emit_last):
    arguments = (size, period, emit_last, lambda event: event.body)
    theirs = through(natives.host(storey.SampleWindow(*arguments)), values)
    assert through(storey_steps.SampleWindow(*arguments), values) == theirs


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"header": True},
        {"header": True, "columns": ["n", "label=text", "$key", "who=$key"]},
    ],
)
def test_csv_files_are_alike(tmp_path, options):
    for place, package in (("theirs", storey), ("ours", storey_steps)):
        step = package.CSVTarget(str(tmp_path / place / "out.csv"), **options)
        assert through(step if package is storey_steps else natives.host(step), ROWS) == ROWS
    assert (tmp_path / "ours/out.csv").read_text() == (tmp_path / "theirs/out.csv").read_text()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"columns": ["n", "who=$key"], "index_cols": ["kind"]},
        {"columns": [("n", "int"), ("at", "str")]},
        {"partition_cols": ["kind"], "columns": ["n", "kind"]},
        {"partition_cols": ["$date", "$hour"], "time_field": "at"},
        {"partition_cols": [("$key", 16), "$year", "$month"], "max_events": 1},
    ],
)
@pytest.mark.parametrize("file", ["out.parquet", "out"])
def test_parquet_files_are_alike(tmp_path, options, file):
    if file == "out.parquet" and "partition_cols" in options:
        file = "folder.parquet"
    for place, package in (("theirs", storey), ("ours", storey_steps)):
        step = package.ParquetTarget(str(tmp_path / place / file), **options)
        through(step if package is storey_steps else natives.host(step), ROWS)

    def written(place):
        root = tmp_path / place
        folders = {}
        for path in sorted(root.rglob("*.parquet")):
            if path.is_file():
                frame = pandas.read_parquet(path, partitioning=None)
                folders.setdefault(str(path.parent.relative_to(root)), []).append(frame.reset_index().to_dict("list"))
        return {folder: sorted(frames, key=str) for folder, frames in folders.items()}

    assert str(written("ours")) == str(written("theirs"))
    assert written("ours")


@pytest.mark.parametrize(
    ("name", "arguments", "bodies"),
    [
        ("DropColumns", (["n", "z"],), ROWS),
        ("Rename", ({"n": "m", "z": "y"},), ROWS),
        ("ReifyMetadata", (["key"],), ROWS),
        ("ReifyMetadata", ({"path": "where"},), ROWS),
        ("Partition", (lambda event: event.body["n"] > 1,), ROWS),
        ("MapWithState", (0, lambda body, state: (body + state, body + state)), [1, 2, 3]),
        ("ForEach", (str,), [1, 2]),
    ],
)
def test_changes_of_bodies_are_alike(name, arguments, bodies):
    their_class = getattr(storey.steps, name, None) or getattr(storey.flow, name)
    theirs = through(natives.host(their_class(*arguments)), bodies)
    _, call, full_event = getattr(storey_steps, name)(*arguments).lowered()
    assert full_event
    ours = []
    for token, body in enumerate(bodies):
        event = Event(dict(body) if isinstance(body, dict) else body, key=f"key{token % 2}")
        ours.append(call(event).body)
    assert ours == theirs
