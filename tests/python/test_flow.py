"""Flows: what may be done with the steps of a graph after they were added, cycles, nested flows, error steps."""

import json

import penstock
import pytest
from penstock.errors import GraphError, MLRunModelLimitExceededError
from penstock.graph import FlowStep, RootFlowStep, graph_from_dict
from penstock.spec import StepToDict, Target
from penstock.steps import ErrorStep, QueueStep, RouterStep, TaskStep


class Scale(StepToDict):
    def __init__(self, factor=1, name=None, input_path=None):
        self.factor, self.name, self._input_path = factor, name, input_path

    def do(self, body):
        return body * self.factor


@pytest.fixture
def flow():
    return penstock.new_function("f").set_topology("flow")


def names_after(graph):
    return {name: graph[name].after for name in graph}


def test_set_flow_chains_what_to_takes_and_returns_the_last(flow):
    last = flow.set_flow([{"handler": "(event + 1)", "name": "a"}, "json.dumps", Scale(2, "b")])
    assert last is flow["b"]
    assert names_after(flow) == {"a": [], "dumps": ["a"], "b": ["dumps"]}


def test_set_flow_of_a_graph_with_steps_needs_force(flow):
    flow.to("Echo", "old")
    with pytest.raises(GraphError, match=r"set_flow.. called on a step that already has downstream steps.*force=True"):
        flow.set_flow(["json.dumps"])
    flow.set_flow(["json.dumps"], force=True)
    assert list(flow) == ["dumps"]


def test_a_loop_from_a_step_that_is_taken_away_goes_with_it():
    flow = penstock.new_function("f").set_topology("flow", allow_cyclic=True)
    flow.to("Echo", "a").to("Echo", "b").to("Echo", "c", cycle_to=["a", "b"])
    flow["b"].set_flow(["json.dumps"], force=True)
    assert (flow["a"].cycle_from, flow["b"].cycle_from) == ([], [])
    flow["dumps"].cycle_to("a")
    del flow["dumps"]
    assert flow["a"].cycle_from == []


def test_set_flow_of_a_step_replaces_what_followed_it(flow):
    flow.to("Echo", "a").to("Echo", "b").to("Echo", "c")
    flow.to("Echo", "side").to("Echo", "d").after_step("c")
    with pytest.raises(GraphError, match="step 'a': set_flow"):
        flow["a"].set_flow(["json.dumps"])
    flow["a"].set_flow(["json.dumps"], force=True)
    assert names_after(flow) == {"a": [], "side": [], "dumps": ["a"]}


@pytest.mark.parametrize("steps", ["json.dumps", {"handler": "(event)"}, 5])
def test_set_flow_takes_a_list(flow, steps):
    with pytest.raises(GraphError, match="set_flow takes a list of steps"):
        flow.set_flow(steps)


def test_insert_step_puts_a_step_that_is_made_already(flow):
    flow.to("Echo", "a").to("Echo", "c")
    step = TaskStep("x", Target.of("Echo", None))
    assert flow.insert_step("b", step, after="a", before="c") is step
    assert names_after(flow) == {"a": [], "b": ["a"], "c": ["b"]}
    with pytest.raises(GraphError, match="insert_step takes a step, not a str; see add_step"):
        flow.insert_step("d", "Echo", after="a")


def test_a_step_may_be_set_by_name_and_taken_away(flow):
    flow.to("Echo", "a").to("Echo", "b").to("Echo", "c")
    flow["d"] = TaskStep("", Target.of("Echo", None))
    assert flow["d"].name == "d"
    del flow["b"]
    assert names_after(flow) == {"a": [], "c": ["a"], "d": []}
    with pytest.raises(GraphError, match="there is no step named b"):
        del flow["b"]


def test_children_can_be_listed_and_cleared(flow):
    assert flow.is_empty()
    flow.to("Echo", "a").to("Echo", "b")
    assert [step.name for step in flow.get_children()] == ["a", "b"]
    flow.clear_children(["a"])
    assert list(flow) == ["b"]
    flow.clear_children()
    assert flow.is_empty()


def test_a_path_leads_to_a_route(flow):
    flow.to("*", "router").add_route("m1:v1", class_name="Model")
    route = flow.path_to_step("router/m1:v1")
    assert (route.name, route.fullname) == ("m1:v1", "router/m1_v1")
    with pytest.raises(GraphError, match="step m2 doesnt exist in the graph under router"):
        flow.path_to_step("router/m2")
    with pytest.raises(GraphError, match="step routr doesnt exist in the graph under the graph; did you mean 'router'"):
        flow.path_to_step("routr")


def test_child_functions_and_the_queues_they_read(flow):
    flow.to("Echo", "a").to(">>", "q1", path="memory://q1").to("Echo", "b", function="enrich")
    flow["b"].to("Echo", "any", function="*").to(">>", "q2", path="").to("Echo", "c", function="store")
    assert flow.list_child_functions() == ["enrich", "store"]
    assert {name: queue.name for name, queue in flow.get_queue_links().items()} == {"enrich": "q1", "store": "q2"}


def test_a_step_behind_a_queue_that_names_no_function_is_said(flow):
    flow.to(">>", "q", path="").to("Echo", "b")
    with pytest.raises(GraphError, match="step 'b' must specify a function, because it follows a queue step"):
        flow.get_queue_links()


def test_one_function_reads_one_queue(flow):
    flow.to(">>", "q1", path="").to("Echo", "b", function="enrich")
    flow.to(">>", "q2", path="").to("Echo", "c", function="enrich")
    with pytest.raises(GraphError, match=r"function \(enrich\) cannot read from multiple queues \(q1, q2\)"):
        flow.get_queue_links()


def test_the_streams_of_queues_are_made(flow, tmp_path):
    flow.to("Echo", "a").to(">>", "out", path=str(tmp_path / "out.jsonl"))
    flow.create_queue_streams()
    assert [file.name for file in tmp_path.iterdir()] == ["out.jsonl"]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"name": "q"}, "step 'q': path=<stream path or None> must be specified for queues"),
        ({"path": ""}, "queue name must be specified"),
        ({"name": "q", "path": 5}, "step 'q': a queue's path is text or None, not 5"),
        ({"name": "q", "path": None, "input_path": "a"}, "step 'q': a queue has no input_path and no result_path"),
    ],
)
def test_a_queue_needs_a_name_and_a_path(flow, arguments, text):
    with pytest.raises(GraphError, match=text):
        flow.to(">>", **arguments)


def test_a_queue_is_written_as_mlrun_does(flow):
    flow.to(">>", "q", path="kafka://h/t", shards=3, trigger_args={"max_workers": 2}, group="g", full_event=True)
    written = flow.to_dict()["steps"]["q"]
    assert written == {
        "kind": "queue",
        "path": "kafka://h/t",
        "shards": 3,
        "trigger_args": {"max_workers": 2},
        "options": {"group": "g", "full_event": True},
    }
    read = graph_from_dict(flow.to_dict())["q"]
    assert isinstance(read, QueueStep)
    assert read.queue_options == flow["q"].queue_options


def test_a_step_leads_back_where_cycles_are_allowed():
    flow = penstock.new_function("f").set_topology("flow", allow_cyclic=True, max_iterations=7)
    flow.to("Echo", "count").to("Echo", "again", cycle_to="count", max_iterations=3)
    flow["again"].cycle_to(["count"])
    assert flow["count"].cycle_from == ["again"]
    assert (flow.allow_cyclic, flow.max_iterations, flow["again"].max_iterations) == (True, 7, 3)
    read = graph_from_dict(json.loads(json.dumps(flow.to_dict())))
    assert (read.allow_cyclic, read.max_iterations, read["count"].cycle_from) == (True, 7, ["again"])


def test_a_cycle_has_to_be_allowed(flow):
    flow.to("Echo", "a")
    with pytest.raises(GraphError, match="step 'b': cyclic graphs are not allowed, enable allow_cyclic"):
        flow["a"].to("Echo", "b", cycle_to="a")
    assert "b" not in flow


def test_a_cycle_leads_to_a_step_that_is_there():
    flow = penstock.new_function("f").set_topology("flow", allow_cyclic=True)
    with pytest.raises(GraphError, match="cant set cycle_to, there is no step named cuont; did you mean 'count'"):
        flow.to("Echo", "count").cycle_to("cuont")


def test_the_sync_engine_has_no_cycles():
    text = "Cyclic graphs are not supported with sync engine, please use async engine"
    fn = penstock.new_function("f")
    with pytest.raises(GraphError, match=text):
        fn.set_topology("flow", engine="sync", allow_cyclic=True)
    flow = fn.set_topology("flow", engine="sync")
    with pytest.raises(GraphError, match=text):
        flow.allow_cyclic = True
    with pytest.raises(GraphError, match="cyclic graphs are only supported in flow topology with async engine"):
        fn.set_topology("router", exist_ok=True, allow_cyclic=True)


@pytest.mark.parametrize("value", [0, -1, "3", 1.5])
def test_max_iterations_is_a_number(flow, value):
    with pytest.raises(GraphError, match="step 'a': max_iterations is a whole number"):
        flow.to("Echo", "a", max_iterations=value)


def test_a_flow_inside_a_flow_is_one_step_of_it(flow):
    inner = FlowStep("inner")
    inner.to("Echo", "a").to("Echo", "b")
    flow.to("Echo", "first").to(inner).respond()
    flow.add_step("Echo", "last", after="inner")
    assert names_after(flow) == {"first": [], "inner": ["first"], "last": ["inner"]}
    assert inner["b"].fullname == "inner/b"
    assert flow.path_to_step("inner/b") is inner["b"]
    read = graph_from_dict(json.loads(json.dumps(flow.to_dict())))
    assert isinstance(read["inner"], FlowStep)
    assert read.to_dict() == flow.to_dict()


def test_one_responder_in_all_nested_flows(flow):
    inner = flow.to(FlowStep("inner"))
    inner.to("Echo", "a").respond()
    with pytest.raises(GraphError, match=r"more than one responder steps in the graph \(inner/a,z\)"):
        flow.add_step("Echo", "z", after="inner").respond()


def test_an_error_handler_with_arguments_makes_an_error_step(flow):
    flow.to("Echo", "a").to("Echo", "b")
    flow["a"].error_handler("fix", handler="(event)", full_event=True, before="b")
    step = flow["fix"]
    assert isinstance(step, ErrorStep)
    assert (step.base_step, step.before, step.full_event, flow["b"].after) == ("a", ["b"], True, ["a", "fix"])
    assert step.to_dict()["kind"] == "error_step"
    assert graph_from_dict(flow.to_dict()).to_dict() == flow.to_dict()


def test_a_step_that_is_added_later_follows_the_handler_that_was_put_before_it():
    fn = penstock.new_function("f")
    graph = fn.set_topology("flow")
    graph.to(name="raise", handler="json.loads").error_handler("fix", handler="(event)", before="echo")
    graph.add_step(name="echo", handler="(['echo', event])", after="$prev").respond()
    assert graph["echo"].after == ["raise", "fix"]
    assert graph_from_dict(graph.to_dict()).to_dict() == graph.to_dict()
    with fn.to_mock_server() as server:
        assert server.test(body=[1]) == ["echo", [1]]


def test_a_step_that_never_comes_cannot_follow_a_handler():
    fn = penstock.new_function("f")
    graph = fn.set_topology("flow")
    graph.to("(event)", "a").error_handler("fix", handler="(event)", before="ecko").to("(event)", "echo").respond()
    with pytest.raises(
        GraphError, match="step 'fix': cant set before, there is no step named ecko; did you mean 'echo'"
    ):
        fn.to_mock_server()


def test_the_steps_before_which_mlrun_puts_a_handler_follow_it():
    read = graph_from_dict(
        {
            "steps": {
                "a": {"kind": "task", "handler": "(event)", "on_error": "fix"},
                "b": {"kind": "task", "handler": "(event)", "after": ["a"]},
                "fix": {"kind": "error_step", "handler": "(event)", "before": "b", "base_step": "a"},
            }
        }
    )
    assert read["b"].after == ["a", "fix"]


def test_a_handler_that_joins_again_is_no_line():
    flow = penstock.new_function("f").set_topology("flow", engine="sync")
    flow.to("Echo", "a").to("Echo", "b")
    with pytest.raises(GraphError, match="step 'b': the error handler of step 'a' joins it, and synchronous flow"):
        flow["a"].error_handler("fix", handler="(event)", before="b")


def test_before_belongs_to_the_handler_of_a_step(flow):
    with pytest.raises(GraphError, match="`before` arg can't be specified for graph error handler"):
        flow.error_handler("fix", handler="(event)", before="b")


def test_an_object_says_itself_how_it_is_written(flow):
    step = flow.to(Scale(3, "triple", input_path="x"))
    assert (step.name, step.input_path) == ("triple", "x")
    written = step.to_dict()
    assert written["class_args"] == {"factor": 3}
    assert written["class_name"].endswith("Scale")


def test_routes_may_be_set_and_cleared():
    router = RouterStep("r")
    router.function = "gpu"
    router.routes = {"m1": {"class_name": "Model", "class_args": {"a": 1}}, "m2": TaskStep("", Target.of("M", None))}
    assert [(route.name, route.class_name) for route in router.get_children()] == [("m1", "Model"), ("m2", "M")]
    assert router.add_route("m3", class_name="Model").function == "gpu"
    router.clear_children(["m1"])
    assert list(router.routes) == ["m2", "m3"]
    with pytest.raises(GraphError, match="router 'r' has no route m33; did you mean 'm3'"):
        router.clear_children(["m33"])


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({}, "route 'm1': route or class_name must be specified"),
        ({"route": "Model"}, "route 'm1': route= takes a step, not a str"),
        ({"route": TaskStep("x"), "class_name": "Model"}, "route 'm1': give route= alone"),
    ],
)
def test_a_route_that_runs_nothing(arguments, text):
    with pytest.raises(GraphError, match=text):
        RouterStep("r").add_route("m1", **arguments)


def test_a_router_takes_no_more_than_5000_routes():
    router = RouterStep("r")
    for number in range(5000):
        router.add_route(f"m{number}", class_name="Model")
    with pytest.raises(MLRunModelLimitExceededError, match="route 'one-more': a router takes no more than 5000 models"):
        router.add_route("one-more", class_name="Model")
    router.add_route("m1", class_name="Other")  # replacing one is no further one


def test_names_of_remote_and_hub_steps(flow):
    assert flow.to("$remote", url="http://a").name == "remote"
    assert flow.to("hub://v2_model_server").name == "v2_model_server"


def test_retry_is_an_option_of_the_engine(flow):
    step = flow.to("Echo", "a").retry(attempts=5, backoff=0.5)
    assert step.to_dict()["engine_options"] == {"retry_attempts": 5, "retry_backoff": 0.5}
    with pytest.raises(GraphError, match="step 'a': attempts is a whole number"):
        step.retry(attempts=0)


def test_fields_of_mlrun_that_mean_nothing_here_are_kept():
    fields = {
        "steps": {
            "a": {"kind": "task", "class_name": "Echo", "skip_context": True, "endpoint_type": 1},
            "r": {"kind": "router", "class_name": "", "name": "r", "after": ["a"], "endpoint_type": 2},
        },
        "engine": "async",
        "allow_cyclic": False,
        "model_endpoints_routes_names": ["m1"],
    }
    read = graph_from_dict(fields)
    assert read.to_dict() == {"kind": "root", **fields}
    assert RootFlowStep.from_dict(fields).to_dict() == read.to_dict()


def test_engine_options_of_a_later_version_are_left_out():
    read = graph_from_dict({"steps": {"a": {"handler": "(event)", "engine_options": {"copy": False, "shiny": 1}}}})
    assert read["a"].options.to_dict() == {"copy": False}


@pytest.mark.parametrize(
    "kind", ["task", "router", "flow", "queue", "error_step", "hub_task", "monitoring_application"]
)
def test_every_kind_of_mlrun_is_read(kind):
    assert graph_from_dict({"steps": {"a": {"kind": kind}}})["a"].kind == kind


def test_a_kind_that_is_none_comes_with_the_nearest():
    with pytest.raises(GraphError, match="step 'a': there is no kind of step 'tusk'; did you mean 'task'"):
        graph_from_dict({"steps": {"a": {"kind": "tusk"}}})


def test_a_monitoring_application_is_refused_when_it_is_to_run():
    graph = {"steps": {"app": {"kind": "monitoring_application", "class_name": "App"}}}
    server = penstock.create_graph_server(graph=graph)
    with pytest.raises(GraphError, match="step 'app': a monitoring application runs on the MLRun platform only"):
        server.init_states()


def test_a_graph_is_exported_to_a_file_and_read_back(flow, tmp_path):
    flow.to("Echo", "a").to("Echo", "b").respond()
    for name in ("graph.json", "graph.yaml"):
        from penstock.documents import read

        flow.export(str(tmp_path / "deep" / name))
        assert graph_from_dict(read(str(tmp_path / "deep" / name))).to_dict() == flow.to_dict()
    assert json.loads(flow.to_json()) == flow.to_dict()


def test_a_source_is_kept_for_who_feeds_the_graph(flow):
    source = object()
    assert flow.set_flow_source(source).flow_source is source
