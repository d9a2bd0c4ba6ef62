"""A Nuclio function's handler in this process: what penstock adds to a handler of one's own.

Measured with nuclio-sdk's own events and context, without the processor and its sockets. The bare handler makes what
penstock makes of the same events: the five steps called one after the other, and a response with a text.
"""

import json

import nuclio_sdk
import orjson
import penstock
import pytest
from penstock.nuclio import handler, init_context

BODY = b'{"a": [1.0, 2.0, 3.0, 4.0], "n": 1}'


def step(body):
    return body


class Quiet:
    """A logger that says nothing."""

    def __getattr__(self, name):
        return lambda *_, **__: None


def event_of():
    headers = {"Content-Type": "application/octet-stream", "Host": "f", "User-Agent": "wrk", "Content-Length": "35"}
    trigger = nuclio_sdk.TriggerInfo("http", "http")
    return nuclio_sdk.Event(BODY, "", trigger, {}, headers, "id", "POST", "/", len(BODY))


@pytest.fixture
def context(monkeypatch):
    fn = penstock.new_function("chain")
    flow = fn.set_topology("flow")
    for number in range(5):
        flow = flow.to(handler="step", name=f"step-{number}")
    flow.respond()
    monkeypatch.setenv("SERVING_SPEC_ENV", fn.serving_spec)
    made = nuclio_sdk.Context(Quiet(), nuclio_sdk.Platform("local"), "0", nuclio_sdk.TriggerInfo("http", "http"))
    init_context(made, namespace=globals())
    yield made
    made._server.close()


def bare(_context, event):
    body = orjson.loads(event.body)
    for _ in range(5):
        body = step(body)
    return nuclio_sdk.Response(body=orjson.dumps(body).decode(), content_type="application/json")


@pytest.mark.informational  # what penstock.nuclio adds is the difference of these two
@pytest.mark.parametrize("handle", [bare, handler], ids=["bare", "penstock"])
def test_event(benchmark, context, handle):
    event = event_of()
    answer = benchmark(handle, context, event)
    assert json.loads(answer.body) == json.loads(BODY)
