"""A partition's messages on their way into a graph: what cannot be read is told, and does not hold up what follows."""

import penstock
import pytest
from penstock._core import Offsets, Source


class Message:
    def __init__(self, offset, value):
        self._offset, self._value = offset, value

    def offset(self):
        return self._offset

    def value(self):
        return self._value

    def key(self):
        return b"k"


def loads(value):
    return int(value)


def unread(message, error):
    raise ValueError(f"{message.offset()}: {error}")


@pytest.fixture
def seen():
    return []


@pytest.fixture
def source(seen):
    fn = penstock.new_function("numbers")
    fn.set_topology("flow").to(name="note", handler=seen.append)
    with fn.to_mock_server() as server:
        server.engine.start()
        yield Source(server.engine.core)


VALUES = [b"0", b"x", b"2", None, b"y", b"5"]


def admit(source, offsets, bears):
    messages = [Message(offset, value) for offset, value in enumerate(VALUES)]
    taken, unreadable = source.admit_messages(offsets, messages, loads, unread, bears)
    source.wait(0, 20.0)
    return taken, [(message.offset(), delivery, str(error)[:3]) for message, delivery, error in unreadable]


def test_what_cannot_be_read_is_told_and_open_while_the_others_are_handled(source, seen):
    offsets = Offsets(0)
    taken, unreadable = admit(source, offsets, 10)
    assert (taken, unreadable) == (6, [(1, 1, "1: "), (4, 4, "4: ")])
    assert seen == [0, 2, None, 5]
    assert (offsets.position, offsets.unsettled) == (1, 2)
    for _, delivery, _ in unreadable:
        offsets.settle(delivery)
    assert offsets.position == 6


@pytest.mark.parametrize(("bears", "taken", "handled"), [(1, 2, [0]), (2, 5, [0, 2, None])])
def test_behind_as_many_as_are_borne_nothing_is_taken(source, seen, bears, taken, handled):
    assert admit(source, Offsets(0), bears)[0] == taken
    assert seen == handled


def test_a_graph_with_a_batch_at_its_entry_takes_them_too(seen):
    fn = penstock.new_function("numbers")
    fn.set_topology("flow").to(name="note", handler=lambda numbers: seen.extend(numbers) or numbers).batch(4)
    with fn.to_mock_server() as server:
        server.engine.start()
        assert admit(Source(server.engine.core), Offsets(0), 10)[0] == 6
    assert seen == [0, 2, None, 5]
