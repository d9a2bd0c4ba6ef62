"""What can be handled exactly once, and what is in the way."""

import penstock
import pytest
from penstock.checking import problems_of
from penstock.errors import GraphError
from penstock.guarantees import refuse_callers

KAFKA = "kafka://h:1/"


def flow(*, path=KAFKA + "out", trigger=None, queue=None):
    """Make a function that reads by a trigger or by a queue, and writes to a path."""
    fn = penstock.new_function("app")
    step = fn.set_topology("flow").to("(event)", name="first")
    if queue is not None:
        step = step.to(">>", "q", path=KAFKA + "q", **queue).to("(event)", name="second", function="child")
        fn.add_child_function("child", "./")
    if path is not None:
        step.to(">>", "out", path=path)
    if trigger is not None:
        fn.add_kafka_trigger("h:1", "in", guarantee=trigger)
    return fn


def test_from_kafka_to_kafka_is_fine():
    assert problems_of(flow(trigger="exactly_once")) == []
    assert problems_of(flow(queue={"guarantee": "exactly_once"})) == []


@pytest.mark.parametrize("path", ["out.jsonl", "http://host/path", "v3io:///c/s", ""])
def test_a_queue_that_is_not_kafka_is_named(path):
    (problem,) = [line for line in problems_of(flow(trigger="exactly_once", path=path)) if "guarantee" in line]
    assert "step 'out'" in problem


def test_a_step_that_ends_the_graph_is_named():
    (problem,) = problems_of(flow(trigger="exactly_once", path=None))
    assert "step 'first': with guarantee='exactly_once' every end of the graph is a queue of Kafka" in problem


def test_an_error_handler_that_ends_the_graph_is_named():
    fn = flow(trigger="exactly_once")
    fn.spec.graph.error_handler("catcher", handler="(event)")
    assert any("step 'catcher'" in line for line in problems_of(fn))


def test_another_trigger_is_named():
    fn = flow(trigger="exactly_once").add_cron_trigger("tick", interval="3s")
    (problem,) = problems_of(fn)
    assert "trigger 'tick' of the kind cron leads to it, too" in problem


def test_a_queue_with_less_of_a_guarantee_is_named():
    fn = penstock.new_function("app")
    graph = fn.set_topology("flow")
    first = graph.to("(event)", name="first")
    first.to(">>", "sure", path=KAFKA + "sure", guarantee="exactly_once")
    first.to(">>", "other", path=KAFKA + "other")
    graph.add_step("(event)", name="both", after=["sure", "other"]).to(">>", "out", path=KAFKA + "out")
    (problem,) = problems_of(fn)
    assert "step 'both'" in problem
    assert "queue 'other' leads to it, too" in problem


def test_one_transaction_is_at_one_place():
    (problem,) = problems_of(flow(trigger="exactly_once", path="kafka://elsewhere:1/out"))
    assert "step 'out' is at the brokers elsewhere:1" in problem


def test_who_calls_a_graph_that_reads_exactly_once_is_refused():
    with pytest.raises(penstock.errors.MLRunNotImplementedServerError) as refused:
        refuse_callers(None)
    assert refused.value.status_code == 501


def test_a_mock_server_refuses_it_too():
    with pytest.raises(GraphError, match="step 'second'"):
        flow(queue={"guarantee": "exactly_once"}, path=None).to_mock_server()
