"""Events by the clock."""

import datetime
import threading

import pytest
from penstock.cron import CronSource, Schedule, seconds_of
from penstock.errors import GraphClosed, GraphError, QueueFull

MONDAY = datetime.datetime(2024, 1, 1, 12, 3, 30)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("* * * * *", (1, 1, 12, 4)),
        ("*/20 * * * *", (1, 1, 12, 20)),
        ("0 0 * * *", (1, 2, 0, 0)),
        ("30 9-17/4 * * *", (1, 1, 13, 30)),
        ("0 0 1 3 *", (3, 1, 0, 0)),
        ("0 0 * * 0", (1, 7, 0, 0)),
        ("0 0 * * 7", (1, 7, 0, 0)),
        ("0 0 15 * 3", (1, 3, 0, 0)),
        ("0 0 29 2 *", (2, 29, 0, 0)),
        ("0 */10 * * * *", (1, 1, 12, 10)),
    ],
)
def test_a_schedule_names_the_next_time(text, expected):
    assert Schedule(text).after(MONDAY) == datetime.datetime(2024, *expected)


@pytest.mark.parametrize("text", ["", "* * * *", "60 * * * *", "a * * * *", "*/0 * * * *", "5-1 * * * *"])
def test_a_schedule_that_cannot_be_read_is_refused(text):
    with pytest.raises(GraphError):
        Schedule(text)


def test_a_schedule_of_no_day_is_refused():
    with pytest.raises(GraphError, match="no time"):
        Schedule("0 0 31 2 *").after(MONDAY)


@pytest.mark.parametrize("text", ["", "5", "s", "-1s", "5x", "0s"])
def test_an_interval_that_cannot_be_read_is_refused(text):
    with pytest.raises(GraphError):
        seconds_of(text)


def test_events_come_until_it_is_halted():
    events, enough = [], threading.Event()

    def submit(event):
        events.append(event)
        if len(events) == 2:
            raise QueueFull
        if len(events) == 3:
            enough.set()

    attributes = {"interval": "5ms", "event": {"body": {"n": 1}, "headers": {"a": "b"}}}
    source = CronSource("tick", {"kind": "cron", "attributes": attributes}, submit)
    source.start()
    assert enough.wait(10)
    source.halt()
    source.close()
    assert events[0].body == {"n": 1}
    assert events[0].headers == {"a": "b"}
    assert events[0].trigger == "tick"


def test_it_ends_with_its_graph():
    def submit(event):
        raise GraphClosed("closed")

    source = CronSource("tick", {"kind": "cron", "attributes": {"interval": "1ms"}}, submit)
    source.start()
    source._thread.join(10)
    assert not source._thread.is_alive()
    source.close()
