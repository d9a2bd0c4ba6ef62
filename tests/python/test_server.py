"""Events through a graph: the mock server, as people test their graphs with it."""

import asyncio
import json
import threading
import types

import penstock
import pytest
from penstock.errors import DeadlineExceeded, GraphClosed, GraphError, MLRunConflictError, StepError


def inc(body):
    return body + 1


def need_x(body):
    return body["x"]


def with_context(body, context):
    return body + context.get_param("add", 0)


async def inc_later(body):
    await asyncio.sleep(0)
    return body + 1


def catch(event):
    event.body = {"error": event.error, "step": event.origin_state, "body": event.body}
    return event


class Adder:
    def __init__(self, context, name, amount=1):
        self.context, self.name, self.amount = context, name, amount

    def do(self, body):
        return body + self.amount

    def other(self, body):
        return [self.name, body]


class Eventful:
    def do_event(self, event):
        event.body = [event.id, event.path, event.method, event.key]
        return event


def serve_flow(build, engine="async", **parameters):
    """Make a function with the flow that `build` makes, and its server."""
    fn = penstock.new_function("f")
    fn.spec.parameters = parameters
    build(fn.set_topology("flow", engine=engine))
    return fn.to_mock_server(namespace=globals())


@pytest.fixture(params=["async", "sync"])
def engine(request):
    return request.param


def test_a_line_of_steps_answers_with_the_responder(engine):
    with serve_flow(lambda flow: flow.to("inc", "a").to("Adder", amount=10).to(inc, "c").respond(), engine) as server:
        assert server.test(body=5) == 17


def test_the_sync_engine_answers_with_the_last_step_without_being_told():
    with serve_flow(lambda flow: flow.to("inc", "a").to("inc", "b"), "sync") as server:
        assert server.test(body=5) == 7


@pytest.mark.parametrize(
    ("arguments", "body", "expected"),
    [
        ({"handler": "inc"}, 1, 2),
        ({"handler": inc}, 1, 2),
        ({"class_name": "inc"}, 1, 2),
        ({"handler": "(event * 3)"}, 2, 6),
        ({"class_name": "(event * 3)"}, 2, 6),
        ({"handler": "json.dumps"}, [1], "[1]"),
        ({"class_name": "json.dumps"}, [1], "[1]"),
        ({"handler": json.dumps, "indent": 0}, [1], "[\n1\n]"),
        ({"class_name": "Adder"}, 1, 2),
        ({"class_name": "Adder", "amount": 5}, 1, 6),
        ({"class_name": Adder, "amount": 5}, 1, 6),
        ({"class_name": Adder(None, "x", 7)}, 1, 8),
        ({"class_name": "Adder", "handler": "other", "name": "named"}, 1, ["named", 1]),
        ({"handler": "with_context"}, 1, 101),
        ({"handler": "inc_later"}, 1, 2),
        ({"class_name": "storey.Map", "_fn": "(event + 2)"}, 1, 3),
        ({"class_name": "storey.Map", "_fn": "inc"}, 1, 2),
        ({"class_name": "storey.Extend", "_fn": '({"tag": "something"})'}, {"a": 1}, {"a": 1, "tag": "something"}),
        ({"class_name": "storey.FlatMap", "_fn": "(event)"}, [3, 4], 3),
        ({"class_name": "storey.Filter", "_fn": "(event > 3)"}, 5, 5),
        ({"class_name": "storey.Filter", "_fn": "(event > 3)"}, 2, None),
    ],
)
def test_every_way_to_say_what_a_step_runs(arguments, body, expected):
    with serve_flow(lambda flow: flow.to(**arguments).respond(), add=100) as server:
        assert server.test(body=body) == expected


def test_names_are_found_in_the_namespace_that_is_given():
    fn = penstock.new_function("f")
    fn.set_topology("flow").to("special").respond()
    with fn.to_mock_server(namespace=types.SimpleNamespace(special=lambda body: ["special", body])) as server:
        assert server.test(body=1) == ["special", 1]


def test_names_are_found_in_the_module_of_the_caller():
    fn = penstock.new_function("f")
    fn.set_topology("flow").to("inc").respond()
    with fn.to_mock_server() as server:
        assert server.test(body=1) == 2


def test_a_class_gets_the_context():
    seen = {}

    class Looks:
        def __init__(self, context):
            seen.update(vars(context), param=context.get_param("limit", 0), response=context.Response)

        def do(self, body):
            return body

    with serve_flow(lambda flow: flow.to(Looks, "look").respond(), limit=3) as server:
        assert seen["param"] == 3
        assert seen["is_mock"] is True
        assert seen["current_function"] == "*"
        assert seen["verbose"] is False
        assert seen["root"] is server.graph
        assert seen["server"] is server
        assert seen["response"] is penstock.Response


def test_the_logger_takes_facts_as_keyword_arguments(caplog):
    def logs(body, context):
        context.logger.warning("my message", some_arg=body)
        return body

    with serve_flow(lambda flow: flow.to(logs).respond()) as server:
        server.test(body="text")
    assert "my message (some_arg='text')" in caplog.text


def test_full_event_steps_get_and_return_the_event():
    with serve_flow(lambda flow: flow.to("Eventful").respond()) as server:
        assert server.test("/p", body=1, event_id="7")[:3] == ["7", "/p", "POST"]


def test_headers_of_mlrun_set_id_and_path():
    with serve_flow(lambda flow: flow.to("Eventful").respond()) as server:
        assert server.test(body=1, headers={"MLRUN-EVENT-ID": "77", "Mlrun-Event-Path": "/q"})[:3] == [
            "77",
            "/q",
            "POST",
        ]


@pytest.mark.parametrize(("body", "method"), [(None, "GET"), ("", "GET"), (5, "POST"), ({"a": 1}, "POST")])
def test_the_method_is_post_if_there_is_a_body(body, method):
    with serve_flow(lambda flow: flow.to("Eventful").respond()) as server:
        assert server.test(body=body)[2] == method


def test_input_path_and_result_path_choose_parts_of_the_body():
    def build(flow):
        flow.to("inc", input_path="a.b", result_path="y.z").respond()

    with serve_flow(build) as server:
        assert server.test(body={"a": {"b": 1}}) == {"a": {"b": 1}, "y": {"z": 2}}


@pytest.mark.parametrize(
    ("body", "content_type", "expected"),
    [
        ('{"a": 1}', None, {"a": 1}),
        (b"[1, 2]", None, [1, 2]),
        ("plain", None, "plain"),
        ('{"a": 1}', "text/plain", '{"a": 1}'),
        ('{"a": 1}', "application/json; charset=utf-8", {"a": 1}),
    ],
)
def test_text_is_read_as_json_where_that_is_meant(body, content_type, expected):
    with serve_flow(lambda flow: flow.to("(event)").respond()) as server:
        assert server.test(body=body, content_type=content_type) == expected


def test_a_body_that_is_not_the_json_it_says_is_400():
    with serve_flow(lambda flow: flow.to("(event)").respond()) as server, pytest.raises(StepError) as caught:
        server.test(body="{x", content_type="application/json")
    assert str(caught.value) == (
        "failed (400): failed to json decode event, "
        "Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"
    )


def test_a_failing_step_is_named_and_its_exception_kept(engine):
    with serve_flow(lambda flow: flow.to("(event)", "ok").to("need_x", "look").respond(), engine) as server:
        with pytest.raises(StepError) as caught:
            server.test(body={})
        assert str(caught.value) == "failed (500): KeyError: 'x'"
        assert caught.value.step == "look"
        assert type(caught.value.__cause__) is KeyError
        assert server.test(body={"x": 7}) == 7


def test_silent_returns_the_failure():
    with serve_flow(lambda flow: flow.to("inc").respond()) as server:
        response = server.test(silent=True)
        assert response.status_code == 500
        assert response.body == "TypeError: unsupported operand type(s) for +: 'NoneType' and 'int'"
        assert response.content_type == "text/plain"


def test_a_status_that_a_step_raises_is_the_status():
    def conflicts(body):
        raise MLRunConflictError("twice")

    text = r"failed \(409\): MLRunConflictError: twice"
    with serve_flow(lambda flow: flow.to(conflicts).respond()) as server, pytest.raises(StepError, match=text):
        server.test(body=1)


def test_a_response_that_a_step_returns_is_the_answer():
    def answers(body, context):
        return context.Response(body=f"is {body}", status_code=body)

    with serve_flow(lambda flow: flow.to(answers).respond()) as server:
        assert server.test(body=201).body == "is 201"
        with pytest.raises(StepError, match=r"failed \(418\): is 418"):
            server.test(body=418)
        assert server.test(body=418, silent=True).status_code == 418


def test_get_body_false_returns_a_response():
    with serve_flow(lambda flow: flow.to("(event)").respond()) as server:
        response = server.test(body={"a": 1}, get_body=False)
        assert (response.body, response.status_code) == ({"a": 1}, 200)


def test_without_a_responder_the_answer_is_the_id_of_the_event():
    seen = []
    with serve_flow(lambda flow: flow.to(seen.append, "keep")) as server:
        assert server.test(body=1, event_id="e1") == {"id": "e1"}
    assert seen == [1]


def test_without_a_responder_a_failure_is_no_answer():
    with serve_flow(lambda flow: flow.to("need_x")) as server:
        assert server.test(body={"a": 1}, event_id="e1") == {"id": "e1"}


def test_branches_get_bodies_of_their_own_and_meet_again():
    seen = []

    def build(flow):
        start = flow.to("(event)", "start").respond()
        start.to(lambda body: body.append("a") or body, "a")
        start.to(lambda body: body.append("b") or body, "b")
        flow.add_step(handler=seen.append, name="end", after=["a", "b"])

    with serve_flow(build) as server:
        assert server.test(body=["x"]) is not None
    assert sorted(seen) == [["x", "a"], ["x", "b"]]


def test_an_event_of_the_user_gets_through_a_queue_in_memory():
    def build(flow):
        flow.to("inc", "a").to(">>", "q", path="").to("inc", "b").respond()

    with serve_flow(build) as server:
        assert server.test(body=1) == 3


def test_a_catcher_answers_with_what_it_makes_of_the_event():
    def build(flow):
        flow.to("need_x", "look").error_handler("catcher").to("inc", "z").respond()
        flow.add_step(handler="catch", name="catcher", full_event=True, after="")

    with serve_flow(build) as server:
        assert server.test(body={"y": 1}) == {"error": "KeyError: 'x'", "step": "look", "body": {"y": 1}}
        assert server.test(body={"x": 1}) == 2


def test_steps_may_follow_a_catcher():
    def build(flow):
        flow.to("need_x", "look").error_handler(name="catcher", handler="(['caught', event])").respond()
        flow["catcher"].to("(event + ['logged'])", "log")

    with serve_flow(build) as server:
        assert server.test(body={"y": 1}) == ["caught", {"y": 1}, "logged"]


def test_the_catcher_of_the_graph_serves_every_step():
    def build(flow):
        flow.to("(event)", "a").to("need_x", "look").respond()
        flow.error_handler(name="catcher", handler="catch", full_event=True)

    with serve_flow(build) as server:
        assert server.test(body={"y": 1})["step"] == "look"


def test_a_catcher_that_fails_fails_the_event():
    def build(flow):
        flow.to("need_x", "look").error_handler(name="catcher", handler="(event['z'])").respond()

    with serve_flow(build) as server:
        with pytest.raises(StepError, match="'z'") as caught:
            server.test(body={"y": 1})
        assert caught.value.step == "catcher"
        assert server.test(body={"x": 1}) == 1


def test_a_handler_of_batches_gets_lists_and_gives_lists():
    sizes = []

    def twice(bodies):
        sizes.append(len(bodies))
        return [ValueError("odd") if body % 2 else body * 2 for body in bodies]

    with serve_flow(lambda flow: flow.to(twice).batch(4).respond()) as server:
        assert server.test(body=2) == 4
        with pytest.raises(StepError, match=r"failed \(500\): ValueError: odd"):
            server.test(body=3)
    assert sizes == [1, 1]


def test_a_server_that_was_waited_for_takes_no_events():
    server = serve_flow(lambda flow: flow.to("inc").respond())
    assert server.test(body=1) == 2
    server.wait_for_completion()
    with pytest.raises(GraphClosed):
        server.test(body=1)
    assert server.test(body=1, silent=True).status_code == 503


def test_many_threads_may_test_at_once():
    answers = {}
    with serve_flow(lambda flow: flow.to("inc", "a").to("inc_later", "b").respond()) as server:

        def ask(number):
            answers[number] = [server.test(body=number + place) for place in range(20)]

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    assert answers == {number: [number + place + 2 for place in range(20)] for number in range(5)}


def test_requests_to_a_coroutine_wait_together():
    together = asyncio.Semaphore(0)
    waiting = []

    async def waits(body):
        waiting.append(body)
        if len(waiting) == 5:  # the last of five lets all go: passes only if all five are in flight at once
            for _ in range(5):
                together.release()
        await together.acquire()
        return body

    with serve_flow(lambda flow: flow.to(waits).respond()) as server:
        answers = []
        threads = [
            threading.Thread(target=lambda body=body: answers.append(server.test(body=body))) for body in range(1, 6)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    assert sorted(answers) == [1, 2, 3, 4, 5]


async def waits_for_ever(body):
    await asyncio.get_running_loop().create_future()


def test_a_step_that_takes_too_long_is_504_and_named():
    server = serve_flow(lambda flow: flow.to(waits_for_ever, "slow").timeout(0.05).respond())
    with pytest.raises(DeadlineExceeded) as caught:
        server.test(body=1)
    server.close()  # no drain: the coroutine would hold it up
    assert (caught.value.step, caught.value.status_code) == ("slow", 504)


def test_an_event_whose_deadline_passes_is_504():
    server = serve_flow(lambda flow: flow.to(waits_for_ever, "slow").respond())
    response = server.test(body=1, timeout=0.05, silent=True)
    server.close()
    assert response.status_code == 504


def test_a_handler_that_waits_for_its_own_step_fails_at_once():
    servers = []

    def asks_itself(body):
        return servers[0].test(body=body)

    with serve_flow(lambda flow: flow.to(asks_itself, "loop").respond()) as server:
        servers.append(server)
        with pytest.raises(StepError) as caught:
            server.test(body=1)
        assert caught.value.step == "loop"


def test_a_side_branch_that_fails_does_not_answer(caplog):
    def build(flow):
        start = flow.to("(event)", "start")
        start.to("need_x", "side")
        start.to("inc", "z").respond()

    with serve_flow(build) as server:
        assert server.test(body=1) == 2
    assert "step 'side' failed" in caplog.text


def test_a_server_can_be_made_without_a_function():
    graph = {"kind": "root", "steps": {"a": {"handler": "(event + 1)", "responder": True}}}
    with penstock.create_graph_server(graph=graph) as server:
        assert server.test(body=1) == 2


def test_a_server_without_a_function_looks_names_up_where_it_is_told():
    graph = {"kind": "root", "steps": {"a": {"handler": "inc", "responder": True}}}
    server = penstock.create_graph_server(graph=graph, parameters={"p": 1})
    server.init_states(namespace=globals())
    server.init_object()
    with server:
        assert server.test(body=1) == 2
        assert server.context.get_param("p") == 1


def test_a_function_name_is_made_fit_or_refused():
    assert penstock.new_function("My_Function").metadata.name == "my-function"
    with pytest.raises(GraphError, match="function name"):
        penstock.new_function("not/good")
    with pytest.raises(GraphError, match="no kind of function 'job'"):
        penstock.new_function("f", kind="job")
