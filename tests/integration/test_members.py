"""Members of a group that are killed while they wait, and those whose name somebody else takes."""

import json

import pytest
from served import Served

APP = """
import os
import penstock

def mark(body):
    return [body, os.environ["ME"]]

fn = penstock.new_function("named")
fn.set_topology("flow").to(name="mark", handler="mark").to(">>", "out", path=os.environ["OUT"])
options = {"session.timeout.ms": 3000, "heartbeat.interval.ms": 500, **eval(os.environ["NAMED"])}
topic, dead = os.environ["IN"], os.environ["DEAD"]
fn.add_kafka_trigger(os.environ["BROKERS"], topic, group=topic, client_options=options, dead_letter=dead)
"""


@pytest.fixture
def start(tmp_path, kafka):
    """Serve the function as somebody; all processes end with the test."""
    file = tmp_path / "named.py"
    file.write_text(APP)
    for topic, partitions in (("in", 2), ("out", 1), ("dead", 1)):
        kafka.make(topic, partitions)
    where = {"BROKERS": kafka.address, "IN": kafka.name("in"), "OUT": kafka.path("out"), "DEAD": kafka.name("dead")}
    started = []

    def run(me, **client):
        started.append(Served(file, ME=me, NAMED=repr(client), **where))
        return started[-1]

    yield run
    for served in started:
        served.end()


def seen(kafka, count):
    """Return who has handled what, the last who has."""
    return dict(json.loads(value) for value in kafka.values("out", count, timeout=3))


@pytest.mark.timeout(240)
def test_a_record_that_comes_after_deaths_of_others_is_no_poison(start, kafka):
    for life in range(4):
        served = start(f"life {life}")
        kafka.write_to("in", {1: b"%d" % life})  # so that it has the other partition as well, where nothing is
        while life not in seen(kafka, kafka.end("out") + 1):
            pass
        served.process.kill()
        served.process.wait(10)
    kafka.write_to("in", {0: b"100"})
    last = start("last")
    while 100 not in (found := seen(kafka, kafka.end("out") + 1)):
        pass
    assert found[100] == "last"
    assert last.stop()[0] == 0
    assert kafka.end("dead") == 0


@pytest.mark.timeout(240)
def test_who_loses_its_name_to_another_takes_over_when_that_has_gone(start, kafka):
    name = {"group.instance.id": "one"}
    start("first", **name)
    kafka.write("in", [(b"a", b"1")])
    assert seen(kafka, 1) == {1: "first"}
    second = start("second", **name)
    while "second" not in seen(kafka, kafka.end("out") + 1).values():
        kafka.write("in", [(b"a", b"2")])
    second.process.kill()
    wanted = dict.fromkeys(range(10, 30), "first")
    kafka.write("in", [(b"b%d" % number, b"%d" % number) for number in wanted])
    while not wanted.items() <= seen(kafka, kafka.end("out") + 1).items():
        pass
