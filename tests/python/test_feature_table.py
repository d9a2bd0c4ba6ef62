"""docs/features.md says of each feature what its state is, and nothing is done without a test that is there."""

import ast
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
PAGE = TESTS.parents[1] / "docs" / "features.md"
LINES = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
ROWS = [
    [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
    for line in LINES
    if not line.startswith(("| feature ", "|---"))
]
SHOWN = re.compile(r"`(?P<file>test_\w+\.py)::(?P<name>test_\w+)(?:\[(?P<row>[\w-]+)\])?`")


def functions(file):
    return {node.name for node in ast.walk(ast.parse((TESTS / file).read_text())) if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0].replace("`", "")[:60])
def test_a_feature_that_is_done_is_shown_by_a_test(row):
    feature, state, shown = row
    assert feature
    assert state in {"done", "later", "not here"}
    if state == "done":
        found = SHOWN.fullmatch(shown)
        assert found, f"{feature}: no test is named"
        assert (TESTS / found["file"]).exists(), found["file"]
        assert found["name"] in functions(found["file"]), shown
        if found["row"]:
            assert f'@row("{found["row"]}"' in re.sub(r"\(\s+", "(", (TESTS / found["file"]).read_text()), shown
    elif state == "not here":
        assert shown, f"{feature}: what to use instead?"
    else:
        assert not shown


def test_no_feature_is_told_twice():
    names = [row[0] for row in ROWS]
    assert sorted(names) == sorted(set(names))
