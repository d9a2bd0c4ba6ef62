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
        ("*/20 * * * * *", (1, 1, 12, 3, 40)),
        ("10,30 * * * * *", (1, 1, 12, 4, 10)),
        ("45 3 13 * * *", (1, 1, 13, 3, 45)),
        ("0 9 * * WED-fri", (1, 3, 9, 0)),
        ("0 0 1 FEB *", (2, 1, 0, 0)),
    ],
)
def test_a_schedule_names_the_next_time(text, expected):
    assert Schedule(text).after(MONDAY) == datetime.datetime(2024, *expected)


@pytest.mark.parametrize(
    "text", ["", "* * * *", "60 * * * *", "a * * * *", "*/0 * * * *", "5-1 * * * *", "60 * * * * *", "MON * * * *"]
)
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

    attributes = {
        "interval": "5ms",
        "event": {"body": {"n": 1}, "headers": {"a": "b"}, "path": "/tick?a=1", "method": "PUT"},
    }
    source = CronSource("tick", {"kind": "cron", "attributes": attributes}, submit)
    source.start()
    assert enough.wait(10)
    source.halt()
    source.close()
    assert events[0].body == {"n": 1}
    assert events[0].headers == {"a": "b"}
    assert events[0].trigger == "tick"
    assert (events[0].path, events[0].method) == ("/tick?a=1", "PUT")
    assert events[0].body is not events[2].body  # a step may change its own


@pytest.mark.parametrize(
    ("body", "headers", "seen"),
    [
        ('{"n": 1}', {}, {"n": 1}),
        ("plain", {}, b"plain"),
        ('{"n": 1}', {"content-type": "text/plain"}, b'{"n": 1}'),
        ("[1]", {"Content-Type": "application/json"}, [1]),
        ("", {}, None),
    ],
)
def test_a_body_is_read_as_over_http(body, headers, seen):
    events, come = [], threading.Event()

    def submit(event):
        events.append(event)
        come.set()

    trigger = {"kind": "cron", "attributes": {"interval": "1ms", "event": {"body": body, "headers": headers}}}
    source = CronSource("tick", trigger, submit)
    source.start()
    assert come.wait(10)
    source.close()
    assert events[0].body == seen


def test_a_body_that_is_not_what_it_says_is_refused():
    event = {"body": "{", "headers": {"content-type": "application/json"}}
    with pytest.raises(GraphError, match="trigger 'tick': failed to json decode"):
        CronSource("tick", {"kind": "cron", "attributes": {"interval": "1s", "event": event}}, list)


@pytest.mark.parametrize("attributes", [{"interval": "100s"}, {"schedule": "*/5 * * * * *"}])
def test_a_wait_that_ends_early_makes_no_time_come_twice(attributes):
    source = CronSource("tick", {"kind": "cron", "attributes": attributes}, list)
    first, second = source._pause(), source._pause()
    assert second - first > 4


def test_it_ends_with_its_graph():
    def submit(event):
        raise GraphClosed("closed")

    source = CronSource("tick", {"kind": "cron", "attributes": {"interval": "1ms"}}, submit)
    source.start()
    source._thread.join(10)
    assert not source._thread.is_alive()
    source.close()
