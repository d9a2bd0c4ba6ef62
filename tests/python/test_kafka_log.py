"""What the Kafka client logs, once."""

import logging

import pytest
from penstock.kafka import log


@pytest.fixture
def lines(monkeypatch):
    """Log texts at times; return those that are seen."""
    clock = [0.0]
    monkeypatch.setattr(log.time, "monotonic", lambda: clock[0])
    repeated = log.Repeated()

    def seen(*said):
        records = []
        for at, text, *values in said:
            clock[0] = at
            record = logging.makeLogRecord({"msg": text, "args": tuple(values)})
            records += [record.getMessage()] if repeated.filter(record) else []
        return records

    return seen


def test_what_is_repeated_is_said_again_after_a_while_with_how_often(lines):
    failed = "FAIL [rdkafka#producer-%d] refused (after %dms in state CONNECT)"
    said = [(n * 0.5, failed, n % 3, n) for n in range(70)]
    first, again = lines(*said)
    assert first == "FAIL [rdkafka#producer-0] refused (after 0ms in state CONNECT)"
    assert again == "FAIL [rdkafka#producer-0] refused (after 60ms in state CONNECT) (59 times more)"


def test_what_differs_is_said(lines):
    assert lines((0, "broker a is down"), (0, "broker b is down"), (1, "broker a is down")) == [
        "broker a is down",
        "broker b is down",
    ]


def test_texts_without_end_are_forgotten(lines):
    said = lines(*((0, f"text {n}") for n in range(1000)))
    assert len(said) == 1000
    assert lines((0, "text 999")) == []


def test_the_clients_logger_has_it():
    assert any(isinstance(one, log.Repeated) for one in logging.getLogger("penstock.kafka").filters)
