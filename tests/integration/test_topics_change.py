"""What a source makes of a topic that changes while it is served."""

import json

import pytest
from served import Served

APP = """
import os
import penstock

fn = penstock.new_function("changing")
fn.set_topology("flow").to(name="same", handler="(event)").to(">>", "out", path=os.environ["OUT"])
fn.add_kafka_trigger(os.environ["BROKERS"], os.environ["IN"], group=os.environ["IN"], initial_offset=os.environ["AT"])
"""


@pytest.fixture
def serve(tmp_path, kafka):
    file = tmp_path / "changing.py"
    file.write_text(APP)
    kafka.make("in")
    kafka.make("out")
    started = []

    def start(at):
        started.append(Served(file, BROKERS=kafka.address, IN=kafka.name("in"), OUT=kafka.path("out"), AT=at))
        return started[-1]

    yield start
    for served in started:
        served.end()


def numbers(kafka, count):
    return sorted(json.loads(value) for value in kafka.values("out", count))


def records(first, end):
    return [(None, b"%d" % number) for number in range(first, end)]


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("at", "again"),
    [("earliest", False), ("latest", False), ("earliest", True)],
    ids=["while served", "while served, from the latest on", "between two starts"],
)
def test_a_topic_that_is_made_anew_is_read_from_its_start(serve, kafka, at, again):
    served = serve(at)
    kafka.settled("in", kafka.name("in"))
    kafka.write("in", records(0, 20))
    assert numbers(kafka, 20) == [*range(20)]
    if again:
        assert served.stop()[0] == 0
    kafka.drop("in")
    kafka.make("in")
    kafka.write("in", records(20, 27))
    if again:
        served = serve(at)
    assert numbers(kafka, 27) == [*range(27)]
    kafka.write("in", records(27, 60))
    assert numbers(kafka, 60) == [*range(60)]
    assert served.get("/v2/health/ready")[0] == 200
    assert served.stop()[0] == 0
    assert kafka.committed("in", kafka.name("in"))[0] == 40


@pytest.mark.timeout(120)
def test_partitions_that_are_added_are_read_from_their_first_record_on(serve, kafka):
    serve("latest")
    kafka.settled("in", kafka.name("in"))
    kafka.grow("in", 3)
    kafka.write_to("in", {1: b"1", 2: b"2"})
    assert numbers(kafka, 2) == [1, 2]
