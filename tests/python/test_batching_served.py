"""Batches behind HTTP and gRPC: many callers at once, and those who are wrong, late or gone."""

import asyncio
import contextlib
import itertools
import json
import socket
import textwrap
import time

import pytest
from served import Served

GRAPHS = """
import pathlib
import time
import numpy as np
import penstock

HERE = pathlib.Path(__file__).parent

class Double(penstock.serving.V2ModelServer):
    def load(self):
        self.seen = []

    def predict(self, body):
        rows = np.asarray(body["inputs"])
        self.seen += rows.reshape(-1).tolist()
        time.sleep(0.002)  # meanwhile more come
        (HERE / "entered").touch()
        while (HERE / "hold").exists():
            time.sleep(0.001)
        if (rows < 0).any():
            raise ValueError("below 0")
        return {"double": 2 * rows, "same": rows}

    def op_seen(self, event):
        event.body = self.seen
        return event

class Slow(Double):
    def predict(self, body):
        time.sleep(0.01 + 0.002 * len(body["inputs"]))
        return body["inputs"]

class Rows(penstock.serving.V2ModelServer):
    # It answers with plain rows, as many as the parameter "rows" says, and notes what it is asked.

    def load(self):
        self.seen = []

    def predict(self, body):
        (HERE / "entered").touch()
        while (HERE / "hold").exists():
            time.sleep(0.001)
        self.seen.append([body["inputs"].reshape(-1).tolist(), body.get("parameters", {}), body.get("id")])
        rows = body["inputs"].tolist()
        return rows[: body["parameters"]["rows"]] if "rows" in body.get("parameters", {}) else rows

    def op_seen(self, event):
        event.body = self.seen
        return event

batched = penstock.new_function("batched")
batched.add_model("rows", class_name=Rows, model_path="").batch(64)
batched.add_model("m", class_name=Double, model_path="").batch(64)
batched.add_model("goal", class_name=Slow, model_path="").batch(4, adaptive=True, target_latency=0.05)
"""
CALLERS, TURNS = 1000, 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("batched")
    (path / "graphs.py").write_text(textwrap.dedent(GRAPHS))
    return path


@pytest.fixture(scope="module")
def server(folder):
    served = Served(f"{folder / 'graphs.py'}:batched", "--grpc-port", "0")
    yield served
    served.end()


@pytest.fixture
def held(server, folder):
    """The model is at work with one request, until `release`; whatever comes meanwhile waits."""
    with holding(server, folder, "m") as release:
        yield release


@contextlib.contextmanager
def holding(server, folder, model):
    (folder / "entered").unlink(missing_ok=True)
    (folder / "hold").touch()
    first = connect(server)
    first.sendall(request(1000, model))
    wait_for((folder / "entered").exists)

    def release():
        (folder / "hold").unlink(missing_ok=True)
        with first:
            assert first.recv(65536).startswith(b"HTTP/1.1 200")

    yield release
    (folder / "hold").unlink(missing_ok=True)
    first.close()


def wait_for(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)


def connect(server):
    return socket.create_connection(("127.0.0.1", server.port), timeout=20)


def body_of(value, **more):
    tensor = {"name": "x", "shape": [1, 1], "datatype": "INT64", "data": [value]}
    return json.dumps({"inputs": [tensor], **more}).encode()


def request(value, model="m", **more):
    body = body_of(value, **more)
    head = f"POST /v2/models/{model}/infer HTTP/1.1\r\nHost: x\r\n{'Content-Type'}: application/json\r\n"
    return head.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body


def statistics(server, model="m"):
    return server.get(f"/v2/models/{model}/stats")[1]["model_stats"][0]


def seen(server):
    return server.post({}, "/v2/models/m/seen")[1]


def metric(server, name):
    lines = server.get("/metrics")[1].decode().splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith(name))


def waiting(server, model="m"):
    """How many requests wait for the model, besides those it is at work with."""
    return metric(server, f'penstock_step_queue_depth{{model="{model}"')


def connections(server):
    return metric(server, "penstock_connections")


async def answer(reader):
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    return int(head.split()[1]), json.loads(await reader.readexactly(length))


def test_a_thousand_callers_at_once_each_get_their_own_rows(server):
    async def call(number, everybody):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        await everybody.wait()
        for turn in range(TURNS):
            value = number * TURNS + turn
            outputs = [{"name": ("double", "same")[number % 2]}]
            writer.write(request(value, id=str(value), outputs=outputs))
            status, found = await answer(reader)
            assert (status, found["id"]) == (200, str(value))
            assert [output["name"] for output in found["outputs"]] == [outputs[0]["name"]]
            assert found["outputs"][0]["data"] == [value * (2 - number % 2)]
        writer.close()

    async def all_of_them():
        everybody = asyncio.Event()
        calls = [asyncio.create_task(call(number, everybody)) for number in range(CALLERS)]
        await asyncio.sleep(0)
        everybody.set()
        await asyncio.gather(*calls)

    before = statistics(server)
    asyncio.run(asyncio.wait_for(all_of_them(), 50))
    after = statistics(server)
    requests = after["inference_count"] - before["inference_count"]
    assert requests == CALLERS * TURNS
    assert requests / (after["execution_count"] - before["execution_count"]) > 8


def test_one_caller_alone_does_not_wait(server):
    seen = [statistics(server)]
    with connect(server) as connection:
        for number in range(20):
            connection.sendall(request(number))
            assert connection.recv(65536).startswith(b"HTTP/1.1 200")
            seen.append(statistics(server))
    assert seen[-1]["execution_count"] - seen[0]["execution_count"] == 20
    queued = [one["inference_stats"]["queue"]["ns"] for one in seen]
    assert min(after - before for before, after in itertools.pairwise(queued)) < 1e6  # a busy machine delays some


def test_one_bad_request_fails_alone(server, held):
    values = [1, 2, -3, 4, 5]
    connections = [connect(server) for _ in values]
    for connection, value in zip(connections, values, strict=True):
        connection.sendall(request(value))
    wait_for(lambda: waiting(server) == len(values))
    held()
    for connection, value in zip(connections, values, strict=True):
        with connection:
            received = connection.recv(65536)
        assert received.startswith(b"HTTP/1.1 500" if value < 0 else b"HTTP/1.1 200"), received
        assert (b"ValueError: below 0" in received) == (value < 0)


def test_whose_time_passes_in_the_queue_is_told_and_not_run(server, held):
    status, body = server.post(json.loads(body_of(2_000_077, parameters={"timeout": 20_000})), "/v2/models/m/infer")
    assert (status, body) == (504, {"error": "Timeout: the deadline has passed"})
    status, _ = server.post(json.loads(body_of(2_000_078)), "/v2/models/m/infer", **{"X-Penstock-Timeout-Ms": "20"})
    assert status == 504
    held()
    assert not {2_000_077, 2_000_078} & set(seen(server))


def test_who_leaves_while_waiting_is_not_run(server, held):
    import grpc

    before = connections(server) + 1  # that of gRPC comes, and stays
    connection = connect(server)
    connection.sendall(request(2_000_088))
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        infer = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        pending = infer.future(message(2_000_089, "m"))
        stays = infer.future(message(90, "m"))
        wait_for(lambda: waiting(server) == 3)
        pending.cancel()
        connection.close()
        with pytest.raises(grpc.FutureCancelledError):
            pending.result(timeout=10)
        live = channel.unary_unary("/inference.GRPCInferenceService/ServerLive")
        assert live(b"", timeout=10)  # behind the reset, on the same connection
        wait_for(lambda: connections(server) == before)
        held()
        assert (2 * 90).to_bytes(8, "little") in stays.result(timeout=10)
    assert not {2_000_088, 2_000_089} & set(seen(server))


def test_who_has_a_priority_goes_first(server, held):
    connections = []
    for value, priority in ((1, 3), (2, 2), (3, 1), (4, None)):
        connection = connect(server)
        parameters = {} if priority is None else {"parameters": {"priority": priority, "apart": value}}
        connection.sendall(request(100_000 + value, **parameters))
        connections.append(connection)
        wait_for(lambda: waiting(server) == len(connections))
    held()
    for connection in connections:
        with connection:
            assert connection.recv(65536).startswith(b"HTTP/1.1 200")
    assert [value - 100_000 for value in seen(server) if 100_000 < value < 200_000] == [3, 2, 1, 4]


def test_requests_of_different_shapes_and_types_share_no_call(server, held):
    before = statistics(server)["execution_count"]
    shapes = [("INT64", [1, 1]), ("INT64", [1, 2]), ("FP32", [1, 1]), ("INT64", [2, 1]), ("INT64", [1, 2])]
    connections = []
    for datatype, shape in shapes:
        tensor = {"name": "x", "shape": shape, "datatype": datatype, "data": [7] * (shape[0] * shape[1])}
        body = json.dumps({"inputs": [tensor]}).encode()
        connection = connect(server)
        head = "POST /v2/models/m/infer HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: "
        connection.sendall(f"{head}{len(body)}\r\n\r\n".encode() + body)
        connections.append((connection, datatype, shape))
    wait_for(lambda: waiting(server) == len(shapes))
    held()
    for connection, datatype, shape in connections:
        with connection:
            received = connection.recv(65536)
        outputs = json.loads(received.split(b"\r\n\r\n", 1)[1])["outputs"]
        assert [(output["datatype"], output["shape"]) for output in outputs] == [(datatype, shape)] * 2
    assert statistics(server)["execution_count"] - before == 4  # the one that held them, and three forms


def together(server, folder, *requests):
    """Send requests to the model of rows that are one batch; return each answer's status and body."""
    with holding(server, folder, "rows") as release:
        connections = [connect(server) for _ in requests]
        for connection, one in zip(connections, requests, strict=True):
            connection.sendall(one)
        wait_for(lambda: waiting(server, "rows") == len(requests))
        release()
        answers = []
        for connection in connections:
            with connection:
                head, _, body = connection.recv(65536).partition(b"\r\n\r\n")
            answers.append((int(head.split()[1]), json.loads(body)))
    return answers


def test_plain_results_of_a_batch_become_each_callers_tensors(server, folder):
    answers = together(server, folder, *(request(value, "rows", id=f"id{value}") for value in (7, 8, 9)))
    assert [(status, body["id"], body["outputs"][0]["data"]) for status, body in answers] == [
        (200, f"id{value}", [value]) for value in (7, 8, 9)
    ]
    inputs, parameters, request_id = server.post({}, "/v2/models/rows/seen")[1][-1]
    assert (sorted(inputs), parameters, request_id) == ([7, 8, 9], {}, None)


def test_parameters_for_the_server_keep_nobody_apart_and_those_for_the_model_do(server, folder):
    for_both = {"priority": 5}, {"timeout": 60_000_000}
    apart = {"mode": 1, "priority": 5}, {"mode": 2}
    sent = [request(value, "rows", parameters=one) for value, one in enumerate(for_both)]
    assert [status for status, _ in together(server, folder, *sent)] == [200, 200]
    inputs, parameters, _ = server.post({}, "/v2/models/rows/seen")[1][-1]
    assert (sorted(inputs), parameters) == ([0, 1], {})
    sent = [request(value, "rows", parameters=one) for value, one in enumerate(apart)]
    assert [status for status, _ in together(server, folder, *sent)] == [200, 200]
    assert {parameters["mode"] for _, parameters, _ in server.post({}, "/v2/models/rows/seen")[1][-2:]} == {1, 2}


def test_as_many_results_as_rows_are_asked_for(server, folder):
    few = [request(value, "rows", parameters={"rows": 1}) for value in range(3)]
    said = {"error": "step 'rows': PenstockError: predict returned 1 results for 3 rows"}
    assert together(server, folder, *few) == [(500, said)] * 3


def message(value, model):
    """A ModelInferRequest: its client's stubs need more to import than this does to write."""
    tensor = b"\x0a\x01x\x12\x05INT64\x1a\x02\x01\x01"
    name = model.encode()
    head = b"\x0a" + bytes([len(name)]) + name + b"\x2a" + bytes([len(tensor)]) + tensor
    return head + b"\x3a\x08" + value.to_bytes(8, "little")


def test_who_cannot_make_the_goal_is_told_when_to_come_again(server):
    import grpc

    for _ in range(10):  # it learns what a call costs
        assert server.post(json.loads(body_of(1)), "/v2/models/goal/infer")[0] == 200

    async def call():
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(request(1, "goal"))
        head = await reader.readuntil(b"\r\n\r\n")
        writer.close()
        return head

    async def flood():
        return await asyncio.gather(*(call() for _ in range(200)))

    heads = asyncio.run(asyncio.wait_for(flood(), 50))
    assert {int(head.split()[1]) for head in heads} == {200, 503}
    assert all(1 <= int(head.split(b"Retry-After: ")[1].split()[0]) <= 30 for head in heads if b" 503 " in head)
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        infer = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        calls = [infer.future(message(1, "goal"), timeout=20) for _ in range(200)]
        codes = {call.code() for call in calls}  # waits for each
    assert codes == {grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED}
