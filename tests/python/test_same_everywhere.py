"""One graph gives the same bytes in the mock server, over HTTP, in a Nuclio function and as an offline job."""

import json
import sys
import types

import pytest
from nuclio_processor import Deployed
from penstock.render import render
from served import Served

GRAPH = """
import penstock

def shape(body):
    return {"name": body["name"], "half": body["n"] / 2, "list": [body["n"], None, True], "text": "\\u00e9\\n\\"x\\""}

async def later(body):
    return body | {"later": 1e-7}

class Model(penstock.serving.V2ModelServer):
    def load(self):
        pass
    def predict(self, body):
        return [2 * row["n"] for row in body["inputs"]]

fn = penstock.new_function("golden")
graph = fn.set_topology("flow")
graph.to("shape").to("later").to("(event)", name="same").respond()
"""
ROWS = [{"name": "ann", "n": 1}, {"name": "b\u00f6b \u2028", "n": 2}, {"name": "", "n": 10**15}]
WRONG = {"n": 1}


@pytest.fixture
def golden(tmp_path):
    file = tmp_path / "golden.py"
    file.write_text(GRAPH)
    module = types.ModuleType("golden")
    exec(compile(GRAPH, str(file), "exec"), vars(module))
    yield file, module
    sys.modules.pop("golden", None)


def test_answers_are_equal_to_the_byte(golden, tmp_path):
    file, module = golden
    with module.fn.to_mock_server(namespace=module) as server:
        expected = [render(server.test(body=row))[3] for row in ROWS]
    for start in (lambda: Served(file), lambda: Deployed(file, module.fn)):
        served = start()
        try:
            assert [served.exchange(json.dumps(row))[2] for row in ROWS] == expected
            assert served.exchange(json.dumps(ROWS[0]))[:2] == (200, "application/json")
        finally:
            served.end()
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    module.fn.to_job(namespace=module).run(str(tmp_path / "in.jsonl"), str(tmp_path / "out.jsonl"))
    assert (tmp_path / "out.jsonl").read_bytes() == b"".join(line + b"\n" for line in expected)


def test_failures_are_equal_to_the_byte(golden):
    file, module = golden
    got = []
    for start in (lambda: Served(file), lambda: Deployed(file, module.fn)):
        served = start()
        try:
            got.append([served.exchange(body) for body in (json.dumps(WRONG), "{x", '"\u00e9"')])
        finally:
            served.end()
    assert got[0] == got[1]
    assert [status for status, _, _ in got[0]] == [500, 400, 500]
