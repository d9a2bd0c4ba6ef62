"""The protocol over REST: with tritonclient, with curl, and with what no client would send."""

import gzip
import json
import pathlib
import re
import shutil
import struct
import subprocess
import sys
import zlib

import pytest
from served import Served

HERE = pathlib.Path(__file__).parent
LENGTH = "Inference-Header-Content-Length"
ONE = {"name": "x", "shape": [1], "datatype": "FP32", "data": [1]}
CHECKS = re.findall(r"^def (\w+)\(_?client\)", (HERE / "rest_clients.py").read_text(encoding="utf-8"), re.MULTILINE)


@pytest.fixture(scope="module")
def server():
    served = Served(f"{HERE / 'protocol_models.py'}:fn")
    yield served
    served.end()


@pytest.fixture(scope="module")
def seen_by_triton(server):
    """The output of all checks in one process, which has nothing of penstock in it; a failure ends it."""
    command = [sys.executable, str(HERE / "rest_clients.py"), str(server.port), *CHECKS]
    return subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)


@pytest.mark.parametrize("check", CHECKS)
def test_tritonclient_works(seen_by_triton, check):
    assert f"passed {check}\n" in seen_by_triton.stdout, seen_by_triton.stderr


def infer(server, request, model="echo", **headers):
    return server.post(request, f"/v2/models/{model}/infer", **headers)


def test_curl_sends_files_as_they_are(server, tmp_path):
    if shutil.which("curl") is None:
        pytest.fail("curl is needed")
    described = {"name": "x", "shape": [2], "datatype": "FP32", "parameters": {"binary_data_size": 8}}
    head = json.dumps({"inputs": [described], "parameters": {"binary_data_output": True}}).encode()
    (tmp_path / "body").write_bytes(head + struct.pack("<2f", 1.5, 2.5))
    command = ["curl", "-sS", "--fail-with-body", "-D", str(tmp_path / "head"), "-o", str(tmp_path / "answer")]
    command += ["--data-binary", f"@{tmp_path / 'body'}", "-H", "Content-Type: application/octet-stream"]
    command += ["-H", f"{LENGTH}: {len(head)}", f"{server.url}/v2/models/echo/infer"]
    subprocess.run(command, check=True, timeout=30)
    headers = (tmp_path / "head").read_text()
    length = int(re.search(rf"{LENGTH}: (\d+)", headers)[1])
    assert "Content-Type: application/octet-stream" in headers
    answer = (tmp_path / "answer").read_bytes()
    assert json.loads(answer[:length])["outputs"][0]["parameters"] == {"binary_data_size": 8}
    assert struct.unpack("<2f", answer[length:]) == (1.5, 2.5)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"shape": [-1]}, "input 'x': shape must hold integers that are not negative"),
        ({"shape": [2]}, "input 'x': 1 values for shape [2]"),
        ({"datatype": "FP99"}, "input 'x': unknown datatype 'FP99'"),
        ({"datatype": "FP16"}, "input 'x': FP16 cannot be sent as JSON"),
        ({"datatype": "BF16"}, "input 'x': BF16 cannot be sent as JSON"),
        ({"datatype": "INT8", "data": [128]}, "input 'x': element 0 of data is not a valid INT8"),
        ({"parameters": {"binary_data_size": 4}}, "input 'x': data and binary_data_size exclude each other"),
        ({"parameters": {"shared_memory_region": "r"}}, "input 'x': shared memory is not offered, send the data"),
    ],
)
def test_a_wrong_input_is_400_and_named(server, change, text):
    assert infer(server, {"inputs": [ONE | change]}) == (400, {"error": text})


@pytest.mark.parametrize("length", ["-1", "x", "1.5", "99999", "18446744073709551616", ""])
def test_a_wrong_length_of_the_json_is_400(server, length):
    status, _, body = server.request(
        "/v2/models/echo/infer", json.dumps({"inputs": [ONE]}), headers={LENGTH: length, "Accept": "*/*"}
    )
    assert (status, LENGTH in body["error"]) == (400, True)


def test_what_is_not_a_number_is_null(server):
    status, body = infer(server, {"inputs": [ONE | {"shape": [2], "data": [None, 1]}]})
    assert (status, body["outputs"][0]["data"]) == (200, [None, 1])


def test_halves_are_answered_as_fp32_in_json(server):
    rows = {"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}
    for model in ("sums", "hooked"):
        status, body = infer(server, {"inputs": [rows]}, model)
        assert status == 200
        types = {output["name"]: (output["datatype"], output["data"]) for output in body["outputs"]}
        assert types["half"] == types["brain"] == types["sum"] == ("FP32", [3])


@pytest.mark.parametrize("parameters", [{}, {"binary_data_output": True}])
def test_none_is_no_text(server, parameters):
    inputs = [{"name": "x", "shape": [2], "datatype": "FP32", "data": [1, 2]}]
    assert infer(server, {"inputs": inputs, "parameters": parameters}, "gaps")[0] == 200
    inputs[0]["data"] = [1, -1]
    for _ in range(2):  # once it has learnt its outputs, too
        status, body = infer(server, {"inputs": inputs, "parameters": parameters}, "gaps")
        assert (status, "output0' holds None at 1" in body["error"]) == (500, True)


def test_a_name_with_a_slash_is_reached_percent_encoded(server):
    name = "org%2Fecho"
    assert server.get(f"/v2/models/{name}/ready") == (200, {"name": "org/echo", "ready": True})
    assert server.get(f"/v2/models/{name}")[1]["name"] == "org/echo"
    status, body = server.post({"inputs": [ONE]}, f"/v2/models/{name}/infer")
    assert (status, body["model_name"], body["outputs"][0]["data"]) == (200, "org/echo", [1])
    status, body = server.post({"inputs": [[1]]}, f"/v2/models/{name}/infer")
    assert (status, body["model_name"]) == (200, "org/echo")
    assert server.get("/v2/models/org/echo/ready")[0] == 404
    assert server.get("/v2/models/org%252Fecho/ready")[0] == 404


def test_halves_are_halves_in_metadata(server):
    status, body = server.get("/v2/models/sums")
    types = {output["name"]: output["datatype"] for output in body["outputs"]}
    assert (status, types) == (200, {"sum": "FP32", "half": "FP16", "brain": "BF16", "text": "BYTES"})


@pytest.mark.parametrize(
    "path", ["systemsharedmemory/status", "cudasharedmemory/region/r/register", "trace/setting", "logging"]
)
def test_what_of_triton_is_not_here_is_not_offered(server, path):
    for answer in (server.get(f"/v2/{path}"), server.post({}, f"/v2/{path}")):
        assert answer == (501, {"error": f"step 'ModelRouter': /v2/{path} is not offered"})


@pytest.mark.parametrize("model", ["echo", "sums", "hooked"])
def test_an_answer_is_packed_if_that_is_asked_for(server, model):
    rows = {"name": "x", "shape": [1000, 2], "datatype": "FP32", "data": [1] * 2000}
    for coding, unpack in {"gzip": gzip.decompress, "deflate": zlib.decompress}.items():
        connection = server.connect()
        connection.request(
            "POST",
            f"/v2/models/{model}/infer",
            json.dumps({"inputs": [rows]}),
            {"Content-Type": "application/json", "Accept-Encoding": coding},
        )
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        assert (answer.headers["Content-Encoding"], answer.headers["Vary"]) == (coding, "Accept-Encoding")
        assert json.loads(unpack(content))["outputs"][0]["shape"][0] == 1000


@pytest.mark.parametrize(
    ("encoding", "body", "status"),
    [
        ("gzip", gzip.compress(json.dumps({"inputs": [ONE]}).encode(), mtime=0), 200),
        ("deflate", zlib.compress(json.dumps({"inputs": [ONE]}).encode()), 200),
        ("identity", json.dumps({"inputs": [ONE]}).encode(), 200),
        ("br", b"{}", 415),
        ("gzip", b"{}", 400),
        ("gzip", gzip.compress(bytes(100 * 1024 * 1024), 9, mtime=0), 413),
    ],
)
def test_bodies_come_packed(server, encoding, body, status):
    headers = {"Content-Type": "application/json", "Content-Encoding": encoding}
    answered, _, content = server.request("/v2/models/echo/infer", body, headers=headers)
    assert answered == status, content


def test_the_parameter_timeout_is_a_deadline(server):
    status, body = infer(server, {"inputs": [ONE], "parameters": {"timeout": 20_000}}, "waits")
    assert (status, list(body)) == (504, ["error"])
    status, body = infer(server, {"inputs": [ONE], "parameters": {"timeout": "soon"}}, "waits")
    assert (status, body) == (
        400,
        {"error": "parameter 'timeout' must be a whole number that is not negative"},
    )


def test_text_is_generated(server):
    status, body = server.post({"text_input": "a b"}, "/v2/models/words/generate")
    assert (status, body) == (200, {"model_name": "words", "model_version": "1", "text_output": "ab"})
    assert server.post({}, "/v2/models/words/generate")[0] == 400
    assert server.get("/v2/models/words/generate") == (405, {"error": "method GET not allowed, use POST"})


def test_the_repository_answers_posts(server):
    status, listed = server.post({"ready": True}, "/v2/repository/index")
    assert (status, listed[0]) == (200, {"name": "echo", "version": "", "state": "READY", "reason": ""})
    assert server.request("/v2/repository/index", "", method="POST")[0] == 200
    assert server.post({}, "/v2/repository/models/echo/unload")[0] == 501
