"""Functions for Nuclio, and workers of the stand-in processor that run them, for tests."""

import penstock
import pytest
from nuclio_processor import Worker

STEPS = """
import json, logging, os, threading, time
from pathlib import Path
import penstock
from penstock.event import DROPPED

def double(body):
    return 2 * body

def show(event):
    told = {"id": event.id, "path": event.path, "method": event.method, "content_type": event.content_type,
            "headers": event.headers, "trigger": event.trigger.kind, "body": repr(event.body)}
    for name in ("stream_path", "offset", "shard_id", "fields"):
        told[name] = getattr(event, name, None)
    told["time"] = event.time.isoformat()
    event.body = told
    return event

def refuse(body):
    raise penstock.errors.MLRunConflictError("not twice")

def fail(body):
    return body["missing"]

def odd(body):
    return body if body % 2 else DROPPED

def respond(body):
    return penstock.Response({"X-Number": 5, "X-Flag": True}, {"a": [1]}, status_code=201)

def raw(body):
    return b"\\xff\\x00"

def chunks(body):
    for number in range(3):
        yield f"{body}{number}"

def keep(body):
    with open("kept.txt", "a") as file:
        file.write(json.dumps(body) + "\\n")
    return body

def slow(body):
    time.sleep(body.get("seconds", 0) if isinstance(body, dict) else 0)
    return keep(body)

class Logs:
    def __init__(self, context):
        self.context = context
    def do(self, body):
        log = self.context.logger
        log.debug("too much", costs=1)
        log.info("fact %s", 5, rows=3, name="n")
        logging.getLogger("penstock").warning("own")
        return [self.context.worker_id, self.context.platform.kind, self.context.trigger.kind,
                self.context.current_function]
"""
MAIN = STEPS + "from penstock.nuclio import handler\n"


def spec_of(*names, engine="async", respond=True, **options):
    """The specification of a flow of these handlers; names that begin with a capital are classes."""
    fn = penstock.new_function("golden", project="p")
    step = fn.set_topology("flow", engine=engine)
    for name in names:
        given = {"class_name": name} if name[0].isupper() else {"handler": name}
        step = step.to(name=name.lower() if name.isidentifier() else "step", full_event=name == "show" or None, **given)
    if respond and engine == "async":
        step.respond()
    for key, value in options.items():
        setattr(fn.spec, key, value)
    return fn.serving_spec


@pytest.fixture
def start(tmp_path):
    """Start a worker with a module `main`; all end with the test."""
    started = []

    def begin(*names, main=MAIN, handler="main:handler", spec=None, options=None, **given):
        (tmp_path / "main.py").write_text(main)
        worker = Worker(
            tmp_path, handler, spec=spec or (spec_of(*names, **(options or {})) if names else None), **given
        )
        started.append(worker)
        return worker

    yield begin
    for worker in started:
        worker.end()
