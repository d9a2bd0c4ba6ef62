"""Models whose `predict` yields: answers in parts, in the mock server and over HTTP; and how they are counted."""

import http.client
import json
import pathlib

import penstock
import pytest
from penstock.errors import StepError, StreamingError
from penstock.serving import V2ModelServer
from served import Served

HERE = pathlib.Path(__file__).parent
THREE = {"name": "x", "shape": [1], "datatype": "INT32", "data": [3]}


class Counts(V2ModelServer):
    def load(self):
        self.closed = 0

    def predict(self, body):
        try:
            for count in range(body["inputs"][0]):
                yield [count]
            if body["inputs"][0] == 2:
                raise ValueError("told to")
        finally:
            self.closed += 1


class LateCounts(Counts):
    async def predict(self, body):
        for part in super().predict(body):
            yield part


def make(kind):
    fn = penstock.new_function("counts")
    fn.add_model("m", class_name=kind, model_path="")
    return fn


@pytest.fixture(params=[Counts, LateCounts])
def server(request):
    with make(request.param).to_mock_server() as server:
        yield server


def statistics(server):
    return server.compiled.inspection.statistics(["m"])["model_stats"][0]


def ask(server, number):
    return server.test("/v2/models/m/infer", {"id": "a", "inputs": [number]})


def test_each_part_is_a_reply(server):
    parts = list(ask(server, 3))
    assert [(part["id"], part["model_name"], part["outputs"]) for part in parts] == [
        ("a", "m", [0]),
        ("a", "m", [1]),
        ("a", "m", [2]),
    ]
    counted = statistics(server)
    assert (counted["inference_count"], counted["execution_count"]) == (1, 1)
    assert {place: ends["success"]["count"] for place, ends in counted["response_stats"].items()} == {
        "0": 1, "1": 1, "2": 1,
    }  # fmt: skip


def test_a_failure_in_the_middle_comes_after_the_parts(server):
    parts = ask(server, 2)
    assert [next(parts)["outputs"], next(parts)["outputs"]] == [[0], [1]]
    with pytest.raises(StreamingError, match="told to"):
        next(parts)
    counted = statistics(server)
    assert counted["inference_stats"]["fail"]["count"] == 1
    assert counted["response_stats"]["2"]["fail"]["count"] == 1
    assert counted["inference_count"] == 0


def test_who_reads_no_further_ends_the_models_own_generator():
    with make(Counts).to_mock_server() as server:
        parts = ask(server, 10_000)
        next(parts)
        parts.close()
        server.wait_for_completion(timeout=10)
        model = server.compiled.models["m"]
        counted = statistics(server)
    assert model.closed == 1
    assert sum(ends["cancel"]["count"] for ends in counted["response_stats"].values()) == 1


def test_batches_are_not_for_answers_in_parts():
    fn = penstock.new_function("counts")
    fn.add_model("m", class_name=Counts, model_path="").batch(4)
    with fn.to_mock_server() as server, pytest.raises(StepError, match=r"answers in parts, so its step cannot have"):
        ask(server, 3)


@pytest.fixture(scope="module")
def served():
    started = Served(f"{HERE / 'protocol_models.py'}:fn")
    yield started
    started.end()


@pytest.mark.parametrize("model", ["counts", "late_counts"])
def test_over_http_parts_are_lines_or_events(served, model):
    lines = []
    for accept in ("*/*", "text/event-stream"):
        connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=20)
        body = json.dumps({"inputs": [THREE]})
        connection.request("POST", f"/v2/models/{model}/infer", body, {"Accept": accept})
        answer = connection.getresponse()
        assert answer.status == 200
        lines.append((answer.getheader("Content-Type"), answer.read().decode()))
        connection.close()
    (plain, text), (events, stream) = lines
    assert (plain, events) == ("application/x-ndjson", "text/event-stream; charset=utf-8")
    outputs = [json.loads(line)["outputs"][0] for line in text.splitlines()]
    assert [(output["datatype"], output["data"]) for output in outputs] == [
        ("INT32", [0]),
        ("INT32", [1]),
        ("INT32", [2]),
    ]
    assert [json.loads(line[6:]) for line in stream.splitlines() if line] == [
        json.loads(line) for line in text.splitlines()
    ]


def test_generated_text_is_counted_too(served):
    before = served.get("/v2/models/words/stats")[1]["model_stats"][0]["inference_count"]
    assert served.post({"text_input": "a b"}, "/v2/models/words/generate")[1]["text_output"] == "ab"
    status, _, body = served.request("/v2/models/words/generate_stream", {"text_input": "a b"})
    assert (status, body.count(b"data: ")) == (200, 2)
    counted = served.get("/v2/models/words/stats")[1]["model_stats"][0]
    assert counted["inference_count"] - before == 2
    assert counted["response_stats"]["1"]["success"]["count"] >= 1
