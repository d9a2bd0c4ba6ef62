"""Records that failed for good: their letters hold nothing up, but for those that cannot be written."""

import types

import pytest
from penstock._core import Offsets
from penstock.kafka import poison
from penstock.kafka.poison import Failed, Poison
from penstock.kafka.settings import Reading


class Letters:
    """Takes the place of the topic: letters are on their way until somebody looks."""

    takes = True

    def __init__(self):
        self.sent = 0
        self.looks = []
        self._on_the_way = []

    def send(self, _message, _failure, heard):
        self.sent += 1
        self._on_the_way.append(heard)

    def look(self, timeout):
        self.looks.append(timeout)
        heard, self._on_the_way = self._on_the_way, []
        for tell in heard:
            tell(self.takes)


@pytest.fixture
def clock(monkeypatch):
    clock = types.SimpleNamespace(now=100.0)
    monkeypatch.setattr(poison, "time", types.SimpleNamespace(monotonic=lambda: clock.now))
    return clock


def made(policy):
    dealing = Poison(Reading("127.0.0.1:1", ("in",), "g", dead_letter="dead", on_poison=policy))
    if policy == "dead_letter":
        dealing.close()
        dealing._letters = Letters()
    return dealing


def fail(dealing, offsets, count):
    message = types.SimpleNamespace(topic=lambda: "in", partition=lambda: 0, offset=lambda: 7)
    for _ in range(count):
        delivery = offsets.deliver(offsets.position + offsets.open)
        dealing.add(Failed(message, offsets, delivery, "step", "ValueError", "no"))


def test_letters_are_sent_at_once_and_hold_nothing_up_while_they_are_on_their_way(clock):
    dealing, offsets = made("dead_letter"), Offsets(0)
    fail(dealing, offsets, 3)
    assert (dealing.settle(), dealing._letters.sent, offsets.position, dealing.holds_up) == ([], 3, 0, False)
    dealing.settle()
    assert (dealing.pending, offsets.position, dealing._letters.looks) == ([], 3, [0.0])


def test_as_many_are_borne_as_may_be_on_their_way_and_then_one_of_them_is_waited_for(clock):
    dealing, offsets = made("dead_letter"), Offsets(0)
    assert dealing.bears == 200
    fail(dealing, offsets, 150)
    dealing.settle()
    fail(dealing, offsets, 50)
    assert (dealing.bears, dealing.holds_up) == (0, True)
    dealing._letters.look = dealing._letters.looks.append  # nothing has come yet
    dealing.settle()
    dealing.settle()
    assert (dealing.holds_up, dealing._letters.looks) == (True, [0.0, 0.01])
    del dealing._letters.look
    dealing.settle()
    assert (dealing.bears, offsets.position) == (200, 200)


def test_where_the_first_holds_up_one_is_borne(clock):
    assert made("stop").bears == 1


def test_letters_that_cannot_be_written_hold_the_stream_up_until_they_can(clock):
    dealing, offsets = made("dead_letter"), Offsets(0)
    dealing._letters.takes = False
    fail(dealing, offsets, 2)
    dealing.settle()
    dealing.settle()
    assert (dealing.holds_up, offsets.position, dealing._letters.sent) == (True, 0, 2)
    dealing.settle()
    assert dealing._letters.sent == 2  # not before a second is over
    dealing._letters.takes = True
    clock.now += 1.1
    dealing.settle()
    dealing.settle()
    assert (dealing._letters.sent, dealing.holds_up, offsets.position) == (4, False, 2)


def test_those_of_a_partition_that_went_elsewhere_are_not_sent(clock):
    dealing, offsets = made("dead_letter"), Offsets(0)
    fail(dealing, offsets, 2)
    offsets.revoke()
    assert (dealing.settle(), dealing.pending, dealing._letters.sent) == ([], [], 0)


def test_a_partition_that_is_to_stop_holds_up_at_once(clock):
    dealing, offsets = made("stop"), Offsets(0)
    fail(dealing, offsets, 1)
    assert dealing.holds_up
    assert [failed.text for failed in dealing.settle()] == ["no"]
    assert offsets.position == 0


def test_a_flood_of_letters_has_few_lines_in_the_log_and_one_for_the_rest(clock, caplog):
    dealing, offsets = made("dead_letter"), Offsets(0)
    fail(dealing, offsets, 100)
    dealing.settle()
    dealing.settle()
    assert [line.split(": ", 1)[0] for line in caplog.messages] == ["in[0]@7 is a dead letter"] * 20
    clock.now += 1.1
    dealing.settle()
    assert caplog.messages[20:] == ["80 more records are dead letters; their headers say why"]
