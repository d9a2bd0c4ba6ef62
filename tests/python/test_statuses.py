"""One failure has one status: in the mock server, over HTTP, and as a code of gRPC."""

import importlib.util
import sys

import grpc
import pytest
from served import Served

GRAPHS = """
import penstock
from penstock import errors

class Fails(penstock.serving.V2ModelServer):
    def load(self):
        pass

    def predict(self, body):
        kind = body["inputs"].reshape(-1)[0]
        if kind == "KeyError":
            return {}["x"]
        raise getattr(errors, kind)("so it is")

    def validate(self, request, operation):
        if request["inputs"].reshape(-1)[0] == "invalid":
            raise ValueError("not so")
        return request

statuses = penstock.new_function("statuses")
statuses.add_model("m", class_name=Fails, model_path="")
"""
CASES = {
    "KeyError": (500, "INTERNAL"),
    "invalid": (400, "INVALID_ARGUMENT"),
    "MLRunBadRequestError": (400, "INVALID_ARGUMENT"),
    "MLRunUnauthorizedError": (401, "UNAUTHENTICATED"),
    "MLRunAccessDeniedError": (403, "PERMISSION_DENIED"),
    "MLRunNotFoundError": (404, "NOT_FOUND"),
    "MLRunConflictError": (409, "ALREADY_EXISTS"),
    "MLRunPreconditionFailedError": (412, "FAILED_PRECONDITION"),
    "MLRunInternalServerError": (500, "INTERNAL"),
    "MLRunNotImplementedServerError": (501, "UNIMPLEMENTED"),
    "MLRunServiceUnavailableError": (503, "UNAVAILABLE"),
    "MLRunTimeoutError": (504, "DEADLINE_EXCEEDED"),
}


@pytest.fixture(scope="module")
def target(tmp_path_factory):
    path = tmp_path_factory.mktemp("statuses") / "statuses_graphs.py"
    path.write_text(GRAPHS)
    return path


@pytest.fixture(scope="module")
def served(target):
    started = Served(target, "--grpc-port", "0")
    yield started
    started.end()


@pytest.fixture(scope="module")
def mock(target):
    spec = importlib.util.spec_from_file_location("statuses_graphs", target)
    module = sys.modules["statuses_graphs"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with module.statuses.to_mock_server() as server:
        yield server


def body_of(kind):
    return {"inputs": [{"name": "x", "shape": [1], "datatype": "BYTES", "data": [kind]}]}


def message(kind):
    raw = len(kind).to_bytes(4, "little") + kind.encode()
    tensor = b"\x0a\x01x\x12\x05BYTES\x1a\x01\x01"
    return b"\x0a\x01m\x2a" + bytes([len(tensor)]) + tensor + b"\x3a" + bytes([len(raw)]) + raw


@pytest.mark.parametrize("kind", CASES)
def test_it_is_the_same_everywhere(mock, served, kind):
    status, code = CASES[kind]
    assert mock.test("/v2/models/m/infer", body_of(kind), silent=True).status_code == status
    answered, body = served.post(body_of(kind), "/v2/models/m/infer")
    assert (answered, list(body)) == (status, ["error"])
    with grpc.insecure_channel(f"127.0.0.1:{served.grpc_port}") as channel:
        infer = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        with pytest.raises(grpc.RpcError) as caught:
            infer(message(kind), timeout=20)
    assert caught.value.code() == grpc.StatusCode[code]
    assert caught.value.details() == body["error"]


def test_an_unknown_model_is_the_same_everywhere(mock, served):
    assert mock.test("/v2/models/none/infer", body_of("x"), silent=True).status_code == 404
    assert served.post(body_of("x"), "/v2/models/none/infer")[0] == 404
