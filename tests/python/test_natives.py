"""Which steps of storey run natively, and what is said of the others."""

import subprocess
import sys

import penstock
import pytest
from penstock import natives, storey_steps
from penstock.errors import GraphError
from penstock.graph import RootFlowStep


def refused(class_name, **arguments):
    with pytest.raises(GraphError) as caught:
        natives.build(class_name, arguments)
    return str(caught.value)


@pytest.mark.parametrize(
    ("class_name", "arguments", "kind"),
    [
        ("storey.Map", {"fn": abs}, "map"),
        ("storey.Filter", {"fn": bool}, "filter"),
        ("storey.FlatMap", {"fn": list}, "flat_map"),
        ("storey.Extend", {"fn": dict}, "extend"),
        ("storey.Flatten", {}, "flat_map"),
        ("storey.Rename", {"mapping": {}}, "map"),
        ("storey.Complete", {}, "pass"),
        ("storey.Batch", {"max_events": 2}, "stage"),
        ("storey.flow.Map", {"fn": abs}, "map"),
        ("penstock.storey_steps.windows.Batch", {"max_events": 2}, "stage"),
        ("storey.Reduce", {"initial_value": None, "fn": max}, "stage"),
    ],
)
def test_each_step_has_its_kind_in_the_core(class_name, arguments, kind):
    assert natives.build(class_name, arguments).kind == kind


@pytest.mark.parametrize(
    ("class_name", "arguments", "text"),
    [
        ("storey.Batsh", {}, "there is no step 'storey.Batsh' in storey; did you mean 'storey.Batch'?"),
        ("storey.Map", {}, "storey.Map needs the argument _fn, a function or an expression"),
        (
            "storey.Map",
            {"fn": abs, "long_runing": True},
            "takes no argument 'long_runing'; did you mean 'long_running'",
        ),
        ("storey.Rename", {"map": {}}, "storey.Rename takes no argument 'map'; did you mean 'mapping'?"),
        ("storey.Rename", {"mapping": 3}, "mapping is a dict from the old name to the new one, not int"),
        ("storey.Partition", {"predicate": 3}, "Partition needs a function for predicate, got 3"),
        ("storey.KafkaTarget", {}, 'write a queue: .to(">>", "out", path="kafka://'),
        ("storey.WriteToV3IOStream", {}, 'write a queue: .to(">>", "out", path="v3io://'),
        ("storey.Recover", {}, 'write step.error_handler("name")'),
        ("storey.ReadCSV", {}, "a source feeds a graph, it is no step of one"),
        ("storey.Flow", {}, "subclass it, or storey.MapClass"),
    ],
)
def test_what_cannot_be_a_step_says_what_to_write_instead(class_name, arguments, text):
    assert text in refused(class_name, **arguments)


def test_a_function_may_be_given_by_name():
    built = natives.build("storey.Map", {"fn": "(event + 1)"}, find=lambda text: eval(f"lambda event: {text}"))
    assert built.target(1) == 2


def test_the_context_goes_to_functions_that_take_it():
    def named(body, context):
        return [body, context]

    assert natives.build("storey.Map", {"fn": named}, context="c").target(1) == [1, "c"]
    passed = natives.build("storey.Map", {"fn": lambda body, **more: more, "pass_context": True}, context="c")
    assert passed.target(1) == {"context": "c"}


def test_native_steps_need_no_storey():
    script = """
import sys
sys.modules["storey"] = None  # as if it were not installed
import penstock
fn = penstock.new_function("f")
graph = fn.set_topology("flow")
graph.to("storey.Map", _fn="(event + 1)", name="m").to("storey.Batch", max_events=1, name="b").respond()
with fn.to_mock_server() as server:
    print(server.test(body=1)[0].body)
fn = penstock.new_function("f")
fn.set_topology("flow").to("storey.AggregateByKey", name="a")
try:
    fn.to_mock_server()
except penstock.errors.GraphError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    answer, refusal = done.stdout.splitlines()
    assert answer == "2"
    assert "needs the package 'storey': pip install \"penstock[storey]\" (Python 3.11 and 3.12 only" in refusal


def test_other_objects_are_left_to_others():
    assert natives.adopt(object()) is None
    assert natives.lower(object()) is None
    assert not natives.is_storey_step(dict)


def test_a_graph_with_native_steps_is_written_and_read():
    fn = penstock.new_function("f")
    graph = fn.set_topology("flow")
    graph.to(storey_steps.Batch, name="b", max_events=1, full_event=False).to("storey.Flatten", name="f").respond()
    written = graph.to_dict()
    read = penstock.new_function("g")
    read.spec.graph = RootFlowStep.from_dict(written)
    with read.to_mock_server() as server:
        assert server.test(body=1) == 1
    assert read.spec.graph.to_dict() == written
