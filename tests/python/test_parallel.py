"""ParallelRun: all routes at once, in threads, in line, and in processes; failures are never dropped."""

import logging
import multiprocessing
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import penstock
import process_routes
import pytest
from hypothesis import given
from hypothesis import strategies as st
from penstock.context import GraphContext
from penstock.errors import GraphError, MLRunModelLimitExceededError, PenstockError, StepError, StepNotReady
from penstock.parallel import copies
from penstock.resolve import Resolver
from penstock.route_process import RouteProcess
from penstock.serving import Event, ParallelRun
from penstock.steps import RouterStep
from served import Served

FOLDER = os.path.dirname(process_routes.__file__)

HERE = pytest.mark.parametrize("executor", ["thread", "array"])


def parallel(routes, class_name="mlrun.serving.ParallelRun", parameters=None, **class_args):
    """Make the mock server of a router; routes are handlers, or dicts of what `add_route` takes."""
    fn = penstock.new_function("f")
    fn.spec.parameters = parameters or {}
    router = fn.set_topology("router", class_name, **class_args)
    for name, route in routes.items():
        router.add_route(name, **(route if isinstance(route, dict) else {"handler": route}))
    return fn.to_mock_server(namespace=globals())


def one(body):
    return {"one": body["x"] + 1, "both": "one"}


def two(body):
    return {"two": body["x"] + 2, "both": "two"}


def failing(body):
    raise KeyError("x")


@HERE
def test_the_answers_of_all_routes_are_merged_in_the_order_of_the_routes(executor):
    with parallel({"a": one, "b": two}, executor_type=executor) as server:
        assert server.test(body={"x": 1}) == {"one": 2, "two": 3, "both": "two"}
    with parallel({"b": two, "a": one}, executor_type=executor) as server:
        assert server.test(body={"x": 1})["both"] == "one"


def test_the_order_holds_whichever_is_done_first():
    done = threading.Event()

    def first(body):
        assert done.wait(20)
        return {"both": "first"}

    def second(body):
        done.set()
        return {"both": "second"}

    with parallel({"first": first, "second": second}) as server:
        assert server.test(body={}) == {"both": "second"}


@HERE
def test_the_answers_may_extend_the_event(executor):
    with parallel({"a": one}, executor_type=executor, extend_event=True) as server:
        body = {"x": 1, "y": 5}
        assert server.test(body=body) == {"x": 1, "y": 5, "one": 2, "both": "one"}
        assert body == {"x": 1, "y": 5}


@HERE
def test_routes_cannot_change_each_others_event(executor):
    def spoil(body):
        body["rows"].append(9)
        return {str(id(body)): list(body["rows"])}

    with parallel({"a": spoil, "b": spoil}, executor_type=executor, extend_event=True) as server:
        assert list(server.test(body={"rows": [1]}).values()) == [[1], [1, 9], [1, 9]]


@HERE
def test_a_failing_route_fails_the_event_and_is_named(executor):
    with parallel({"a": one, "b": failing}, executor_type=executor) as server:
        with pytest.raises(StepError, match=r"failed \(500\): KeyError: 'x'") as caught:
            server.test(body={"x": 1})
        assert caught.value.step == "b"
        assert isinstance(caught.value.__cause__, KeyError)


@HERE
def test_the_others_answer_where_that_is_wanted_and_the_failure_is_in_the_answer(executor, caplog):
    with parallel({"a": one, "b": failing}, executor_type=executor, on_error="partial") as server:
        with caplog.at_level(logging.WARNING, "penstock"):
            assert server.test(body={"x": 1}) == {"one": 2, "both": "one", "errors": {"b": "KeyError: 'x'"}}
        assert "step 'b' failed" in caplog.text


@HERE
def test_if_all_fail_the_event_does(executor):
    with parallel({"a": failing, "b": failing}, executor_type=executor, on_error="partial") as server:
        with pytest.raises(StepError, match="KeyError") as caught:
            server.test(body={"x": 1})
        assert caught.value.step == "a"


def test_an_answer_that_is_no_dict_cannot_be_merged():
    with parallel({"a": "(event + 1)"}) as server, pytest.raises(StepError, match="route 'a' answered with int"):
        server.test(body=1)


def test_a_route_that_gives_nothing_adds_nothing():
    with parallel({"a": one, "b": "(None)"}) as server:
        assert server.test(body={"x": 1}) == {"one": 2, "both": "one"}


@HERE
def test_a_subclass_merges_prepares_and_finishes(executor):
    class Own(ParallelRun):
        def preprocess(self, event):
            event.body = {"x": event.body}
            return event

        def merger(self, body, results):
            return sorted(value for result in results.values() for value in result.values() if value != "one")

        def postprocess(self, event):
            event.body = {"values": event.body}
            return event

    with parallel({"a": one, "b": "({'b': event['x']})"}, Own, executor_type=executor) as server:
        assert server.test(body=5) == {"values": [5, 6]}


def test_a_merger_gets_the_results_by_route_and_what_to_extend():
    class Own(ParallelRun):
        def merger(self, body, results):
            return {"body": body, "results": results}

    with parallel({"a": "(event + 1)", "b": "(event + 2)"}, Own) as server:
        assert server.test(body=1) == {"body": {}, "results": {"a": 2, "b": 3}}
    with parallel({"a": "(1)"}, Own, extend_event=True) as server:
        assert server.test(body={"x": 1}) == {"body": {"x": 1}, "results": {"a": 1}}


def test_a_merger_that_makes_no_dict_cannot_hide_a_failure():
    class Own(ParallelRun):
        def merger(self, body, results):
            return list(results)

    text = "Own made no dict, so it cannot say that b failed"
    with parallel({"a": one, "b": failing}, Own, on_error="partial") as server, pytest.raises(StepError, match=text):
        server.test(body={"x": 1})


@HERE
def test_async_routes_are_awaited(executor):
    async def later(body):
        return {"later": body["x"]}

    with parallel({"a": one, "b": later}, executor_type=executor) as server:
        assert server.test(body={"x": 1}) == {"one": 2, "both": "one", "later": 1}


def test_async_routes_in_line_fail_as_others_do():
    async def later(body):
        raise KeyError("x")

    with parallel({"a": one, "b": later}, executor_type="array") as server:
        with pytest.raises(StepError, match="KeyError") as caught:
            server.test(body={"x": 1})
        assert caught.value.step == "b"


def test_paths_within_the_body():
    with parallel({"a": one}, input_path="in", result_path="out.merged") as server:
        assert server.test(body={"in": {"x": 1}}) == {"in": {"x": 1}, "out": {"merged": {"one": 2, "both": "one"}}}


def test_in_a_flow_its_answer_goes_on():
    fn = penstock.new_function("f")
    flow = fn.set_topology("flow")
    router = flow.to("(event)", "pre").to("*ParallelRun", "both", extend_event=True)
    router.add_route("a", handler=one)
    router.add_route("b", handler=two)
    flow.add_step(handler="(sorted(event))", name="keys", after="both").respond()
    with fn.to_mock_server() as server:
        assert server.test(body={"x": 1}) == ["both", "one", "two", "x"]


def test_a_catcher_gets_the_event_as_it_came():
    fn = penstock.new_function("f")
    flow = fn.set_topology("flow")
    flow.to("*ParallelRun", "both").error_handler(name="catcher", handler="(event)").to("(event)", "z").respond()
    flow["both"].add_route("a", handler=one)
    flow["both"].add_route("b", handler=failing)
    with fn.to_mock_server() as server:
        assert server.test(body={"x": 1}) == {"x": 1}


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"executor_type": "threads"}, "executor_type is 'thread', 'process' or 'array', not 'threads'"),
        ({"on_error": "ignore"}, "on_error is 'fail' or 'partial', not 'ignore'"),
    ],
)
def test_what_it_cannot_be_is_refused(arguments, text):
    with pytest.raises(GraphError, match=text):
        parallel({"a": one}, **arguments)


@pytest.mark.parametrize("option", [lambda route: route.batch(4), lambda route: route.timeout(1)])
def test_routes_in_line_cannot_have_what_the_engine_does(option):
    fn = penstock.new_function("f")
    option(fn.set_topology("router", "ParallelRun", executor_type="array").add_route("a", handler=one))
    with pytest.raises(GraphError, match=r"route 'a': its router calls it itself, so it cannot have \.(batch|timeout)"):
        fn.to_mock_server()


def test_there_may_be_many_routes_but_not_more_than_5000():
    with pytest.raises(MLRunModelLimitExceededError, match="5000"):
        parallel({f"m{number}": one for number in range(5001)})


def test_each_route_has_a_process_of_its_own():
    routes = {
        "a": {"class_name": "process_routes.Adds", "amount": 5},
        "b": process_routes.double,
        "c": "({'sum3': event['x'] + 3})",
        "d": process_routes.triple,
        "e": process_routes.parameter,
        "f": {"handler": process_routes.path_of, "full_event": True},
    }
    with parallel(routes, executor_type="process", parameters={"rate": 0.5}) as server:
        answer = server.test("/p", body={"x": 1}, event_id="i")
        assert answer.pop("pid") not in (None, os.getpid())
        assert answer == {
            "sum": 6, "double": 2, "sum3": 4, "triple": 3, "parameter": 0.5,
            "path": "/p", "method": "POST", "id": "i", "key": "",
        }  # fmt: skip
        running = {process.name for process in multiprocessing.active_children()}
        assert running >= {f"penstock-{name}" for name in routes}
    assert not multiprocessing.active_children()


def test_failures_come_back_from_processes():
    with parallel({"a": process_routes.fails, "b": process_routes.double}, executor_type="process") as server:
        with pytest.raises(StepError, match=r"failed \(500\): KeyError: 'x'") as caught:
            server.test(body={"x": 1})
        assert caught.value.step == "a"
    routes = {"a": process_routes.fails_oddly, "b": process_routes.double, "c": process_routes.unsendable}
    with parallel(routes, executor_type="process", on_error="partial") as server:
        answer = server.test(body={"x": 1})
        assert answer["double"] == 2
        assert answer["errors"]["a"] == "Unspeakable: this and that"
        assert "lambda" in answer["errors"]["c"]


def test_an_event_that_cannot_be_sent_fails_alone():
    with parallel({"a": process_routes.double}, executor_type="process") as server:
        with pytest.raises(StepError, match="route 'a': the event cannot be sent to its process"):
            server.test(body={"x": lambda: None})
        assert server.test(body={"x": 1})["double"] == 2


def test_a_process_that_ends_fails_its_event_and_the_next_gets_a_new_one():
    routes = {"a": {"class_name": process_routes.Ends}, "b": {"class_name": process_routes.Times}}
    with parallel(routes, "VotingEnsemble", executor_type="process") as server:
        for _ in range(2):
            with pytest.raises(StepError, match="route 'a': its process ended with code 3"):
                server.test("/v2/models/infer", body={"inputs": [1]})
        assert server.test("/v2/models/b/infer", body={"inputs": [1]})["outputs"] == [2]


def test_models_vote_in_processes_and_are_loaded_there_alone():
    routes = {name: {"class_name": process_routes.Times, "factor": factor} for name, factor in (("m1", 2), ("m2", 4))}
    with parallel(routes, "VotingEnsemble", executor_type="process", vote_type="regression") as server:
        assert server.test("/v2/models/infer", body={"inputs": [1, 2]})["outputs"] == [3.0, 6.0]
        assert server.test("/v2/models/m2/ready", method="GET").status_code == 200
        assert server.test("/v2/models/m1", method="GET")["name"] == "m1"
        where = {server.test(f"/v2/models/{name}/where", body={"inputs": []}) for name in routes}
        assert len(where - {os.getpid()}) == 2


def test_models_in_processes_are_known_to_the_protocol(tmp_path):
    program = """
import penstock, process_routes

fn = penstock.new_function("f")
router = fn.set_topology("router", "VotingEnsemble", executor_type="process")
router.add_route("m1:v2", class_name="process_routes.Times")
"""
    (tmp_path / "app.py").write_text(program)
    server = Served(tmp_path / "app.py", PYTHONPATH=os.pathsep.join([FOLDER, os.environ.get("PYTHONPATH", "")]))
    try:
        assert server.get("/v2/models") == (200, {"models": ["m1:v2", "VotingEnsemble"]})
        assert server.get("/v2/models/m1/versions/v2/ready") == (200, {"name": "m1", "ready": True})
        assert server.get("/v2/models/m1/versions/v2")[1]["name"] == "m1"
        assert server.post({"inputs": [1]}, "/v2/models/infer")[1]["outputs"] == [2]
        assert server.stop() == (0, "penstock: draining\n")
    finally:
        server.end()


def test_what_is_closed_ends_the_process_of_a_call_that_is_under_way(tmp_path):
    os.mkfifo(tmp_path / "begun")
    route = RouterStep().add_route("a", handler=process_routes.waits)
    process = RouteProcess(route, "a", GraphContext(), Resolver())
    process.start()
    process.wait()
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(process.do_event, Event(str(tmp_path / "begun")))
        (tmp_path / "begun").read_bytes()  # returns when the call has begun
        process.close()
        with pytest.raises(PenstockError, match="route 'a': its process ended with code -15"):
            call.result(20)
    with pytest.raises(PenstockError, match="has ended with the graph"):
        process.do_event(Event(1))


def test_what_cannot_be_sent_to_a_process_is_said_when_the_graph_is_made():
    def local(body):
        return body

    with pytest.raises(GraphError, match="route 'a' cannot be sent to a process: .*local.*; a class or function must"):
        parallel({"a": local}, executor_type="process")
    fn = penstock.new_function("f")
    fn.set_topology("router", "ParallelRun", executor_type="process").add_route("a", handler="(event)").batch(4)
    with pytest.raises(GraphError, match=r"cannot have \.batch\(\)"):
        fn.to_mock_server()


def test_a_route_that_cannot_be_made_in_its_process_is_named_and_none_is_left():
    routes = {"a": process_routes.double, "b": {"class_name": process_routes.Unloadable}}
    with pytest.raises(StepNotReady, match="route 'b' in its process: .*no such disk"):
        parallel(routes, executor_type="process")
    assert not multiprocessing.active_children()


def test_a_class_that_chooses_processes_by_itself_has_to_be_told():
    class Apart(ParallelRun):
        def __init__(self, **arguments):
            super().__init__(**arguments, executor_type="process")

    with pytest.raises(GraphError, match="say executor_type='process' where the router is added"):
        parallel({"a": process_routes.double}, Apart)


def test_a_graph_with_processes_that_nobody_closes_ends_with_the_program(run_python):
    run_python(
        f"""
import sys
sys.path.insert(0, {FOLDER!r})
import process_routes, penstock

if __name__ == "__main__":
    fn = penstock.new_function("f")
    router = fn.set_topology("router", "ParallelRun", executor_type="process")
    router.add_route("a", handler=process_routes.double)
    assert fn.to_mock_server().test(body={{"x": 1}})["double"] == 2
"""
    )


JSON = st.recursive(
    st.none() | st.integers() | st.text(max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["inputs", "id", "a"]), inner),
    max_leaves=8,
)


@given(JSON)
def test_copies_are_alike_and_share_nothing_that_can_change(body):
    def changeable(part):
        inner = part.values() if isinstance(part, dict) else part if isinstance(part, list) else ()
        found = {id(part)} if isinstance(part, (dict, list)) else set()
        return found.union(*map(changeable, inner))

    one, two = copies(body, 2)
    assert one == two == body
    assert not changeable(one) & changeable(two)
    assert not changeable(one) & changeable(body)
