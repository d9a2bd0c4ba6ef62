"""Wrong use gets one clear line, at the earliest moment."""

import socket

import penstock
import pytest
from penstock.errors import GraphError, ModelFileNotFound, NameNotFound, PortInUse, StepError


class Echo:
    def do(self, body):
        return body


class Model(penstock.V2ModelServer):
    def load(self):
        self.path, _ = self.get_model(".pkl")

    def predict(self, body):
        return body["inputs"]


def lines_of(caught):
    return str(caught.value).splitlines()


@pytest.fixture
def fn():
    return penstock.new_function("f")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ({"class_name": "Ecko", "name": "a"}, "step 'a': there is no class 'Ecko'; did you mean 'Echo'?"),
        ({"handler": "lines_off", "name": "a"}, "step 'a': there is no handler 'lines_off'; did you mean 'lines_of'?"),
        (
            {"class_name": "Echo", "handler": "du", "name": "a"},
            "step 'a': handler (du) specified but doesnt exist in class Echo; did you mean 'do'?",
        ),
        (
            {"class_name": "storey.Fliter", "name": "a", "_fn": "(event)"},
            "step 'a': there is no step 'storey.Fliter' in storey; did you mean 'storey.Filter'?",
        ),
        ({"class_name": "Echo", "name": "a", "limit": 1}, "step 'a': Echo takes no argument 'limit'"),
        (
            {"handler": "json.dumps", "name": "a", "_cls": "Ecko"},
            "step 'a': there is no function for _cls 'Ecko'; did you mean 'Echo'?",
        ),
    ],
)
def test_a_misspelt_name_comes_with_the_nearest_before_any_event(fn, arguments, line):
    fn.set_topology("flow").to(**arguments).respond()
    with pytest.raises(GraphError) as caught:
        fn.to_mock_server()
    assert lines_of(caught) == [line]


def test_a_misspelt_name_of_a_route_names_the_route(fn):
    fn.add_model("m1", class_name="Modle")
    with pytest.raises(NameNotFound, match="step 'm1': there is no class 'Modle'; did you mean 'Model'"):
        fn.to_mock_server()


def test_two_steps_of_one_name(fn):
    flow = fn.set_topology("flow")
    flow.to("Echo")
    with pytest.raises(GraphError) as caught:
        flow.to("Echo")
    assert lines_of(caught) == [
        "there is a step named 'Echo' already; name this one otherwise, for example name='Echo-2'"
    ]


def test_two_responders(fn):
    flow = fn.set_topology("flow")
    first = flow.to("Echo", "a").respond()
    with pytest.raises(GraphError, match=r"more than one responder steps in the graph \(a,b\)"):
        first.to("Echo", "b").respond()


def test_a_loop(fn):
    flow = fn.set_topology("flow")
    flow.to("Echo", "in").to("Echo", "a").to("Echo", "b")
    flow["a"].after_step("b")
    with pytest.raises(GraphError, match="loop detected in step a"):
        fn.to_mock_server()


def test_after_naming_no_step(fn):
    flow = fn.set_topology("flow")
    flow.to("Echo", "prepare")
    with pytest.raises(GraphError) as caught:
        flow.add_step("Echo", "b", after="perpare")
    assert lines_of(caught) == ["cant set after, there is no step named perpare; did you mean 'prepare'?"]


def test_before_naming_no_step(fn):
    with pytest.raises(GraphError, match="cant set before, there is no step named b"):
        fn.set_topology("flow").add_step("Echo", "a", before="b")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({}, "class_name or handler must be provided"),
        ({"name": "a"}, "class_name or handler must be provided"),
        ({"handler": 5}, "handler=5 is not a function"),
        ({"class_name": 42}, "a step runs a function, a class, .* not 42"),
        ({"class_name": ["Echo"]}, r"a step runs a function, a class, .* not \['Echo'\]"),
        ({"class_name": ">>"}, "queue name must be specified"),
    ],
)
def test_a_step_that_runs_nothing(fn, arguments, text):
    with pytest.raises(GraphError, match=text):
        fn.set_topology("flow").to(**arguments)


def test_a_class_that_takes_no_events(fn):
    class Nothing:
        pass

    fn.set_topology("flow").to(Nothing, "a")
    with pytest.raises(GraphError, match="step 'a': class Nothing has no do, no do_event and no __call__"):
        fn.to_mock_server()


@pytest.mark.parametrize(
    ("topology", "text"), [("flo", "unsupported topology flo, use 'router' or 'flow'"), ("", "unsupported topology")]
)
def test_a_topology_that_is_none(fn, topology, text):
    with pytest.raises(GraphError, match=text):
        fn.set_topology(topology)


def test_an_engine_that_is_none(fn):
    with pytest.raises(GraphError, match="engine is 'async' or 'sync', not 'asink'"):
        fn.set_topology("flow", engine="asink")


def test_a_model_without_a_class(fn):
    with pytest.raises(GraphError, match="model 'm1': class_name must be provided"):
        fn.add_model("m1", model_path="p")


def test_a_model_file_that_is_missing(fn):
    fn.add_model("m1", class_name="Model", model_path="/nowhere/model.pkl")
    with pytest.raises(ModelFileNotFound) as caught:
        fn.to_mock_server()
    assert lines_of(caught) == ["model 'm1': there is no file or directory /nowhere/model.pkl"]


def test_a_model_without_a_path(fn):
    fn.add_model("m1", class_name="Model")
    with pytest.raises(ModelFileNotFound, match="model 'm1': no model_path is set"):
        fn.to_mock_server()


def test_a_port_in_use_is_found_before_anything_is_loaded(fn):
    fn.add_model("m1", class_name="Model", model_path="/nowhere/model.pkl")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PortInUse, match=f"cannot listen on 127.0.0.1:{port}: .*; choose another port"):
            fn.serve(port=port)


def test_respond_on_the_graph(fn):
    with pytest.raises(GraphError, match="respond.. belongs to a step"):
        fn.set_topology("flow").respond()


def test_flow_calls_on_a_router(fn):
    with pytest.raises(GraphError, match="is not a step of a flow"):
        fn.set_topology("router").to("Echo")


def test_a_full_event_step_that_returns_no_event_fails_and_is_named(fn):
    fn.set_topology("flow").to("(event.body)", "a", full_event=True).respond()
    with fn.to_mock_server() as server:
        with pytest.raises(StepError) as caught:
            server.test(body={"a": 1})
        assert caught.value.step == "a"


def test_an_exception_in_a_step_leaves_the_next_event_fine(fn):
    fn.set_topology("flow").to("(1 / event)", "a").respond()
    with fn.to_mock_server() as server:
        with pytest.raises(StepError, match=r"failed \(500\): ZeroDivisionError: division by zero") as caught:
            server.test(body=0)
        assert caught.value.step == "a"
        assert server.test(body=2) == 0.5
