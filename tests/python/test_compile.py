"""What is checked before anything runs, and what the core is given."""

import penstock
import pytest
from penstock.checking import check_graph
from penstock.checks import Shape
from penstock.errors import GraphError
from penstock.graph import RootFlowStep


class Echo:
    def do(self, body):
        return body


class Model(penstock.V2ModelServer):
    def load(self):
        pass

    def predict(self, body):
        return body["inputs"]


@pytest.fixture
def fn():
    return penstock.new_function("f")


def step_names(server):
    return sorted(name for name in server.compiled.plan.steps if not name.startswith("GET /v2"))


def test_events_enter_at_steps_that_follow_none_and_catch_nothing():
    flow = RootFlowStep()
    flow.to("(event)", "a").error_handler("catcher").to("(event)", "b")
    flow.to("(event)", "c")
    flow.add_step(handler="(event)", name="catcher", after="").to("(event)", "log")
    assert Shape(flow).entries == ["a", "c"]


def test_a_catcher_apart_from_the_responder_answers_with_its_last_step():
    flow = RootFlowStep()
    flow.to("(event)", "a").error_handler("catcher").to("(event)", "b").respond()
    flow.add_step(handler="(event)", name="catcher").to("(event)", "log")
    assert Shape(flow).answering() == {"b", "log"}


def test_a_catcher_that_leads_to_the_responder_leaves_the_answer_to_it():
    flow = RootFlowStep()
    flow.to("(event)", "a").to("(event)", "b").respond()
    flow["a"].error_handler(name="fix", handler="(event)", before="b")
    assert Shape(flow).answering() == {"b"}


def test_without_a_responder_no_catcher_answers():
    flow = RootFlowStep()
    flow.to("(event)", "a").error_handler(name="fix", handler="(event)")
    assert Shape(flow).answering() == set()


def test_the_handler_of_the_graph_serves_all_but_its_own_branch():
    flow = RootFlowStep()
    flow.to("(event)", "a").to("(event)", "b").error_handler("own")
    flow.add_step(handler="(event)", name="own")
    flow.add_step(handler="(event)", name="catcher").to("(event)", "log")
    flow.error_handler("catcher")
    shape = Shape(flow)
    assert [shape.handler_of(name) for name in flow] == ["catcher", "own", "catcher", None, None]


def test_a_loop_is_named_with_its_steps():
    flow = RootFlowStep()
    flow.to("(event)", "start").to("(event)", "a").to("(event)", "b").to("(event)", "c")
    flow["a"].after_step("c")
    with pytest.raises(GraphError, match=r"loop detected in step a, graph must be acyclic \(DAG\): a -> b -> c -> a"):
        check_graph(flow)


def test_an_error_handler_that_leads_back_is_a_loop():
    flow = RootFlowStep()
    flow.to("(event)", "a").to("(event)", "b").error_handler(name="again", handler="(event)", before="a")
    with pytest.raises(GraphError, match="loop detected"):
        check_graph(flow)


def test_a_responder_is_one():
    flow = RootFlowStep()
    first = flow.to("(event)", "a").respond()
    with pytest.raises(GraphError, match=r"there are more than one responder steps in the graph \(a,b\)"):
        first.to("(event)", "b").respond()


@pytest.mark.parametrize("field", ["after", "on_error"])
def test_a_graph_that_was_read_is_checked_for_unknown_names(field):
    value = ["stpe"] if field == "after" else "stpe"
    flow = RootFlowStep.from_dict(
        {"steps": {"step": {"handler": "(event)"}, "x": {"handler": "(event)", field: value}}}
    )
    with pytest.raises(GraphError, match="'?stpe'?.*did you mean 'step'"):
        check_graph(flow)


def test_an_error_handler_that_is_never_added_is_found(fn):
    fn.set_topology("flow").to("(event)", "a").error_handler("catcher").to("(event)", "cacher")
    with pytest.raises(GraphError, match="error handler of step 'a' is to be 'catcher'.*did you mean 'cacher'"):
        fn.to_mock_server()


def test_the_sync_engine_takes_a_line_only(fn):
    flow = fn.set_topology("flow", engine="sync")
    first = flow.to("(event)", "a")
    first.to("(event)", "b")
    first.to("(event)", "c")
    with pytest.raises(GraphError, match="doesnt support branches use async for step a"):
        fn.to_mock_server()


def test_the_sync_engine_has_one_start(fn):
    flow = fn.set_topology("flow", engine="sync")
    flow.to("(event)", "a")
    flow.to("(event)", "b")
    with pytest.raises(GraphError, match="one starting step.*a, b"):
        fn.to_mock_server()


def test_a_router_needs_routes(fn):
    fn.set_topology("flow").to("*", "router").respond()
    with pytest.raises(GraphError, match="router 'router' has no routes"):
        fn.to_mock_server()


@pytest.mark.parametrize("topology", ["flow", "router", None])
def test_an_empty_graph_is_refused(fn, topology):
    if topology:
        fn.set_topology(topology)
    with pytest.raises(GraphError, match="no models or steps were set|has no routes"):
        fn.to_mock_server()


def test_a_queue_with_a_stream_names_the_kind_that_is_not_offered(fn):
    fn.set_topology("flow").to("(event)", "a").to(">>", "q", path="gopher://host/topic")
    with pytest.raises(GraphError, match="step 'q': there is no kind of stream 'gopher://'"):
        fn.to_mock_server()


def test_a_batch_that_could_never_fill_is_refused(fn):
    fn.set_topology("flow").to("(event)", "a").batch(8).queue(4)
    with pytest.raises(GraphError, match="step 'a': its queue holds 4 events, so a batch of 8 could never fill"):
        fn.to_mock_server()


@pytest.mark.parametrize("class_name", ["storey.Filter", "storey.FlatMap", "storey.Extend"])
def test_steps_that_take_single_events_have_no_batch(fn, class_name):
    fn.set_topology("flow").to(class_name, "a", _fn="(event)").batch(4)
    with pytest.raises(GraphError, match="step 'a'.*cannot have .batch"):
        fn.to_mock_server()


def test_a_router_and_its_routes_are_steps_of_the_plan(fn):
    flow = fn.set_topology("flow")
    router = flow.to("*", "router").respond()
    router.add_route("m1", class_name=Model)
    router.add_route("m2", class_name=Model)
    with fn.to_mock_server() as server:
        assert step_names(server) == ["router", "router.self", "router/m1", "router/m2"]
        assert sorted(server.compiled.models) == ["m1", "m2"]


def test_an_ensemble_gathers_what_it_scatters(fn):
    fn.set_topology("router", "mlrun.serving.VotingEnsemble")
    fn.add_model("m1", class_name=Model)
    with fn.to_mock_server() as server:
        assert step_names(server) == ["VotingEnsemble", "VotingEnsemble.out", "VotingEnsemble.self", "m1"]


def test_checking_a_graph_needs_no_names_and_runs_nothing():
    flow = RootFlowStep()
    flow.to("NoSuchClass", "a").respond()
    check_graph(flow)
