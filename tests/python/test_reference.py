"""Behaviour of graphs that people know from MLRun and that belongs to no single module."""

import penstock
import pytest
from penstock.errors import StepError


def flow(engine="async"):
    fn = penstock.new_function("reference", project="p")
    return fn, fn.set_topology("flow", engine=engine)


def fail(body):
    return body["missing"]


def test_failures_go_to_the_error_stream():
    fn, graph = flow()
    fn.spec.error_stream = "dummy://"
    graph.to("(event)", name="first").to(fail, name="second").respond()
    with fn.to_mock_server() as server:
        with pytest.raises(StepError, match="KeyError: 'missing'"):
            server.test(body={"a": 1})
        server.wait_for_completion()
        records = server._error_stream_object.event_list
    assert len(records) == 1  # once, not twice
    record = records[0]
    assert set(record) >= {"function_uri", "worker", "host", "source", "event", "message", "args"}
    assert (record["source"], record["event"]["body"]) == ("second", {"a": 1})
    assert "KeyError: 'missing'" in record["message"]


def test_a_failure_that_nobody_waits_for_goes_there_too():
    fn, graph = flow()
    fn.spec.error_stream = "dummy://"
    graph.to(fail, name="only")
    with fn.to_mock_server() as server:
        answer = server.test(body={})
        server.wait_for_completion()
        record = server._error_stream_object.event_list[0]
    assert record["event"]["id"] == answer["id"]


def test_a_failure_that_a_catcher_takes_does_not_go_there():
    fn, graph = flow()
    fn.spec.error_stream = "dummy://"
    graph.to(fail, name="only").error_handler("catcher").respond()
    graph.add_step("(None)", name="catcher", after="")
    with fn.to_mock_server() as server:
        server.test(body={})
        server.wait_for_completion()
        assert server._error_stream_object.event_list == []


class Reports:
    def __init__(self, context):
        self.context = context

    def do_event(self, event):
        self.context.push_error(event, "odd but no failure", source="my-step", seen=3)
        return event


def test_a_step_may_push_to_the_error_stream():
    fn, graph = flow()
    fn.spec.error_stream = "dummy://"
    graph.to(Reports, full_event=True).respond()
    with fn.to_mock_server() as server:
        assert server.test(body=5) == 5
        record = server._error_stream_object.event_list[0]
    assert (record["source"], record["message"], record["event"]["body"]) == ("my-step", "odd but no failure", 5)
    assert record["args"] == {"seen": 3}


@pytest.mark.parametrize("engine", ["sync", "async"])
@pytest.mark.parametrize("whole_graph", [False, True], ids=["step", "graph"])
def test_error_and_origin_are_the_same_in_both_engines(engine, whole_graph):
    def catch(event):
        event.body = {"error": event.error, "from": event.origin_state, "body": event.body}
        return event

    fn, graph = flow(engine)
    step = graph.to(fail, name="broken")
    (graph if whole_graph else step).error_handler(name="catcher", handler=catch, full_event=True)
    if engine == "async":
        step.respond()
    with fn.to_mock_server() as server:
        answer = server.test(body={"a": 1})
    assert answer == {"error": "KeyError: 'missing'", "from": "broken", "body": {"a": 1}}


class Sorter:
    def do(self, body):
        return body

    def select_outlets(self, body):
        return body["to"]


def sorted_graph():
    fn, graph = flow()
    graph.to(Sorter, name="sorter").to('(["a", event])', name="a")
    graph.add_step('(["b", event])', name="b", after="sorter")
    graph.add_step("(event[0])", name="answer", after=["a", "b"]).respond()
    return fn


def test_a_class_chooses_the_steps_that_follow():
    with sorted_graph().to_mock_server() as server:
        assert server.test(body={"to": ["a"]}) == "a"
        assert server.test(body={"to": ["b"]}) == "b"
        assert server.test(body={"to": None}) in {"a", "b"}  # all of them; the first answers


def test_a_choice_that_is_none_is_an_error_of_the_step():
    with sorted_graph().to_mock_server() as server:
        with pytest.raises(StepError, match="Invalid outlet 'zz' for 'sorter'. Allowed outlets are: a, b") as unknown:
            server.test(body={"to": ["zz"]})
        with pytest.raises(StepError, match="named an outlet twice"):
            server.test(body={"to": ["a", "a"]})
    assert unknown.value.step == "sorter"


class NoSide:
    def do(self, body):
        return body

    def select_outlets(self, body):
        return ["side"]


def end_by_filter(graph):
    return graph.to("storey.Filter", name="filter", _fn="(False)")


def end_by_flat_map(graph):
    return graph.to("storey.FlatMap", name="none", _fn="([])")


def end_by_choice(graph):
    step = graph.to(NoSide, name="choice")
    graph.add_step("(event)", name="side", after="choice")
    return step


@pytest.mark.parametrize("end", [end_by_filter, end_by_flat_map, end_by_choice])
def test_an_event_that_nothing_answers_ends(end):
    fn, graph = flow()
    end(graph).to("(event)", name="answer").respond()
    with fn.to_mock_server() as server:
        assert server.test(body=1, timeout=20) is None


def test_the_first_of_many_answers():
    fn, graph = flow()
    graph.to("storey.FlatMap", name="many", _fn="([event, event + 1])").to("(event)", name="answer").respond()
    with fn.to_mock_server() as server:
        assert server.test(body=5) == 5


def test_without_merge_each_branch_arrives():
    fn, graph = flow()
    arrived = []
    graph.to("(event)", name="start")
    graph.add_step("(event + 1)", name="a", after="start")
    graph.add_step("(event + 2)", name="b", after="start")
    graph.add_step(arrived.append, name="meet", after=["a", "b"])
    with fn.to_mock_server() as server:
        server.test(body=10)
        server.wait_for_completion()
    assert sorted(arrived) == [11, 12]
