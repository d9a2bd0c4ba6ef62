"""Records that failed for good: their letters are written together, and what cannot be written holds the stream up."""

import types

import pytest
from penstock._core import Offsets
from penstock.kafka import poison
from penstock.kafka.poison import Failed, Poison
from penstock.kafka.settings import Reading


class Letters(list):
    """Takes the place of the topic: each entry is how many letters came at once."""

    takes = True

    def write(self, letters):
        self.append(len(list(letters)))
        return [self.takes] * self[-1]


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


def test_letters_wait_a_moment_for_others_and_hold_nothing_up(clock):
    dealing, offsets = made("dead_letter"), Offsets(0)
    fail(dealing, offsets, 3)
    assert (dealing.settle(), dealing.holds_up, dealing._letters) == ([], False, [])
    clock.now += 0.11
    assert (dealing.settle(), dealing._letters) == ([], [3])
    assert (dealing.pending, offsets.position) == ([], 3)


def test_many_letters_wait_no_more_nor_do_those_that_nothing_follows(clock):
    dealing, offsets = made("dead_letter"), Offsets(0)
    fail(dealing, offsets, 200)
    assert dealing.holds_up
    dealing.settle()
    fail(dealing, offsets, 1)
    dealing.settle(at_once=True)
    assert (dealing._letters, offsets.position) == ([200, 1], 201)


def test_as_many_are_borne_as_may_wait_and_one_where_the_first_holds_up(clock):
    dealing, offsets = made("dead_letter"), Offsets(0)
    assert dealing.bears == 200
    fail(dealing, offsets, 197)
    assert dealing.bears == 3
    assert made("stop").bears == 1


def test_letters_that_cannot_be_written_hold_the_stream_up_until_they_can(clock):
    dealing, offsets = made("dead_letter"), Offsets(0)
    dealing._letters.takes = False
    fail(dealing, offsets, 2)
    dealing.settle(at_once=True)
    assert (dealing.holds_up, offsets.position) == (True, 0)
    dealing.settle(at_once=True)
    assert dealing._letters == [2]  # not before a second is over
    dealing._letters.takes = True
    clock.now += 1.1
    dealing.settle()
    assert (dealing._letters, dealing.holds_up, offsets.position) == ([2, 2], False, 2)


def test_a_partition_that_is_to_stop_holds_up_at_once(clock):
    dealing, offsets = made("stop"), Offsets(0)
    fail(dealing, offsets, 1)
    assert dealing.holds_up
    assert [failed.text for failed in dealing.settle()] == ["no"]
    assert offsets.position == 0
