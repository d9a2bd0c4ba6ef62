"""The target of a remote step goes away and comes back: its records wait, and none becomes a dead letter."""

import json
import threading

import pytest
from endpoint import endpoint, reply
from served import Served

APP = """
import os
import penstock

fn = penstock.new_function(os.environ["NAME"])
graph = fn.set_topology("flow")
graph.to("$remote", "ask", url=os.environ["TARGET"], retries=1, method="POST").to(">>", "out", path=os.environ["OUT"])
fn.add_trigger("in", {"kind": "kafka-cluster", "attributes": {
    "brokers": [os.environ["BROKERS"]], "topics": [os.environ["IN"]], "dead_letter": os.environ["DEAD"]}})
"""
RECORDS = 300


@pytest.mark.timeout(180)
def test_an_outage_lets_the_records_wait_and_fills_no_dead_letters(kafka, tmp_path):
    kafka.make("in", 2)
    kafka.make("out")
    kafka.make("dead")
    kafka.write("in", [(b"%d" % n, b"%d" % n) for n in range(RECORDS)])
    file = tmp_path / "app.py"
    file.write_text(APP)
    is_back, is_cut = threading.Event(), threading.Event()
    asked = []

    def answer(call):
        asked.append(call.json)
        if is_back.is_set() or len(asked) <= 50:
            return reply(call.json)
        if len(asked) == 55:
            is_cut.set()
        return reply(b"", 503)

    with endpoint(answer) as target:
        served = Served(
            file,
            NAME=kafka.name("app"),
            TARGET=target.url,
            BROKERS=kafka.address,
            IN=kafka.name("in"),
            OUT=kafka.path("out"),
            DEAD=kafka.name("dead"),
        )
        try:
            assert is_cut.wait(60)
            while_out = len(kafka.read("out", 50))
            is_back.set()  # it is not noticed before the next probe
            found = [json.loads(value) for value in kafka.values("out", RECORDS, timeout=90)]
            assert served.stop()[0] == 0
        finally:
            served.end()
    assert while_out < 60
    assert sorted(found) == list(range(RECORDS))
    assert kafka.end("dead") == 0
    assert len(asked) <= RECORDS + 64 + 30  # as many are under way at a time, and may all be when it goes
