"""One graph gives the same bytes in the mock server, over HTTP, in a Nuclio function and as an offline job."""

import json
import re
import sys
import types
from pathlib import Path

import pytest
from nuclio_processor import Deployed
from penstock.errors import StepError
from penstock.event import DROPPED
from penstock.render import render
from served import Served

FLOW = """
import datetime
import numpy as np
import penstock
from penstock.event import DROPPED

RESULTS = {
    "dict": {"name": "b\\u00f6b \\u2028", "half": 0.5, "list": [1, None, True], "text": "\\n\\"x\\"", "big": 10**15},
    "keys": {1: "a", None: "b", True: "c"},
    "small": 1e-7,
    "list": [1, [2, {"a": []}]],
    "none": None,
    "number": 5,
    "no": False,
    "text": "plain \\u00e9 \\U0001f600",
    "empty": "",
    "bytes of text": "\\u00e9".encode(),
    "bytes": b"\\xff\\x00",
    "no number": {"a": float("nan"), "b": float("inf"), "c": -0.0},
    "array": np.arange(6, dtype="float32").reshape(2, 3),
    "arrays": {"a": np.arange(3), "b": np.float32(0.1), "c": np.bool_(True), "d": np.array(["x"], dtype=object)},
    "outputs": {"outputs": np.array([[1.5, np.nan]]), "id": "x"},
    "time": {"at": datetime.datetime(2026, 1, 2, 3, 4, 5)},
    "set": {"a": {1}},
    "response": penstock.Response({"X-A": "1"}, {"a": [1]}, status_code=201),
    "typed": penstock.Response(None, "<p>", "text/html"),
    "refusal": penstock.Response(None, "no", status_code=409),
    "dropped": DROPPED,
    "object": {"a": object()},
}

def result(body):
    if body["kind"] == "error":
        return body["missing"]
    if body["kind"] == "conflict":
        raise penstock.errors.MLRunConflictError("not twice \\u00e9")
    if body["kind"] == "chunks":
        return (f"{n}" for n in range(3))
    return RESULTS[body["kind"]]

async def later(body):
    return body

fn = penstock.new_function("golden")
graph = fn.set_topology("flow")
graph.to("result").to("later").to("(event)", name="same").respond()
"""
KINDS = [
    *re.findall(r'^    "([a-z ]+)":', FLOW, re.MULTILINE), "error", "conflict", "chunks",
]  # fmt: skip
MODELS = """
import penstock

class Model(penstock.serving.V2ModelServer):
    def load(self):
        self.factor = self.get_param("factor")

    def predict(self, body):
        return [self.factor * sum(row) for row in body["inputs"]]

fn = penstock.new_function("golden")
router = fn.set_topology("router", "penstock.serving.VotingEnsemble", vote_type="regression", name="ensemble")
router.add_route("m1", class_name="Model", model_path=".", factor=2)
router.add_route("m2", class_name="Model", model_path=".", factor=4)
"""
TENSOR = {"name": "x", "shape": [2, 2], "datatype": "FP32", "data": [1, 2, 3, 4]}
ASKED = [
    ("/v2/models/m1/infer", {"id": "a", "inputs": [[1, 2], [3, 4]]}),
    ("/v2/models/m1/infer", {"id": "a", "inputs": [TENSOR]}),
    ("/v2/models/infer", {"id": "b", "inputs": [[1, 2], [3, 4]]}),
    ("/v2/models/m3/infer", {"id": "c", "inputs": [[1, 2]]}),
    ("/v2/models/m1/infer", {"id": "d", "inputs": "none"}),
    ("/v2/models/m1/infer", {"id": "e", "inputs": [["x"]]}),
    ("/v2/models/m1/infer", "{x"),
]


def module_of(tmp_path, source):
    """Return a function's source as a file and as a module."""
    file = tmp_path / "golden.py"
    file.write_text(source)
    module = types.ModuleType("golden")
    exec(compile(source, str(file), "exec"), vars(module))
    return file, module


@pytest.fixture(autouse=True)
def _forget():
    yield
    sys.modules.pop("golden", None)


def timeless(answer):
    """Leave out of a model's answer when it was given; an answer without a body has no type."""
    status, kind, body = answer
    return status, "" if status == 204 else kind.partition(";")[0], re.sub(rb',"timestamp":"[^"]*"', b"", body)


def deployed_and_served(file, function, asked):
    """Return what a server and a Nuclio function answer, and whether a path is one."""
    found = []
    for start in (lambda: Served(file), lambda: Deployed(file, function)):
        running = start()
        try:
            answers = []
            for path, body in asked:
                text = body if isinstance(body, str) else json.dumps(body)
                answers.append(timeless(running.exchange(text, path)))
            found.append(answers)
        finally:
            running.end()
    return found


def mocked(server, path, body):
    """Return what the mock server's answer is on the wire."""
    try:
        answer = server.test(path, body=body)
    except StepError as error:
        return error.status_code, error.reason
    if answer is None and body["kind"] == "dropped":
        return 204, b""
    if hasattr(answer, "gi_frame"):
        return 200, "".join(answer).encode()
    try:
        status, _, _, data = render(answer)
    except TypeError:
        return 500, None
    return status, data


def test_the_answers_of_a_flow_are_equal_to_the_byte(tmp_path):
    file, module = module_of(tmp_path, FLOW)
    asked = [("/", {"kind": kind}) for kind in KINDS]
    served, deployed = deployed_and_served(file, module.fn, [*asked, ("/", "{x"), ("/", '"\u00e9"')])
    by_kind = dict(zip(KINDS, zip(served, deployed, strict=False), strict=False))
    assert {kind: pair[0] for kind, pair in by_kind.items()} == {kind: pair[1] for kind, pair in by_kind.items()}
    assert served == deployed
    statuses = {kind: pair[0][0] for kind, pair in by_kind.items() if pair[0][0] != 200}
    assert statuses == {"response": 201, "refusal": 409, "dropped": 204, "object": 500, "error": 500, "conflict": 409}
    assert [answer[0] for answer in served[-2:]] == [400, 500]
    with module.fn.to_mock_server(namespace=module) as server:
        for (_, body), (status, _, data) in zip(asked, served, strict=False):
            got, said = mocked(server, "/", body)
            assert got == status, body
            if isinstance(said, bytes):
                assert said == data, body
            elif said is not None:  # a failure: the server names the step of one that is its own
                text = json.loads(data)["error"] if data.startswith(b"{") else data.decode()
                assert text.removeprefix("step 'result': ") == said, body
    rows = tmp_path / "in.jsonl"
    rows.write_text("".join(json.dumps(body) + "\n" for _, body in asked))
    report = module.fn.to_job(namespace=module).run(str(rows), str(tmp_path / "out.jsonl"))
    lines = []
    for kind, ((status, content_type, data), _) in by_kind.items():
        if status < 300 and status != 204 and kind not in ("bytes", "chunks"):
            lines.append(data if content_type == "application/json" else json.dumps(data.decode()).encode())
        elif kind == "chunks":
            lines.append(b'["0","1","2"]')
    written = (tmp_path / "out.jsonl").read_bytes().splitlines()
    assert [json.loads(line) for line in written] == [json.loads(line) for line in lines]
    assert [one for one in written if not one.startswith(b'"')] == [one for one in lines if not one.startswith(b'"')]
    failures = [json.loads(line) for line in Path(report.errors).read_text("utf-8").splitlines()]
    failed = {KINDS[failure["row"] - 1] for failure in failures}
    assert failed == {kind for kind, status in statuses.items() if status >= 400} | {"bytes"}
    assert (report.filtered, DROPPED is module.DROPPED) == (1, True)


def test_the_answers_of_models_and_ensembles_are_equal_to_the_byte(tmp_path):
    file, module = module_of(tmp_path, MODELS)
    served, deployed = deployed_and_served(file, module.fn, ASKED)
    assert served == deployed
    assert [status for status, _, _ in served] == [200, 200, 200, 404, 400, 500, 400]
    assert json.loads(served[2][2])["outputs"] == [9.0, 21.0]
    with module.fn.to_mock_server(namespace=module) as server:
        for (path, body), (status, kind, data) in list(zip(ASKED, served, strict=True))[:3]:
            assert timeless((status, kind, render(server.test(path, body=json.loads(json.dumps(body))))[3])) == (
                status, kind, data,
            )  # fmt: skip
    rows = tmp_path / "in.jsonl"
    rows.write_text(json.dumps(ASKED[0][1]) + "\n" + json.dumps(ASKED[1][1]) + "\n")
    module.fn.to_job(namespace=module).run(str(rows), str(tmp_path / "out.jsonl"), path=ASKED[0][0])
    lines = (tmp_path / "out.jsonl").read_bytes().splitlines()
    assert [timeless((200, "application/json", line)) for line in lines] == served[:2]
