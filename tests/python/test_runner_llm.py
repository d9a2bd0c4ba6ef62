"""Language models: prompts filled from events, providers over HTTP, answers with usage."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import penstock
import pytest
from penstock.errors import MLRunInvalidArgumentError, MLRunRuntimeError, StepError
from penstock.graph import graph_from_dict
from penstock.runner.providers import InvokeResponseFormat, provider_of
from penstock.serving import GraphServer, LLModel, LLMPromptArtifact, ModelProvider, ModelRunnerStep, OpenAIProvider

# A connection that the server has closed first is left to the collector, by httpx.
pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.usefixtures("httpx_leftovers"),
]

USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}


class Endpoint:
    """An endpoint that answers with the last message in capitals, and keeps what it was asked."""

    def __init__(self):
        self.asked = []
        self.barrier = None
        self.status, self.reply = 200, None
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                endpoint.asked.append((self.path, self.headers.get("Authorization"), request))
                if endpoint.barrier is not None:
                    endpoint.barrier.wait(timeout=20)
                text = request["messages"][-1]["content"].upper()
                answer = {"choices": [{"message": {"role": "assistant", "content": text}}], "usage": USAGE}
                body = json.dumps(answer if endpoint.reply is None else endpoint.reply).encode()
                self.send_response(endpoint.status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def end(self):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def endpoint():
    made = Endpoint()
    yield made
    made.end()


def prompt(model, **options):
    return LLMPromptArtifact(
        "capital",
        [{"role": "system", "content": 'Answer as {"city": ...}'}, {"role": "user", "content": "capital of {land}?"}],
        {"land": {"field": "country", "description": "the country's name"}},
        model,
        **options,
    )


def served(artifact, mechanism="thread_pool", model_class=LLModel, **options):
    runner = ModelRunnerStep("llm")
    runner.add_model("m", model_class, mechanism, model_artifact=artifact, **options)
    fn = penstock.new_function("llm")
    fn.set_topology("flow").to(runner).respond()
    return fn.to_mock_server()


@pytest.mark.parametrize("mechanism", ["naive", "thread_pool", "asyncio", "dedicated_process"])
def test_a_prompt_is_filled_and_the_answer_comes_with_its_usage(endpoint, mechanism):
    artifact = prompt({"model_url": endpoint.url, "default_config": {"model": "tiny", "temperature": 0.5}})
    with served(artifact, mechanism, result_path="said.now") as server:
        answer = server.test(body={"country": "Peru"})
    assert answer == {"country": "Peru", "said": {"now": {"answer": "CAPITAL OF PERU?", "usage": USAGE}}}
    path, _, request = endpoint.asked[0]
    assert path == "/v1/chat/completions"
    assert request == {
        "model": "tiny",
        "temperature": 0.5,
        "messages": [
            {"role": "system", "content": 'Answer as {"city": ...}'},
            {"role": "user", "content": "capital of Peru?"},
        ],
    }


def test_without_a_result_path_the_answer_joins_the_body(endpoint):
    with served(prompt(endpoint.url), input_path="where") as server:
        assert server.test(body={"where": {"country": "Mali"}}) == {
            "where": {"country": "Mali"},
            "answer": "CAPITAL OF MALI?",
            "usage": USAGE,
        }


def test_a_call_has_the_arguments_of_its_prompt(endpoint):
    artifact = prompt(
        {"model_url": endpoint.url, "default_config": {"temperature": 0.5, "top_p": 1}},
        invocation_config={"temperature": 0.0},
    )
    with served(artifact) as server:
        server.test(body={"country": "Chad"})
    assert {key: endpoint.asked[0][2][key] for key in ("temperature", "top_p")} == {"temperature": 0.0, "top_p": 1}


@pytest.mark.parametrize(
    "body", [[{"role": "user", "content": "hi"}], {"messages": [{"role": "user", "content": "hi"}]}]
)
def test_without_a_prompt_the_messages_are_the_bodys(endpoint, body):
    with served(endpoint.url) as server:
        assert server.test(body=body)["answer"] == "HI"


@pytest.mark.parametrize("mechanism", ["thread_pool", "asyncio"])
def test_each_body_of_a_batch_gets_its_answer(endpoint, mechanism):
    with served(prompt(endpoint.url), mechanism, result_path="said") as server:
        answers = server.test(body=[{"country": name} for name in ("Peru", "Mali")])
    assert [answer["said"]["answer"] for answer in answers] == ["CAPITAL OF PERU?", "CAPITAL OF MALI?"]


def test_calls_of_different_events_are_under_way_at_once(endpoint):
    endpoint.barrier = threading.Barrier(4)
    with served(prompt(endpoint.url), "asyncio") as server, ThreadPoolExecutor(4) as callers:
        bodies = [{"country": str(number)} for number in range(4)]
        assert len(list(callers.map(lambda body: server.test(body=body), bodies))) == 4


def test_an_openai_model_is_found_by_secrets(endpoint, monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", endpoint.url)
    monkeypatch.setenv("OPENAI_API_KEY", "key-1")
    with served(prompt("openai://tiny")) as server:
        server.test(body={"country": "Peru"})
    assert endpoint.asked[0][1] == "Bearer key-1"
    assert endpoint.asked[0][2]["model"] == "tiny"


def test_secrets_of_the_context_come_before_those_of_the_environment(endpoint, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "of the environment")
    secrets = {"OPENAI_API_KEY": "of the context", "OPENAI_BASE_URL": endpoint.url}
    provider = provider_of("openai://tiny", SimpleNamespace(get_secret=secrets.get))
    assert provider.invoke([{"role": "user", "content": "hi"}]) == "HI"
    provider.close()
    assert endpoint.asked[0][1] == "Bearer of the context"


def test_a_provider_that_is_given_as_an_object_travels_to_a_process(endpoint):
    with served(prompt(OpenAIProvider(endpoint.url, "tiny", "key-2")), "process_pool") as server:
        assert server.test(body={"country": "Peru"})["answer"] == "CAPITAL OF PERU?"
    assert endpoint.asked[0][1:] == ("Bearer key-2", endpoint.asked[0][2] | {"model": "tiny"})


def test_a_provider_answers_in_three_forms(endpoint):
    provider = OpenAIProvider(endpoint.url)
    messages = [{"role": "user", "content": "hi"}]
    assert provider.invoke(messages) == "HI"
    assert provider.invoke(messages, InvokeResponseFormat.USAGE) == {"answer": "HI", "usage": USAGE}
    assert set(provider.invoke(messages, InvokeResponseFormat.FULL)) == {"choices", "usage"}
    provider.close()


@pytest.mark.parametrize("mechanism", ["thread_pool", "asyncio"])
def test_an_endpoint_that_refuses_fails_the_event_with_502(endpoint, mechanism):
    endpoint.status, endpoint.reply = 429, {"error": {"message": "slow down"}}
    with served(prompt(endpoint.url.replace("http://", "http://user:word@")), mechanism) as server:
        with pytest.raises(StepError, match="bad http response 429: slow down") as caught:
            server.test(body={"country": "Peru"})
        assert caught.value.status_code == 502
        assert "word" not in str(caught.value)
        endpoint.status, endpoint.reply = 200, {"odd": 1}
        with pytest.raises(StepError, match="answered without choices and a message"):
            server.test(body={"country": "Peru"})


@pytest.mark.parametrize("mechanism", ["thread_pool", "asyncio"])
def test_an_endpoint_that_does_not_answer_fails_the_event(endpoint, mechanism):
    endpoint.barrier = threading.Barrier(2)
    with served(prompt({"model_url": endpoint.url, "default_config": {"timeout": 0.05}}), mechanism) as server:
        with pytest.raises(StepError, match="timed out") as caught:
            server.test(body={"country": "Peru"})
        assert caught.value.status_code == 504
        endpoint.barrier.wait(timeout=10)
    with served(prompt("http://127.0.0.1:1/v1"), mechanism) as server:
        with pytest.raises(StepError, match="cannot invoke url: http://127.0.0.1:1/v1") as caught:
            server.test(body={"country": "Peru"})
        assert caught.value.status_code == 502


def test_a_body_without_what_the_prompt_needs_is_refused(endpoint):
    with served(prompt(endpoint.url)) as server:
        for body, text in [({"land": "x"}, "has no 'country' for {land}"), ("Peru", "filled from a dict")]:
            with pytest.raises(StepError, match=text) as caught:
                server.test(body=body)
            assert caught.value.status_code == 400
    with served(endpoint.url) as server, pytest.raises(StepError, match="the body has to bring `messages`"):
        server.test(body={"country": "Peru"})
    assert endpoint.asked == []


def test_endpoints_that_share_a_model_have_prompts_of_their_own(endpoint):
    fn = penstock.new_function("shared")
    graph = fn.set_topology("flow")
    graph.add_shared_model("model", LLModel, "thread_pool", endpoint.url)
    runner = ModelRunnerStep("llm")
    for word in ("hello", "bye"):
        template = LLMPromptArtifact(word, [{"role": "user", "content": word + " {name}"}])
        runner.add_shared_model_proxy(word, template, "model")
    graph.to(runner).respond()
    with fn.to_mock_server() as server:
        answer = server.test(body={"name": "Ann"})
    assert {word: answer[word]["answer"] for word in answer} == {"hello": "HELLO ANN", "bye": "BYE ANN"}


def test_a_provider_of_ones_own_and_a_predict_of_ones_own():
    class Loud(ModelProvider):
        def invoke(self, messages, invoke_response_format="string", **config):
            return {"answer": messages[-1]["content"] + "!", "usage": {}}

    class Own(LLModel):
        def predict(self, body, messages=None, invocation_config=None):
            return [message["content"] for message in messages]

    for mechanism in ("thread_pool", "asyncio"):
        with served(prompt(Loud()), mechanism) as server:
            assert server.test(body={"country": "Peru"})["answer"] == "capital of Peru?!"
    with served(prompt(None), model_class=Own) as server:
        assert server.test(body={"country": "Peru"})[1] == "capital of Peru?"


def test_a_model_without_a_provider_is_refused_when_the_graph_is_made():
    text = "Model provider could not be determined for model 'm', and the predict function was not overridden."
    with pytest.raises(ValueError, match=text) as caught:
        served(prompt("somewhere"))
    assert isinstance(caught.value.__cause__, MLRunRuntimeError)


def test_prompts_that_make_no_sense_are_refused():
    with pytest.raises(MLRunInvalidArgumentError, match="the legend explains {town}, which is not in the template"):
        LLMPromptArtifact("p", [{"role": "user", "content": "{city}"}], {"town": {}})
    with pytest.raises(MLRunInvalidArgumentError, match="each message is a dict with role and content"):
        LLMPromptArtifact("p", [{"role": "user"}])


def test_values_are_text_not_templates():
    template = LLMPromptArtifact("p", [{"role": "user", "content": "{a} {b} {unknown} {a.__class__}"}])
    assert template.messages({"a": "{b}", "b": 2})[0]["content"] == "{b} 2 {unknown} {a.__class__}"


def test_a_graph_with_a_prompt_is_written_down(endpoint):
    runner = ModelRunnerStep("llm")
    runner.add_model("m", LLModel, "naive", prompt(endpoint.url, description="capitals"), result_path="said")
    graph = penstock.new_function("llm").set_topology("flow")
    graph.to(runner).respond()
    written = json.loads(json.dumps(graph.to_dict()))
    read = graph_from_dict(written)
    assert read.to_dict() == written
    with GraphServer(read) as server:
        assert server.test(body={"country": "Peru"})["said"]["answer"] == "CAPITAL OF PERU?"
