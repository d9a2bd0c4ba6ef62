"""The model runner: what its models get and give, how they fail, how they are chosen."""

import threading
from concurrent.futures import ThreadPoolExecutor

import penstock
import pytest
import runner_models
from penstock.errors import (
    GraphError,
    MLRunInvalidArgumentError,
    ModelNotRunnable,
    ModelRunnerError,
    StepError,
    StepNotReady,
)
from penstock.graph import graph_from_dict
from penstock.serving import GraphServer, Model, ModelRunnerStep, ModelSelector
from runner_models import ByName, FromFile, Increment, Loaded, Meet, NoPredict, Rows, Times, Unloadable

MECHANISMS = ["process_pool", "dedicated_process", "thread_pool", "asyncio", "naive"]


def served(runner, engine="async", parameters=None, **options):
    fn = penstock.new_function("runner")
    fn.spec.parameters.update(parameters or {})
    fn.set_topology("flow", engine=engine).to(runner, **options).respond()
    return fn.to_mock_server(namespace=runner_models)


def runner_of(*models, **options):
    runner = ModelRunnerStep("runner", **options)
    for number, (model, mechanism, arguments) in enumerate(models):
        runner.add_model(f"m{number}", model, mechanism, **arguments)
    return runner


@pytest.mark.parametrize("engine", ["async", "sync"])
@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_the_result_of_an_only_model_is_the_body(mechanism, engine):
    with served(runner_of((Times, mechanism, {"factor": 2})), engine) as server:
        assert server.test(body=4) == 8
        assert server.test(body=[1, 2]) == [1, 2, 1, 2]


def test_several_models_answer_by_name_whatever_runs_them():
    runner = runner_of(*[("Times", mechanism, {"factor": number}) for number, mechanism in enumerate(MECHANISMS)])
    with served(runner) as server:
        assert server.test(body=5) == {"m0": 0, "m1": 5, "m2": 10, "m3": 15, "m4": 20}


def test_each_model_has_a_body_of_its_own():
    mechanisms = [mechanism for mechanism in MECHANISMS if mechanism != "asyncio"]
    with served(runner_of(*[(Increment, mechanism, {}) for mechanism in mechanisms])) as server:
        assert server.test(body={"n": 1}) == {f"m{number}": {"n": 2} for number in range(4)}


def test_models_share_a_body_where_the_step_does_not_copy():
    runner = runner_of((Increment, "naive", {}), (Increment, "naive", {})).copy(False)
    with served(runner) as server:
        assert server.test(body={"n": 1}) == {"m0": {"n": 3}, "m1": {"n": 3}}


def test_paths_say_where_in_the_body_the_models_look_and_write():
    with served(runner_of((Times, "thread_pool", {"factor": 3})), input_path="a.b", result_path="c") as server:
        assert server.test(body={"a": {"b": 2}}) == {"a": {"b": 2}, "c": 6}


def test_the_models_of_one_event_run_at_the_same_time():
    with served(
        runner_of((Meet, "thread_pool", {}), (Meet, "thread_pool", {})), parameters={"barrier": threading.Barrier(2)}
    ) as server:
        assert server.test(body=1) == {"m0": 1, "m1": 1}


def test_no_event_waits_for_another_one():
    with (
        served(runner_of((Meet, "thread_pool", {})), parameters={"barrier": threading.Barrier(4)}) as server,
        ThreadPoolExecutor(4) as callers,
    ):
        assert list(callers.map(lambda number: server.test(body=number), range(4))) == [0, 1, 2, 3]


def test_models_in_line_run_on_the_callers_thread_and_beside_others_on_one():
    with served(runner_of((Loaded, "naive", {}))) as server:
        assert server.test(body=0)["thread"] == threading.get_ident()
    with served(runner_of((Loaded, "naive", {}), (Loaded, "naive", {}), (Times, "asyncio", {}))) as server:
        threads = {server.test(body=0)[name]["thread"] for name in ("m0", "m1") for _ in range(3)}
    assert len(threads) == 1
    assert threads.isdisjoint({threading.get_ident()})


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_a_failing_model_fails_the_event(mechanism):
    with served(runner_of((Times, mechanism, {}), ("Times", "naive", {}))) as server:
        with pytest.raises(StepError) as caught:
            server.test(body="fail")
        assert str(caught.value) == (
            "failed (500): ModelRunnerError: m0 TypeError: no number;\nm1 TypeError: no number"
        )
        assert caught.value.step == "runner"
        assert isinstance(caught.value.__cause__, ModelRunnerError)
        assert caught.value.__cause__.models_errors == {"m0": "TypeError: no number", "m1": "TypeError: no number"}
        assert isinstance(caught.value.__cause__.__cause__, TypeError)
        assert server.test(body=1) == {"m0": 1, "m1": 1}


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_a_status_that_a_model_asks_for_is_kept(mechanism):
    with served(runner_of((Times, mechanism, {}))) as server, pytest.raises(StepError, match="not this one") as caught:
        server.test(body="refuse")
    assert caught.value.status_code == 400


def test_failures_are_told_in_the_body_where_the_step_does_not_raise():
    told = {"error": "TypeError: no number"}
    with served(runner_of((Times, "thread_pool", {}), raise_exception=False)) as server:
        assert server.test(body="fail") == told
    with served(runner_of((Times, "asyncio", {}), (Rows, "naive", {}), raise_exception=False)) as server:
        assert server.test(body="fail") == {"m0": told, "m1": ["fail", "alone"]}


def test_a_model_says_for_itself_that_it_does_not_raise():
    runner = runner_of((Times, "naive", {"raise_exception": False}), (Rows, "naive", {}))
    with served(runner) as server:
        assert server.test(body="fail")["m0"] == {"error": "TypeError: no number"}


def test_the_event_knows_what_ran():
    def tell(event):
        event.body = event._metadata
        return event

    fn = penstock.new_function("runner")
    flow = fn.set_topology("flow").to(runner_of((Times, "naive", {}), (Times, "naive", {})))
    flow.to(name="look", handler=tell, full_event=True).respond()
    with fn.to_mock_server() as server:
        facts = server.test(body=3)
    assert facts["model_runner_name"] == "runner"
    assert facts["inputs"] == 3
    assert facts["selected_models"] == ["m0", "m1"]
    assert facts["m1"]["microsec"] >= 0
    assert facts["m1"]["when"].endswith("+00:00")


def test_a_selector_chooses_models_and_their_order_is_the_steps():
    models = [(Times, "naive", {"factor": number}) for number in range(3)]
    with served(runner_of(*models, model_runner_selector=ByName)) as server:
        assert list(server.test(body={"models": []}) or ["nothing"]) == ["nothing"]
        assert server.test(body=4) == {"m0": 0, "m1": 4, "m2": 8}
        with pytest.raises(StepError, match="the selector chose 'm7', which is no model of this step"):
            server.test(body={"models": ["m7"]})


@pytest.mark.parametrize("mechanism", ["naive", "thread_pool"])
def test_an_event_that_no_model_gets_is_filtered_out_at_once(mechanism):
    with served(runner_of((Times, mechanism, {}), model_runner_selector="ByName")) as server:
        assert server.test(body={"models": []}) is None
        assert server.test(body=1) == 1


def test_one_selected_of_several_still_answers_by_name():
    class Last(ModelSelector):
        def select(self, event, available_models):
            return available_models[-1:]

    with served(runner_of((Times, "naive", {}), (Times, "naive", {}), model_selector=Last())) as server:
        assert server.test(body=2) == {"m1": 2}


def test_a_selector_chooses_the_steps_that_follow():
    fn = penstock.new_function("runner")
    runner = runner_of((Rows, "naive", {}), (Rows, "naive", {}), model_runner_selector=ByName)
    flow = fn.set_topology("flow")
    flow.to(runner)
    flow.add_step(name="left", handler=lambda body: ["left", sorted(body)], after="runner")
    flow.add_step(name="right", handler=lambda body: ["right", sorted(body)], after="runner")
    flow.add_step(name="end", handler=lambda body: body, after=["left", "right"]).respond()
    with fn.to_mock_server() as server:
        assert server.test(body={"models": ["m0", "m1"]}) == ["left", ["m0", "m1"]]
        assert server.test(body={"models": ["m0"]}) == ["left", ["m0"]]
        assert server.test(body={"models": ["m1"]})[1] == ["m1"]


def test_a_list_is_given_to_a_model_in_its_form_of_a_batch():
    with served(runner_of((Rows, "naive", {}))) as server:
        assert server.test(body=[7, 8]) == [[7, 2], [8, 2]]


def test_a_list_of_events_comes_back_as_events_with_bodies_of_their_own():
    fn = penstock.new_function("runner")
    flow = fn.set_topology("flow")
    flow.to(name="pack", handler=lambda body: [penstock.Event(body=row, key=row) for row in body])
    flow.add_step(runner_of((Rows, "naive", {}), (Rows, "thread_pool", {})), after="pack")
    flow.add_step(name="show", handler=lambda rows: [(row.key, row.body) for row in rows], after="runner").respond()
    with fn.to_mock_server() as server:
        assert server.test(body=["a", "b"]) == [
            ("a", {"m0": ["a", 2], "m1": ["a", 2]}),
            ("b", {"m0": ["b", 2], "m1": ["b", 2]}),
        ]
        with pytest.raises(StepError, match="m0 was given a batch of 1 and returned no list of as many results"):
            server.test(body=["short"])


@pytest.mark.parametrize("mechanism", ["naive", "thread_pool"])
def test_the_step_batches_events_of_several_callers(mechanism):
    runner = runner_of((Rows, mechanism, {}))
    with served(runner.batch(max_size=4, max_delay=30.0)) as server, ThreadPoolExecutor(4) as callers:
        answers = list(callers.map(lambda number: server.test(body=number), range(4)))
    assert answers == [[number, 4] for number in range(4)]


def test_a_selector_and_a_batch_do_not_go_together():
    runner = runner_of((Rows, "naive", {}), model_runner_selector=ByName).batch(max_size=4)
    with pytest.raises(GraphError, match=r"step 'runner': a selector looks at one event, so it cannot have .batch()"):
        served(runner)


def test_models_are_loaded_when_the_graph_is_made():
    with pytest.raises(StepNotReady, match="model 'm0': failed to load: KeyError: 'weights'"):
        served(runner_of((Unloadable, "naive", {})))


@pytest.mark.parametrize("mechanism", ["naive", "process_pool"])
def test_a_model_finds_the_files_of_its_artifact(mechanism, tmp_path):
    (tmp_path / "model.json").write_text("[7]")
    (tmp_path / "notes.txt").write_text("")
    with served(runner_of((FromFile, mechanism, {"model_artifact": str(tmp_path)}))) as server:
        assert server.test(body=1) == [7, ["notes.txt"]]


@pytest.mark.parametrize(("mechanism", "method"), [("thread_pool", "predict"), ("asyncio", "predict_async")])
def test_a_model_without_the_method_for_its_mechanism_is_refused(mechanism, method):
    text = f"m0 is running with {mechanism} execution_mechanism but {method}\\(\\) is not implemented"
    with pytest.raises(ModelNotRunnable, match=text) as caught:
        served(runner_of((NoPredict, mechanism, {})))
    assert isinstance(caught.value, ModelRunnerError)
    assert isinstance(caught.value, GraphError)


def test_an_async_predict_needs_the_name_of_one():
    class Wrong(Model):
        async def predict(self, body):
            return body

    with pytest.raises(GraphError, match="name it predict_async and use execution_mechanism='asyncio'"):
        served(runner_of((Wrong, "thread_pool", {})))


def test_a_model_object_runs_as_it_is():
    runner = ModelRunnerStep("runner")
    runner.add_model("mine", Times("mine", factor=6), "thread_pool")
    with served(runner) as server:
        assert server.test(body=2) == 12


def test_close_ends_the_models_that_run_here():
    class Closing(Times):
        closed = 0

        def close(self):
            type(self).closed += 1

    with served(runner_of((Closing, "thread_pool", {}), (Closing, "naive", {}))) as server:
        assert server.test(body=1) == {"m0": 1, "m1": 1}
    assert Closing.closed == 2


def test_shared_models_run_for_the_endpoints_of_several_steps():
    fn = penstock.new_function("shared")
    graph = fn.set_topology("flow")
    graph.add_shared_model("one", Loaded, "dedicated_process")
    graph.add_shared_model("two", Times, "naive", factor=5)
    first, second = ModelRunnerStep("first"), ModelRunnerStep("second")
    first.add_shared_model_proxy("a", shared_model_name="one")
    second.add_shared_model_proxy("b", shared_model_name="one")
    first.add_shared_model_proxy("c", shared_model_name="two")
    graph.to(first)
    graph.add_step(second, after="first")
    graph.add_step(name="end", handler=lambda body: body, after="second").respond()
    seen = []
    graph.add_step(name="seen", handler=seen.append, after="first")
    with fn.to_mock_server() as server:
        answer = server.test(body=3)
    assert seen[0]["c"] == 15
    assert seen[0]["a"]["loaded"] == answer["loaded"] == answer["ran"]


def test_a_proxy_of_no_shared_model_is_refused():
    runner = ModelRunnerStep("runner")
    runner.add_shared_model_proxy("a", shared_model_name="one")
    with pytest.raises(GraphError, match="model 'a': the graph has no shared model 'one'; add it with"):
        served(runner)


def test_a_graph_that_was_written_down_runs_as_before():
    runner = runner_of(
        ("Times", "thread_pool", {"factor": 2, "labels": {"a": "b"}}),
        (Times("m1", factor=3), "naive", {}),
        model_runner_selector=ByName,
        raise_exception=False,
    )
    runner.configure_pool_resource(max_processes=1, max_threads=2, pool_factor=3)
    runner.add_shared_model_proxy("s", shared_model_name="shared")
    graph = penstock.new_function("written").set_topology("flow")
    graph.add_shared_model("shared", "Times", "naive", factor=7)
    graph.configure_shared_pool_resource(max_threads=4)
    graph.to(runner).respond()
    written = graph.to_dict()
    assert written["steps"]["runner"]["class_args"]["models"]["m1"] == ["runner_models.Times", {"factor": 3}]
    read = graph_from_dict(written)
    assert read.to_dict() == written
    server = GraphServer(read)
    server.init_states(None, runner_models)
    with server:
        assert server.test(body=1) == {"m0": 2, "m1": 3, "s": 7}
        assert server.test(body="fail")["m0"] == {"error": "TypeError: no number"}


class TestWrongUse:
    """What is refused, and in which words."""

    def test_a_name_that_is_taken(self):
        runner = runner_of((Times, "naive", {}))
        with pytest.raises(GraphError, match="Model with name m0 already exists in this ModelRunnerStep."):
            runner.add_model("m0", Times, "naive")
        runner.add_model("m0", Times, "naive", override=True, factor=9)
        with served(runner) as server:
            assert server.test(body=1) == 9

    def test_an_endpoint_of_another_step_or_router(self):
        graph = penstock.new_function("names").set_topology("flow")
        graph.to(runner_of((Times, "naive", {})))
        second = ModelRunnerStep("second")
        graph.add_step(second, after="runner")
        with pytest.raises(GraphError, match=r"The graph already contains the model endpoints named - \['m0'\]."):
            second.add_model("m0", Times, "naive")

    def test_an_endpoint_of_another_step_that_joined_later(self):
        fn = penstock.new_function("names")
        graph = fn.set_topology("flow")
        graph.to("*", name="router").add_route("m0", class_name="V2ModelServer", model=1)
        graph.add_step(runner_of((Times, "naive", {})), after="router").respond()
        with pytest.raises(GraphError, match=r"The graph already contains the model endpoints named - \['m0'\]."):
            fn.to_mock_server()

    def test_a_mechanism_that_is_none(self):
        text = "one of process_pool, dedicated_process, thread_pool, asyncio, shared_executor, naive, not 'threads'"
        with pytest.raises(ValueError, match=text):
            runner_of((Times, "threads", {}))

    def test_a_model_object_with_arguments_or_another_name(self):
        with pytest.raises(MLRunInvalidArgumentError, match="model 'm0': a Times object is made already"):
            runner_of((Times("m0"), "naive", {"factor": 2}))
        with pytest.raises(MLRunInvalidArgumentError, match="Inconsistent name for model added to ModelRunnerStep."):
            runner_of((Times("other"), "naive", {}))

    def test_a_class_that_is_no_model(self):
        with pytest.raises(GraphError, match="model 'm0': model_class is a subclass of penstock.serving.Model"):
            runner_of((dict, "naive", {}))
        with pytest.raises(GraphError, match="a V2ModelServer goes into a router"):
            served(runner_of(("V2ModelServer", "naive", {})))
        with pytest.raises(GraphError, match="there is no model class 'Tims'; did you mean 'Times'"):
            served(runner_of(("Tims", "naive", {})))

    def test_a_runner_without_models(self):
        with pytest.raises(GraphError, match="step 'runner' has no models: add some with add_model"):
            served(ModelRunnerStep("runner"))

    def test_a_runner_in_a_router(self):
        fn = penstock.new_function("router")
        fn.set_topology("router").add_route("runner", runner_of((Times, "naive", {})))
        with pytest.raises(GraphError, match="ModelRunnerStep can be added to 'Flow' topology graph only"):
            fn.to_mock_server()

    def test_selectors_that_do_not_fit(self):
        with pytest.raises(GraphError, match="model_selector is the old name of model_runner_selector"):
            ModelRunnerStep("runner", model_runner_selector=ByName, model_selector=ByName)
        with pytest.raises(MLRunInvalidArgumentError, match="a selector object is made already"):
            ModelRunnerStep("runner", model_runner_selector=ByName(), model_runner_selector_parameters={"a": 1})
        with pytest.raises(GraphError, match="step 'runner': dict is no selector, it has no select_models"):
            served(runner_of((Times, "naive", {}), model_runner_selector=dict))

    def test_an_artifact_uri_that_is_no_text(self):
        with pytest.raises(MLRunInvalidArgumentError, match="model 'm': artifact_uri is text, not of type int"):
            Model("m", artifact_uri=3)

    def test_shared_and_other_mechanisms_mixed_up(self):
        with pytest.raises(GraphError, match="shared_executor and shared_model_name go together"):
            runner_of((Times, "shared_executor", {}))
        graph = penstock.new_function("shared").set_topology("flow")
        with pytest.raises(GraphError, match="shared model 'm': shared_executor is for the endpoints that use it"):
            graph.add_shared_model("m", Times, "shared_executor")
        graph.add_shared_model("m", Times, "naive")
        with pytest.raises(GraphError, match="there is a shared model named 'm' already"):
            graph.add_shared_model("m", Times, "naive")
