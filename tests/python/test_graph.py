"""The graph as a spec: steps, their order, their options, and how they are written down."""

import json

import penstock
import pytest
from penstock.errors import GraphError
from penstock.graph import RootFlowStep, graph_from_dict
from penstock.steps import QueueStep, RouterStep, TaskStep


class Echo:
    def do(self, body):
        return body


@pytest.fixture
def flow():
    return penstock.new_function("f").set_topology("flow")


def names_after(graph):
    return {name: graph[name].after for name in graph}


def test_to_adds_a_step_after_the_one_it_is_called_on(flow):
    flow.to("Echo", "a").to("Echo", "b").to("Echo", "c")
    assert names_after(flow) == {"a": [], "b": ["a"], "c": ["b"]}


def test_to_on_the_graph_adds_a_step_where_events_enter(flow):
    flow.to("Echo", "a")
    flow.to("Echo", "b")
    assert names_after(flow) == {"a": [], "b": []}


@pytest.mark.parametrize(("after", "expected"), [("a", ["a"]), (["a", "b"], ["a", "b"]), ("$prev", ["b"]), ("", [])])
def test_after_names_the_steps_ahead(flow, after, expected):
    flow.to("Echo", "a")
    flow.to("Echo", "b")
    assert flow.add_step("Echo", "c", after=after).after == expected


def test_prev_on_the_first_step_means_nothing(flow):
    assert flow.add_step("Echo", "a", after="$prev").after == []


def test_after_takes_steps_too(flow):
    first = flow.to("Echo", "a")
    assert flow.add_step("Echo", "b", after=first).after == ["a"]


def test_before_puts_a_step_between_two(flow):
    flow.to("Echo", "a").to("Echo", "c")
    flow.add_step("Echo", "b", before="c")
    assert names_after(flow) == {"a": [], "b": ["a"], "c": ["b"]}


def test_before_and_after_one_step_is_a_loop(flow):
    flow.to("Echo", "a")
    with pytest.raises(GraphError, match="graph loop, step a is specified in before and/or after b"):
        flow.add_step("Echo", "b", after="a", before="a")


def test_after_step_adds_to_what_was_said_or_replaces_it(flow):
    flow.to("Echo", "a")
    flow.to("Echo", "b")
    step = flow.add_step("Echo", "c", after="a")
    assert step.after_step("b").after == ["a", "b"]
    assert step.after_step(flow["b"], append=False).after == ["b"]


def test_a_step_is_named_after_its_class_or_function(flow):
    assert flow.to("some.module.Echo").name == "Echo"
    assert flow.to(json.dumps).name == "dumps"
    assert flow.to(handler="json.loads").name == "loads"


def test_steps_without_a_name_of_their_own_are_numbered(flow):
    first = flow.to(lambda body: body)
    second = first.to("(event + 1)")
    assert (first.name, second.name) == ("step", "step-2")


def test_two_steps_of_one_name_are_refused_with_a_name_to_take(flow):
    flow.to("Echo", "a")
    with pytest.raises(GraphError, match="there is a step named 'a' already.*name='a-2'"):
        flow.to("Echo", "a")


def test_the_fluent_options_return_the_step_and_are_kept(flow):
    step = flow.to("Echo", "a")
    assert step.batch(8, 0.5).concurrency(4).queue(16).timeout(2).copy(False) is step
    assert step.to_dict()["engine_options"] == {
        "max_batch_size": 8,
        "max_delay": 0.5,
        "concurrency": 4,
        "capacity": 16,
        "timeout": 2.0,
        "copy": False,
    }


@pytest.mark.parametrize(
    ("call", "value"),
    [
        ("batch", 0),
        ("batch", "3"),
        ("concurrency", 0),
        ("queue", -1),
        ("timeout", 0),
        ("timeout", -1),
        ("timeout", float("nan")),
        ("timeout", float("inf")),
        ("queue", 1.5),
    ],
)
def test_options_that_cannot_be_are_refused_at_once(flow, call, value):
    with pytest.raises(GraphError, match="step 'a'"):
        getattr(flow.to("Echo", "a"), call)(value)


def test_a_star_makes_a_router_and_an_arrow_a_queue(flow):
    router = flow.to("*mlrun.serving.VotingEnsemble", "vote", vote_type="regression")
    queue = router.to(">>", "q", path="")
    assert isinstance(router, RouterStep)
    assert router.class_name == "mlrun.serving.VotingEnsemble"
    assert isinstance(queue, QueueStep)
    assert flow.to("*").class_name == ""


def test_a_router_class_makes_a_router(flow):
    assert isinstance(flow.to(penstock.VotingEnsemble), RouterStep)


def test_routes_are_steps_with_options(flow):
    router = flow.to("*", "router")
    route = router.add_route("m1", class_name="Model", model_path="p", limit=3).batch(4)
    assert isinstance(route, TaskStep)
    assert router.routes["m1"].class_args == {"model_path": "p", "limit": 3}
    assert route.options.max_batch_size == 4


def test_error_handler_takes_the_name_of_a_step_that_is_added_later(flow):
    step = flow.to("Echo", "a")
    assert step.error_handler("catcher") is step
    assert (step.on_error, "catcher" in flow) == ("catcher", False)


def test_error_handler_makes_a_step_of_its_own(flow):
    step = flow.to("Echo", "a")
    step.error_handler(name="catcher", handler="(event)", full_event=True)
    assert step.on_error == "catcher"
    assert flow["catcher"].after == []
    assert flow["catcher"].full_event


def test_error_handler_before_a_step_joins_it_again(flow):
    flow.to("Echo", "a").error_handler(name="fix", handler="(event)").to("Echo", "b")
    flow["a"].on_error = None
    flow["a"].error_handler(name="fix2", handler="(event)", before="b")
    assert flow["b"].after == ["a", "fix2"]


def test_the_graph_has_an_error_handler_too(flow):
    assert flow.error_handler("catcher") is flow
    assert flow.on_error == "catcher"


def test_a_written_graph_is_read_back_the_same(flow):
    flow.to("Echo", "a", full_event=True, some_arg=1).error_handler("catcher").to(">>", "q", path="").to(
        "*VotingEnsemble", "vote", weights={"m1": 1}
    ).add_route("m1", class_name="Model")
    flow.add_step("json.dumps", name="z", after="vote", input_path="a.b", result_path="c").batch(3).respond()
    flow.add_step(handler="catch", name="catcher")
    written = flow.to_dict()
    assert graph_from_dict(json.loads(json.dumps(written))).to_dict() == written
    assert RootFlowStep.from_dict(written).to_dict() == written


def test_a_graph_is_written_with_the_field_names_of_mlrun(flow):
    flow.to("Echo", "a")
    router = flow.add_step("*", name="r", after="a")
    router.add_route("m1", class_name="Model")
    flow.add_step("Echo", name="z", after="r").respond()
    assert flow.to_dict() == {
        "kind": "root",
        "engine": "async",
        "allow_cyclic": False,
        "steps": {
            "a": {"kind": "task", "class_name": "Echo"},
            "r": {
                "kind": "router",
                "class_name": "",
                "name": "r",
                "after": ["a"],
                "routes": {"m1": {"kind": "task", "class_name": "Model"}},
            },
            "z": {"kind": "task", "class_name": "Echo", "responder": True, "after": ["r"]},
        },
    }


def test_objects_are_written_by_name(flow):
    step = flow.to(Echo(), "a", key=json.dumps)
    assert step.to_dict()["class_name"].endswith("test_graph.Echo")
    assert step.to_dict()["class_args"] == {"key": "json.dumps"}


def test_a_function_takes_topology_once():
    fn = penstock.new_function("f")
    fn.set_topology("router")
    with pytest.raises(GraphError, match="graph topology is already set"):
        fn.set_topology("flow")
    assert isinstance(fn.set_topology("flow", exist_ok=True), RootFlowStep)


def test_add_model_finds_the_only_router_of_a_flow(flow):
    fn = penstock.new_function("f")
    flow = fn.set_topology("flow")
    with pytest.raises(GraphError, match="does not contain any router"):
        fn.add_model("m1", class_name="Model")
    router = flow.to("*", "r")
    fn.add_model("m1", model_path="p", class_name="Model")
    assert router.routes["m1"].class_args == {"model_path": "p"}
    flow.to("*", "r2")
    with pytest.raises(GraphError, match="found 2 routers"):
        fn.add_model("m2", class_name="Model")
    assert fn.add_model("m2", class_name="Model", router_step="r2").name == "m2"
    with pytest.raises(GraphError, match="router step r3 not present in the graph; did you mean"):
        fn.add_model("m2", class_name="Model", router_step="r3")


def test_add_model_uses_the_default_class():
    fn = penstock.new_function("f")
    fn.spec.default_class = "Model"
    assert fn.add_model("m1", model_path="p").class_name == "Model"
