"""Events, bodies and responses."""

import copy
import datetime

import numpy as np
import penstock
import pytest
from penstock.errors import BadBody
from penstock.event import clone, decode_body, is_json


def test_an_event_has_what_a_step_may_ask_for():
    event = penstock.Event({"a": 1}, path="/x", method="POST", headers={"k": "v"}, content_type="application/json")
    assert (event.body, event.path, event.method, event.headers) == ({"a": 1}, "/x", "POST", {"k": "v"})
    assert event.content_type == "application/json"
    assert event.error is None
    assert event.terminated is False


def test_an_event_has_an_id_of_its_own_and_its_time_of_arrival():
    event = penstock.MockEvent(1)
    assert len(event.id) == 32
    assert event.id != penstock.MockEvent(1).id
    age = datetime.datetime.now(datetime.timezone.utc) - event.time
    assert abs(age) < datetime.timedelta(minutes=1)


def test_an_event_takes_attributes_and_keeps_them_in_a_copy():
    event = penstock.Event([1])
    event.note = "mine"
    copied = copy.copy(event)
    assert copied.note == "mine"
    assert copied.body is event.body


@pytest.mark.parametrize(
    ("raw", "declared", "expected"),
    [
        (b'{"a": 1}', True, {"a": 1}),
        ("[1]", False, [1]),
        (b"text", False, b"text"),
        ('{"a": 1, "a": 2}', True, {"a": 2}),
    ],
)
def test_a_body_is_json_if_it_can_be(raw, declared, expected):
    assert decode_body(raw, declared) == expected


@pytest.mark.parametrize("raw", [b"{x", b"", b"NaN", b"\xff", b"{} {}"])
def test_a_body_that_was_to_be_json_and_is_not_is_refused(raw):
    with pytest.raises(BadBody, match="failed to json decode event, "):
        decode_body(raw, True)


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [
        ("application/json", True),
        ("application/json; charset=utf-8", True),
        ("json", True),
        ("text/csv", False),
        ("", False),
    ],
)
def test_content_types_that_mean_json(content_type, expected):
    assert is_json(content_type) is expected


def test_a_copy_of_a_body_shares_nothing_that_can_change():
    body = {"rows": [[1, 2], {"deep": [3]}], "set": {1}, "array": np.ones(2), "text": "t"}
    copied = clone(body)
    copied["rows"][0].append(9)
    copied["rows"][1]["deep"].append(9)
    copied["set"].add(9)
    copied["array"][0] = 9
    assert body["rows"] == [[1, 2], {"deep": [3]}]
    assert body["set"] == {1}
    assert body["array"].tolist() == [1, 1]


def test_a_response_says_what_it_is():
    response = penstock.Response({"k": "v"}, "body", "text/html", 201)
    assert repr(response) == "Response(headers={'k': 'v'}, body='body', content_type='text/html', status_code=201)"
