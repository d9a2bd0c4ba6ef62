"""Text in, text out: `generate` and `generate_stream`."""

import inspect
import json

import penstock
import pytest
from penstock.errors import StepError
from penstock.models import V2ModelServer


class Words(V2ModelServer):
    def load(self):
        self.seen = []

    def predict(self, body):
        self.seen.append(body)
        for word in body["inputs"][0].split():
            yield word.upper()


class AsyncWords(V2ModelServer):
    async def load(self):
        pass

    async def predict(self, body):
        for word in body["inputs"][0].split():
            yield word.upper()


class Whole(V2ModelServer):
    def load(self):
        pass

    def predict(self, body):
        return [body["inputs"][0].upper()]


class AsyncWhole(V2ModelServer):
    def load(self):
        pass

    async def predict(self, body):
        return body["inputs"][0].upper()


@pytest.fixture
def serve():
    servers = []

    def start(kind, name="m1"):
        fn = penstock.new_function("texts")
        fn.add_model(name, class_name=kind, model_path="")
        servers.append(fn.to_mock_server())
        return servers[-1]

    yield start
    for server in servers:
        server.wait_for_completion(timeout=10)


@pytest.mark.parametrize(
    ("kind", "text"), [(Words, "ABC"), (AsyncWords, "ABC"), (Whole, "A B C"), (AsyncWhole, "A B C")]
)
def test_the_pieces_are_one_text(serve, kind, text):
    answer = serve(kind).test("/v2/models/m1/generate", {"text_input": "a b c", "id": "7"})
    assert answer == {"id": "7", "model_name": "m1", "model_version": "1", "text_output": text}


def test_parameters_and_other_keys_reach_the_model(serve):
    server = serve(Words)
    body = {"text_input": "a", "parameters": {"temperature": 0.5}, "max_tokens": 3}
    server.test("/v2/models/m1/generate", body)
    model = server.compiled.models["m1"]
    assert model.seen == [{"id": "", "inputs": ["a"], "parameters": {"max_tokens": 3, "temperature": 0.5}}]


@pytest.mark.parametrize("body", [{}, {"text_input": 5}, {"text_input": "a", "parameters": [1]}])
def test_what_is_wrong_is_400(serve, body):
    with pytest.raises(StepError, match=r"400.*Expected") as caught:
        serve(Words).test("/v2/models/m1/generate", body)
    assert caught.value.status_code == 400


@pytest.mark.parametrize("kind", [Words, AsyncWords])
def test_a_stream_has_an_event_a_piece(serve, kind):
    answer = serve(kind).test("/v2/models/m1/generate_stream", {"text_input": "a b"})
    assert inspect.isgenerator(answer)
    assert [piece["text_output"] for piece in answer] == ["A", "B"]


@pytest.mark.parametrize("kind", [Whole, AsyncWhole])
def test_a_model_that_answers_at_once_streams_one_event(serve, kind):
    event = serve(kind).test("/v2/models/m1/generate_stream", {"text_input": "a b"})
    assert event.content_type == "text/event-stream; charset=utf-8"
    assert json.loads(event.body[6:])["text_output"] == "A B"
