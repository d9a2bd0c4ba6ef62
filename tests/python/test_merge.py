"""Joining the parts of an event, and routing by a field."""

import penstock
import pytest
from fake_port import FakePort, feed, give
from hypothesis import given
from hypothesis import strategies as st
from penstock.choice import ChoiceByField
from penstock.errors import GraphError, StepError
from penstock.event import Event
from penstock.merge import Merge, MissingParts


class Merging(Merge):
    def get_join_key(self, event):
        return event["k"] % 10

    def merge_function(self, last_event, events):
        return {"last": last_event["k"], "all": [event["k"] for event in events]} if last_event["k"] != 13 else None


def fork(*, merge=Merge, left="(event + 3)", after="(event)"):
    fn = penstock.new_function("f")
    graph = fn.set_topology("flow")
    graph.add_step(handler=left, name="left", after="")
    graph.add_step(handler="(event + 2)", name="right", after="")
    graph.add_step(merge, name="merge", after=["left", "right"]).to(after, name="after").respond()
    return fn


def by_key(**options):
    return Merge(key_path="event['k']", **{"expected_num_events": 2, **options})


def test_the_branches_of_an_event_come_together():
    with fork().to_mock_server() as server:
        assert sorted(server.test(body=10)) == [12, 13]
        assert sorted(server.test(body=1)) == [3, 4]


def test_the_name_that_users_of_mlrun_know_leads_to_it():
    with fork(merge="mlrun.serving.Merge").to_mock_server() as server:
        assert sorted(server.test(body=10)) == [12, 13]


def test_one_branch_needs_no_join():
    fn = penstock.new_function("f")
    fn.set_topology("flow").to("(event + 1)", name="a").to(Merge, name="m").respond()
    with fn.to_mock_server() as server:
        assert server.test(body=1) == 2


def test_what_happens_to_the_joined_event_happens_to_the_caller():
    with fork(after="(event['x'])").to_mock_server() as server:
        with pytest.raises(StepError, match="list indices must be") as caught:
            server.test(body=10)
        assert caught.value.step == "after"


def test_a_branch_that_fails_fails_the_caller():
    with fork(left="(event['x'])").to_mock_server() as server, pytest.raises(StepError, match="not subscriptable"):
        server.test(body=10)


def test_a_subclass_says_what_belongs_together_and_how():
    step = Merging(key_path="event", expected_num_events=2)
    port = feed(step, [{"k": 1}, {"k": 3}, {"k": 11}, {"k": 13}])
    assert port.emitted == [([0, 2], port.emitted[0][1])]
    assert port.bodies == [{"last": 11, "all": [1, 11]}]
    assert port.dropped == [1, 3]


def test_bodies_are_joined_into_a_part_of_the_last():
    step = by_key(result_path="all")
    port = feed(step, [{"k": 1, "n": 1}, {"k": 1, "n": 2}])
    assert port.bodies[0]["all"][0] == {"k": 1, "n": 1}
    assert port.bodies[0]["n"] == 2


@given(st.permutations([key for key in range(6) for _ in range(3)]))
def test_every_key_comes_out_once_with_all_its_parts(order):
    rows = [{"k": key, "place": place} for place, key in enumerate(order)]
    complete, seen = [], {}
    for row in rows:
        parts = seen.setdefault(row["k"], [])
        parts.append(row)
        if len(parts) == 3:
            complete.append(parts)
    step = by_key(expected_num_events=3)
    port = feed(step, rows)
    step.finish(port)
    assert port.bodies == complete
    assert [tokens for tokens, _ in port.emitted] == [[row["place"] for row in parts] for parts in complete]
    assert not port.held


@given(st.lists(st.integers(0, 9), max_size=60), st.integers(1, 4))
def test_no_part_is_ever_lost_silently(keys, most):
    step = by_key(max_behind=most)
    port = feed(step, [{"k": key} for key in keys])
    assert len(port.held) <= most
    step.finish(port)
    settled = [token for tokens, _ in port.emitted for token in tokens] + [token for token, _ in port.failed]
    assert sorted(settled) == list(range(len(keys)))
    assert all(isinstance(error, MissingParts) for _, error in port.failed)


def test_the_oldest_fails_when_too_many_keys_wait_and_so_does_what_comes_late():
    step = by_key(max_behind=1)
    port = feed(step, [{"k": "a"}, {"k": "b"}, {"k": "a"}, {"k": "b"}, {"k": "a"}, {"k": "a"}])
    assert [token for token, _ in port.failed] == [0, 2]
    assert str(port.failed[0][1]) == (
        "missing parts for event key 'a': 1 of 2 came, no more 1 later keys wait, max_behind= takes more"
    )
    assert "came after the others were given up" in str(port.failed[1][1])
    assert port.bodies == [[{"k": "b"}, {"k": "b"}], [{"k": "a"}, {"k": "a"}]]


def test_parts_that_wait_too_long_fail():
    now = [0.0]
    step = by_key(max_wait=5, clock=lambda: now[0])
    port = FakePort()
    give(step, port, 0, Event({"k": "a"}))
    now[0] = 2.0
    give(step, port, 1, Event({"k": "b"}))
    now[0] = 5.0
    step.wake(port)
    assert [token for token, _ in port.failed] == [0]
    assert port.wakes == [5.0, 2.0]


def test_the_end_of_the_graph_fails_what_is_incomplete():
    step = by_key()
    port = feed(step, [{"k": "a"}])
    step.finish(port)
    assert "1 of 2 came, no more before the graph ended" in str(port.failed[0][1])


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"key_path": "event["}, "is not valid Python"),
        ({"key_path": 3}, "key_path is an expression"),
        ({"full_event": False}, "full_event=False needs a key_path"),
        ({"max_behind": 0}, "max_behind is at least 1"),
        ({"expected_num_events": "2"}, "expected_num_events is a whole number"),
    ],
)
def test_wrong_arguments_are_refused(arguments, text):
    with pytest.raises(GraphError) as caught:
        Merge(**arguments)
    assert text in str(caught.value)


# ---- routing by a field


def choosing():
    fn = penstock.new_function("f")
    graph = fn.set_topology("flow")
    graph.to("mlrun.serving.ChoiceByField", name="choice", field_name="to")
    graph.add_step(handler="('a')", name="a", after="choice").to("(event)", name="end").respond()
    graph.add_step(handler="('b')", name="b", after="choice").to("(event)", name="other")
    return fn


def test_events_go_where_their_field_says():
    with choosing().to_mock_server() as server:
        assert server.test(body={"to": "a"}) == "a"
        assert server.test(body={"to": ["b"]}) is None
        assert server.test(body={"to": ("a", "b")}) == "a"


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        ({"x": 1}, 500, "MLRunRuntimeError: Field 'to' is not contained in the event keys ['x']."),
        ({"to": None}, 400, "MLRunInvalidArgumentError: Field 'to' is None"),
        ({"to": 3}, 400, "MLRunInvalidArgumentTypeError: Field 'to' is to be a text, a list or a tuple"),
        ({"to": []}, 500, "MLRunRuntimeError: Field 'to' is empty"),
        ({"to": "c"}, 500, "ValueError: Invalid outlet 'c' for 'choice'. Allowed outlets are: a, b."),
        ([1], 400, "MLRunInvalidArgumentTypeError: the field 'to' is that of a dict, the body is list"),
    ],
)
def test_a_field_that_says_nothing_fails_the_event(body, status, text):
    with choosing().to_mock_server() as server, pytest.raises(StepError) as caught:
        server.test(body=body)
    assert caught.value.status_code == status
    assert caught.value.reason.startswith(text)


def test_a_field_has_a_name():
    with pytest.raises(GraphError, match="field_name is the name of a field"):
        ChoiceByField("")


def test_an_event_whose_other_part_was_filtered_out_is_filtered_out_too():
    fn = penstock.new_function("filtered-part")
    graph = fn.set_topology("flow")
    graph.to("(event)", "start")
    graph.add_step("storey.Filter", name="above", _fn="(event > 0)", after="start")
    graph.add_step("(event + 1)", name="plus", after="start")
    graph.add_step("mlrun.serving.Merge", name="merge", after=["above", "plus"])
    graph.add_step("(event)", name="also", after="start")
    graph.add_step("mlrun.serving.Merge", name="all", after=["merge", "also"]).respond()
    with fn.to_mock_server() as server:
        assert sorted(map(str, server.test(body=1))) == ["1", "[1, 2]"]
        assert server.test(body=-1) is None
        assert sorted(map(str, server.test(body=2))) == ["2", "[2, 3]"]
