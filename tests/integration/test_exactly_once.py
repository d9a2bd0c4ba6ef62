"""From topic to topic in transactions: the short form of `./dev storm exactly-once`, and what it rests on."""

import json
import time

import pytest
from exactly_once import storm
from served import Served

APP = """
import os, time
import penstock

def check(x):
    if x == "bad":
        raise ValueError("no number")
    return x

fn = penstock.new_function(os.environ["NAME"])
graph = fn.set_topology("flow").to(name="check", handler="check")
graph.to(">>", "first", path=os.environ["OUT"], full_event=False)
graph.to("storey.FlatMap", "twice", _fn="([event, event])").to(">>", "out", path=os.environ["OUT"], full_event=False)
fn.add_kafka_trigger(os.environ["BROKERS"], os.environ["IN"], group=os.environ["NAME"], guarantee="exactly_once",
                     **eval(os.environ.get("OPTIONS", "{}")))
"""


@pytest.fixture
def app(tmp_path, kafka):
    file = tmp_path / "app.py"
    file.write_text(APP)
    kafka.make("in", 2)
    kafka.make("out")
    started = []

    def start(options=""):
        served = Served(
            file,
            IN=kafka.name("in"),
            OUT=kafka.path("out"),
            NAME=kafka.name("app"),
            BROKERS=kafka.address,
            OPTIONS=f"dict({options})",
        )
        started.append(served)
        return served

    yield start
    for served in started:
        served.end()


@pytest.mark.timeout(300)
def test_kills_and_a_freeze_leave_each_record_once(kafka_address):
    report = storm(kafka_address, messages=3000, kills=3, freezes=1, seed=11)
    print(report)
    assert report.hard_kills > 0
    assert report.is_exact, str(report)


@pytest.mark.timeout(300)
def test_the_storm_sees_offsets_that_are_committed_outside_of_the_transaction(kafka_address):
    report = storm(kafka_address, messages=3000, kills=3, freezes=0, seed=11, workers=1, control="offsets")
    print(report)
    assert report.duplicates > 0


def test_what_a_record_is_made_into_is_seen_at_once(app, kafka):
    app()
    kafka.write("in", [(b"k", b"%d" % n) for n in range(50)])
    found = [json.loads(message.value()) for message in kafka.read("out", 150)]
    assert sorted(found) == sorted(3 * list(range(50)))


def test_a_group_of_the_newer_protocol_can_do_it_too(app, kafka):
    served = app("client_options={'group.protocol': 'consumer'}")
    kafka.write("in", [(b"k", b"%d" % n) for n in range(50)])
    assert len(kafka.read("out", 150)) == 150
    assert served.stop()[0] == 0
    positions = [kafka.committed("in", kafka.name("app"), partition)[0] for partition in (0, 1)]
    assert max(positions) == 50


def test_nothing_is_seen_of_a_record_that_holds_its_partition(app, kafka):
    served = app()
    kafka.write("in", [(b"k", b"1"), (b"k", b'"bad"'), (b"k", b"2")])
    end = time.monotonic() + 20
    while served.get("/v2/health/ready")[0] == 200:
        assert time.monotonic() < end
        time.sleep(0.05)
    assert [message.value() for message in kafka.read("out", 3, timeout=10)] == [b"1", b"1", b"1"]
    assert served.stop()[0] == 0
    assert max(kafka.committed("in", kafka.name("app"), partition)[0] for partition in (0, 1)) == 1


def test_dead_letters_are_part_of_the_transaction(app, kafka):
    served = app(f"dead_letter='{kafka.name('dead')}'")
    kafka.write("in", [(b"k", b'"bad"'), (b"k", b"1")])
    assert [message.value() for message in kafka.read("dead", 1)] == [b'"bad"']
    assert [message.value() for message in kafka.read("out", 3)] == [b"1", b"1", b"1"]
    assert served.stop()[0] == 0


def test_callers_are_told_that_events_come_from_kafka_alone(app):
    status, body = app().post(1)
    assert status == 501, body
    assert "from Kafka" in body["error"]
