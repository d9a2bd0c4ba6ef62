"""The end of a graph that writes many records at once: in parts, in order, and settled when the stream says so."""

import penstock
import pytest
from penstock._core import Offsets, Source
from penstock.streams import register
from test_core_source import Message, loads, unread

MOST = 250  # records of a part
COUNT = 1000


class Stream:
    """Takes rows as Kafka's does; `known` is asked whether it is known what became of them."""

    batch_size = 2000

    def __init__(self, path, **_options):
        self.rows = []
        self.parts = []
        self.waits = 0
        self.failing = {}

    def known(self):
        return True

    def send_rows(self, records, keys, before=None):
        assert len(records) == len(keys)
        self.parts.append(len(records))
        for record in records:
            if record in self.failing.get("sending", ()):
                raise ValueError(f"cannot send {record}")
        sent = before or Sent(self)
        sent.rows += records
        self.rows += records
        return sent

    def push(self, records, key=None):
        raise NotImplementedError

    def close(self):
        pass


class Sent:
    def __init__(self, stream):
        self.stream = stream
        self.rows = []

    def is_known(self):
        return self.stream.known()

    def wait(self):
        self.stream.waits += 1
        wrong = self.stream.failing.get("written", ())
        if not any(row in wrong for row in self.rows):
            return None
        return [ValueError(f"cannot write {row}") if row in wrong else None for row in self.rows]


@pytest.fixture
def graph():
    """A graph into such a stream, behind a source: the source, the stream."""
    register("parts", Stream)
    fn = penstock.new_function("parts")
    fn.set_topology("flow").to("(event)", "same").to(">>", "out", path="parts://", full_event=False)
    with fn.to_mock_server() as server:
        server.engine.start()
        yield Source(server.engine.core), server.graph["out"]._stream


def send(source, count=COUNT):
    """Have so many records go through; return their offsets, and what failed as a table from record to why."""
    offsets = Offsets(0)
    messages = [Message(n, b"%d" % n) for n in range(count)]

    def turn():
        taken, _ = source.admit_messages(offsets, messages, loads, unread)
        del messages[:taken]
        return bool(messages)

    source.run(turn)
    source.wait(0, 30.0, count + 1)
    assert source.in_flight == 0
    return offsets, {origin.offset(): why for origin, _, _, _, _, _, why, _ in source.take_failed()}


def test_a_batch_is_handed_over_in_parts_and_in_order(graph):
    source, stream = graph
    looks = iter([False])
    stream.known = lambda: next(looks, True)  # so that the first batch lets the next grow
    offsets, failed = send(source)
    assert stream.rows == list(range(COUNT))
    assert max(stream.parts) == MOST
    assert (offsets.position, failed) == (COUNT, {})


def test_what_takes_long_is_waited_for(graph):
    source, stream = graph
    stream.known = lambda: False
    offsets, failed = send(source)
    assert (offsets.position, failed) == (COUNT, {})
    assert stream.waits > 0


def test_what_is_not_written_fails_alone(graph):
    source, stream = graph
    stream.failing = {"written": {3, 700}}
    offsets, failed = send(source)
    assert failed == {3: "cannot write 3", 700: "cannot write 700"}
    assert (offsets.position, offsets.unsettled) == (3, 2)


def test_a_part_that_cannot_be_handed_over_fails_and_what_went_before_does_not(graph):
    source, stream = graph
    looks = iter([False])
    stream.known = lambda: next(looks, True)
    stream.failing = {"sending": {900}}
    offsets, failed = send(source)
    assert set(failed) == set(range(COUNT)) - set(stream.rows)
    assert 900 in failed
    assert 0 < len(stream.rows) < 900
    assert offsets.position == len(stream.rows)


def test_a_stream_that_cannot_say_fails_the_batch(graph):
    source, stream = graph

    def known():
        raise ValueError("no idea")

    stream.known = known
    offsets, failed = send(source)
    assert set(failed.values()) == {"no idea"}
    assert (len(failed), offsets.position) == (COUNT, 0)
