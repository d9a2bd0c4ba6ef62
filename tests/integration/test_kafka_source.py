"""A child function reads its queue from a real Kafka topic."""

import json
import subprocess
import sys
import time

import confluent_kafka
import penstock
import pytest
from penstock.kafka.settings import of_queue
from penstock.kafka.source import KafkaSource
from penstock.streams import open_stream
from served import Served

APP = """
import os, signal, time
import penstock

def double(x):
    if x == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if x == "bad":
        raise ValueError("no number")
    return x * 2

def enrich(event):
    event.body = {"body": event.body, "key": event.key, "offset": event.offset, "shard": event.shard_id,
                  "stream": event.stream_path, "header": event.headers.get("trace"), "path": event.path}
    return event

fn = penstock.new_function(os.environ["NAME"])
graph = fn.set_topology("flow")
graph.to(name="start", handler="(event + 1)")\\
     .to(">>", "q1", path=os.environ["Q1"], **eval(os.environ.get("OPTIONS", "{}")))\\
     .to(name="double", handler="double", function="child")\\
     .to(name="enrich", handler="enrich", full_event=True, function="child")\\
     .to(">>", "out", path=os.environ["OUT"])
fn.add_child_function("child", "./")
"""


@pytest.fixture
def app(tmp_path, kafka):
    """Serve the functions of the app; all processes end with the test."""
    file = tmp_path / "app.py"
    file.write_text(APP)
    kafka.make("q1", 2)
    kafka.make("out")
    started = []

    def start(*options, settings="{}"):
        served = Served(
            file, *options, Q1=kafka.path("q1"), OUT=kafka.path("out"), OPTIONS=settings, NAME=kafka.name("app")
        )
        started.append(served)
        return served

    yield start
    for served in started:
        served.end()


def bodies(messages):
    return [json.loads(message.value()) for message in messages]


def until(condition, timeout=20.0):
    end = time.monotonic() + timeout
    while not (found := condition()):
        assert time.monotonic() < end, "it has not come about"
        time.sleep(0.05)
    return found


def test_an_event_carries_what_kafka_knows_of_its_record(app, kafka):
    kafka.write("q1", [(b"k", b"4", [("trace", b"t1")])])
    app("--function", "child")
    (event,) = bodies(kafka.read("out", 1))
    assert event["body"] == 8
    assert event["key"] == "k"
    assert event["offset"] == 0
    assert event["shard"] in (0, 1)
    assert event["stream"] == kafka.name("q1")
    assert event["header"] == "t1"
    assert event["path"] == "/"


PLAIN = """
import os
import penstock

def describe(event):
    event.body = {"body": repr(event.body), "key": repr(event.key), "time": event.time.timestamp(),
                  "headers": repr(event.headers)}
    return event

fn = penstock.new_function("plain")
fn.set_topology("flow").to(name="describe", handler="describe", full_event=True)\\
  .to(">>", "out", path=os.environ["OUT"], full_event=False)
fn.add_kafka_trigger(os.environ["BROKERS"], os.environ["IN"], group=os.environ["NAME"], **eval(os.environ["OPTIONS"]))
"""


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_a_null_an_empty_value_and_bytes_stay_what_they_are(tmp_path, kafka, protocol):
    kafka.make("in")
    kafka.make("out")
    file = tmp_path / "plain.py"
    file.write_text(PLAIN)
    before = time.time()
    kafka.write(
        "in", [(b"k", None), (b"", b""), (None, b"\xff\x00"), (b"\xfe", b"text", [("none", None), ("a", b"\xff")])]
    )
    options = repr({"client_options": {"group.protocol": protocol}})
    served = Served(
        file, BROKERS=kafka.address, IN=kafka.name("in"), OUT=kafka.path("out"), NAME=kafka.name("g"), OPTIONS=options
    )
    try:
        found = bodies(kafka.read("out", 4))
    finally:
        served.end()
    assert [one["body"] for one in found] == ["None", "b''", r"b'\xff\x00'", "b'text'"]
    assert [one["key"] for one in found] == ["'k'", "''", "''", r"b'\xfe'"]  # that there is none reads as an empty one
    assert found[3]["headers"] == repr({"none": None, "a": b"\xff"})
    assert all(before - 5 < one["time"] < time.time() + 5 for one in found)


SAME = """
import os
import penstock

fn = penstock.new_function("same")
fn.set_topology("flow").to(name="same", handler="(event)").to(">>", "out", path=os.environ["OUT"], full_event=False)
fn.add_kafka_trigger(os.environ["BROKERS"], os.environ["IN"], group=os.environ["NAME"])
"""


def test_a_tombstone_is_handed_on_as_one_and_an_empty_key_stays(tmp_path, kafka):
    kafka.make("in")
    kafka.make("out")
    file = tmp_path / "same.py"
    file.write_text(SAME)
    sent = [(b"k", b'{"n":1}'), (b"k", None), (b"", b'"a"'), (None, None), (None, b"[2]"), (b"\xfe", b"3")]
    kafka.write("in", sent)
    served = Served(
        file, BROKERS=kafka.address, IN=kafka.name("in"), OUT=kafka.path("out"), NAME=kafka.name("g"), OPTIONS="{}"
    )
    try:
        found = [(message.key(), message.value()) for message in kafka.read("out", 5)]
    finally:
        served.end()
    assert found == [(b"k", b'{"n":1}'), (b"k", None), (b"", b"a"), (None, b"[2]"), (b"\xfe", b"3")]


def test_two_functions_are_joined_by_the_topic(app, kafka):
    root, child = app("--function", kafka.name("app")), app("--function", "child")
    for number in range(5):
        root.post(number)
    assert sorted(event["body"] for event in bodies(kafka.read("out", 5))) == [2, 4, 6, 8, 10]
    assert child.stop()[0] == 0
    assert root.stop()[0] == 0


def test_all_functions_in_one_process_go_through_the_topic_too(app, kafka):
    served = app()
    served.post(1)
    (event,) = bodies(kafka.read("out", 1))
    assert event["body"] == 4
    assert event["stream"] == kafka.name("q1")


def test_a_drain_commits_all_that_is_settled(app, kafka):
    kafka.write("q1", [(b"k", str(n).encode()) for n in range(100)])
    child = app("--function", "child")
    assert len(kafka.read("out", 100)) == 100
    assert child.stop()[0] == 0
    ends = [kafka.committed("q1", kafka.name("app-child"), partition) for partition in (0, 1)]
    assert sum(max(offset, 0) for offset, _ in ends) == 100
    assert {metadata for offset, metadata in ends if offset > 0} == {"penstock end 0"}
    app("--function", "child")
    kafka.write("q1", [(b"k", b"7")])
    assert len(kafka.read("out", 101)) == 101


def test_a_drain_does_not_wait_for_brokers_that_are_out(tmp_path):
    file = tmp_path / "app.py"
    file.write_text(APP)
    nowhere = "kafka://127.0.0.1:9/q1"
    served = Served(file, "--function", "child", Q1=nowhere, OUT=nowhere, NAME="out-of-reach")
    try:
        began = time.monotonic()
        assert served.stop()[0] == 0
        assert time.monotonic() - began < 9
    finally:
        served.end()


def test_a_record_that_fails_goes_to_the_dead_letters_untouched(app, kafka):
    kafka.write("q1", [(b"k", b'"bad"', [("trace", b"t1")]), (b"k", b"1")])
    child = app("--function", "child", settings=repr({"dead_letter": kafka.name("dead")}))
    assert [event["body"] for event in bodies(kafka.read("out", 1))] == [2]
    (letter,) = kafka.read("dead", 1)
    assert (letter.key(), letter.value()) == (b"k", b'"bad"')
    headers = dict(letter.headers())
    assert headers["trace"] == b"t1"
    assert headers["penstock.error.type"] == b"ValueError"
    assert headers["penstock.error.message"] == b"no number"
    assert headers["penstock.error.step"] == b"double"
    assert headers["penstock.error.topic"] == kafka.name("q1").encode()
    assert headers["penstock.error.offset"] == b"0"
    assert headers["penstock.error.attempts"] == b"1"
    assert b"raise ValueError" in headers["penstock.error.stack"]
    assert child.stop()[0] == 0


def test_without_a_place_for_dead_letters_the_partition_is_held_and_nothing_skipped(app, kafka):
    kafka.write("q1", [(b"k", b"1"), (b"k", b'"bad"'), (b"k", b"2")])
    child = app("--function", "child")
    until(lambda: child.get("/v2/health/ready")[0] != 200)
    assert child.stop()[0] == 0
    positions = [kafka.committed("q1", kafka.name("app-child"), partition)[0] for partition in (0, 1)]
    assert max(positions) == 1


def test_a_record_that_kills_the_process_three_times_is_a_dead_letter(app, kafka):
    kafka.write("q1", [(b"k", b"1"), (b"k", b'"die"'), (b"k", b"2")])
    options = repr({"dead_letter": kafka.name("dead"), "client_options": {"session.timeout.ms": 1500}})
    for _ in range(3):
        child = app("--function", "child", settings=options)
        assert child.process.wait(30) == -9
    child = app("--function", "child", settings=options)
    (letter,) = kafka.read("dead", 1)
    assert letter.value() == b'"die"'
    assert dict(letter.headers())["penstock.error.reason"] == b"crash"
    assert 4 in [event["body"] for event in bodies(kafka.read("out", 2))]
    assert child.stop()[0] == 0


def test_dead_letters_are_shown_and_go_back_where_they_came_from(app, kafka):
    options = repr({"dead_letter": kafka.name("dead")})
    kafka.write("q1", [(b"k", b'"bad"', [("trace", b"t1")])])
    child = app("--function", "child", settings=options)
    kafka.read("dead", 1)
    shown = command_line("dlq", "show", kafka.path("dead"), "--limit", "1")
    letter = json.loads(shown)
    assert (letter["key"], letter["value"], letter["message"]) == ("k", '"bad"', "no number")
    assert command_line("dlq", "replay", kafka.path("dead"), "--limit", "1") == "1 sent back\n"
    again = kafka.read("dead", 2)[1]
    headers = dict(again.headers())
    assert headers["penstock.error.attempts"] == b"2"
    assert headers["trace"] == b"t1"
    # Each once, although what fails again is there again at once.
    assert command_line("dlq", "replay", kafka.path("dead")) == "1 sent back\n"
    assert dict(kafka.read("dead", 3)[2].headers())["penstock.error.attempts"] == b"3"
    assert child.stop()[0] == 0


def test_little_room_slows_the_source_and_loses_nothing(app, kafka):
    kafka.write("q1", [(b"k", str(n).encode()) for n in range(3000)])
    child = app("--function", "child", settings=repr({"max_in_flight": 10, "max_uncommitted": 5}))
    assert len(kafka.read("out", 3000, timeout=40)) == 3000
    assert child.stop()[0] == 0


def command_line(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "penstock", *arguments], capture_output=True, text=True, timeout=60, check=True
    ).stdout


@pytest.mark.timeout(60)
def test_who_writes_makes_the_topic_if_nobody_has_read_it_yet(kafka):
    stream = open_stream(kafka.path("none-yet"), shards=3)
    stream.push([{"n": 1}], key="k")
    stream.push([{"n": 2}], key="k")
    stream.close()
    assert sorted(bodies(kafka.read("none-yet", 2)), key=str) == [{"n": 1}, {"n": 2}]
    assert kafka.partitions("none-yet") == 3


@pytest.mark.timeout(60)
def test_a_topic_of_dead_letters_that_is_not_there_is_an_error_and_an_empty_one_none(kafka):
    command = [sys.executable, "-m", "penstock", "dlq"]
    for what in ("show", "replay"):
        done = subprocess.run(
            [*command, what, kafka.path("nowhere")], capture_output=True, text=True, timeout=30, check=False
        )
        assert (done.returncode, "Unknown topic" in done.stderr) == (1, True)
    path = kafka.make("dead", 3)
    assert command_line("dlq", "show", path) == ""
    assert command_line("dlq", "replay", path) == "0 sent back\n"


@pytest.mark.timeout(60)
def test_a_record_too_large_for_its_topic_is_refused_alone(kafka):
    stream = open_stream(kafka.make("small", 1, **{"max.message.bytes": "20000"}))
    failures = stream.push_rows([b"one", b"x" * 50_000, b"two"], [b"k"] * 3)
    assert [failure is None for failure in failures] == [True, False, True]
    assert "too large" in str(failures[1])
    assert [message.value() for message in kafka.read("small", 2)] == [b"one", b"two"]
    stream.close()


@pytest.mark.timeout(60)
def test_who_looks_at_dead_letters_may_say_how_the_client_connects(kafka):
    command = [sys.executable, "-m", "penstock", "dlq", "show", kafka.make("dead")]
    for setting, status, said in (
        ("client.id=me", 0, ""),
        ("no.such.thing=1", 1, "no.such.thing"),
        ("sasl.password=${NOT_SET}", 1, "that variable is not set"),
        ("client.id", 2, "no NAME=VALUE"),
    ):
        done = subprocess.run([*command, "--client", setting], capture_output=True, text=True, timeout=30, check=False)
        assert (done.returncode, said in done.stderr) == (status, True), done.stderr


class Unled(confluent_kafka.Consumer):
    """A client that meets a partition which nobody leads yet, as one has that has just been made."""

    asked = 0

    def get_watermark_offsets(self, *given, **more):
        self.asked += 1
        if self.asked == 1:
            raise confluent_kafka.KafkaException(confluent_kafka.KafkaError(6, "Not leader for partition"))
        return super().get_watermark_offsets(*given, **more)


@pytest.mark.timeout(60)
def test_a_partition_that_nobody_leads_yet_is_waited_for(kafka, monkeypatch):
    monkeypatch.setattr(confluent_kafka, "Consumer", Unled)
    reading = of_queue(kafka.make("new"), {}, group=kafka.name("g"))
    fn = penstock.new_function("f")
    fn.set_topology("flow").to(name="same", handler="(event)")
    with fn.to_mock_server() as server:
        source = KafkaSource(reading, server.engine.core)
        source.start()
        try:
            kafka.settled("new", kafka.name("g"))
        finally:
            source.close()
    assert source._consumer.asked > 1
