"""What a Nuclio function's handler costs, without the processor: nuclio-sdk's own event in, its Response out."""

from __future__ import annotations

import os

import nuclio_sdk
import orjson
import penstock
from harness import in_turn, per_call, row

STEPS = 5
BODY = b'{"a": [1.0, 2.0, 3.0, 4.0], "n": 1}'


def same(body):
    return body


def bare(_context, event):
    """Answer as a person would write it: the five steps called one after the other."""
    body = orjson.loads(event.body)
    for _ in range(STEPS):
        body = same(body)
    return nuclio_sdk.Response(body=orjson.dumps(body).decode(), content_type="application/json")


class Quiet:
    """A logger that says nothing."""

    def __getattr__(self, name):
        return lambda *_, **__: None


def overhead():
    """Measure the handler beside a bare one."""
    from penstock.nuclio import handler, init_context

    function = penstock.new_function("chain")
    step = function.set_topology("flow")
    for number in range(STEPS):
        step = step.to(handler="same", name=f"step-{number}")
    step.respond()
    os.environ["SERVING_SPEC_ENV"] = function.serving_spec
    trigger = nuclio_sdk.TriggerInfo("http", "http")
    context = nuclio_sdk.Context(Quiet(), nuclio_sdk.Platform("local"), "0", trigger)
    init_context(context, namespace=globals())
    event = nuclio_sdk.Event(BODY, "", trigger, {}, {"Host": "f", "User-Agent": "wrk"}, "id", "POST", "/", len(BODY))
    try:
        rounds = in_turn(
            9,
            penstock=lambda: per_call(lambda: handler(context, event), 3000),
            bare=lambda: per_call(lambda: bare(context, event), 3000),
        )
    finally:
        context._server.close()
        del os.environ["SERVING_SPEC_ENV"]
    extra = [(a - b) * 1e6 for a, b in zip(rounds["penstock"], rounds["bare"], strict=True)]
    yield row(f"penstock.nuclio.handler through {STEPS} steps, above a bare handler", extra, 30.0, unit="µs")
