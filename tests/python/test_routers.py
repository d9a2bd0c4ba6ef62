"""Routers and ensembles, with the answers that users of MLRun know."""

import threading

import numpy as np
import penstock
import pytest
from penstock.errors import GraphError, StepError
from penstock.serving import ModelRouter, V2ModelServer, VotingEnsemble


class Times(V2ModelServer):
    def load(self):
        self.factor = self.get_param("factor", 2)

    def predict(self, body):
        inputs = body["inputs"]
        return inputs * self.factor if isinstance(inputs, np.ndarray) else [row * self.factor for row in inputs]

    def explain(self, body):
        return [0 for _ in body["inputs"]]


class Failing(Times):
    def predict(self, body):
        raise KeyError("x")


def router(*models, class_name=None, **class_args):
    """Make the mock server of a router with models, each a name or a name and its arguments."""
    fn = penstock.new_function("f")
    fn.set_topology("router", class_name, **class_args)
    for model in models:
        name, arguments = model if isinstance(model, tuple) else (model, {})
        fn.add_model(name, **{"class_name": "Times", **arguments})
    return fn.to_mock_server(namespace=globals())


def ensemble(*models, **class_args):
    return router(*models, class_name="mlrun.serving.VotingEnsemble", **class_args)


@pytest.fixture
def server():
    with router("m1", "m3:v1") as running:
        yield running


@pytest.mark.parametrize("path", ["/", "/v2/health"])
def test_the_router_says_what_it_is(server, path):
    assert server.test(path, method="GET") == {"name": "ModelRouter", "version": "v2", "extensions": []}


@pytest.mark.parametrize("path", ["/v2/models/", "/v2/models"])
def test_the_router_lists_its_models(server, path):
    assert server.test(path, method="GET") == {"models": ["m1", "m3:v1"]}


def test_a_model_of_a_version_is_described(server):
    assert server.test("/v2/models/m3/versions/v1", method="GET") == {
        "name": "m3",
        "model_endpoint_uid": "",
        "inputs": [],
        "outputs": [],
    }


def test_the_path_chooses_the_model(server):
    reply = server.test("/v2/models/m1/infer", body={"id": "abc", "inputs": [1, 2]})
    assert {key: reply[key] for key in ("id", "model_name", "outputs")} == {
        "id": "abc",
        "model_name": "m1",
        "outputs": [2, 4],
    }
    assert server.test("/v2/models/m3/versions/v1/infer", body={"inputs": [1]})["model_name"] == "m3"


def test_without_an_operation_infer_is_meant(server):
    assert server.test("/v2/models/m1", body={"inputs": [1]})["outputs"] == [2]


def test_the_body_chooses_where_the_path_does_not(server):
    assert server.test("/", body={"model": "m3:v1", "inputs": [1]})["model_name"] == "m3"
    assert server.test("/", body={"model": "m1", "operation": "explain", "inputs": [1]})["outputs"] == [0]
    assert server.test("/", body={"inputs": [1]})["model_name"] == "m1"


def test_an_unknown_model_is_404_with_the_known_ones(server):
    with pytest.raises(StepError) as caught:
        server.test("/v2/models/m9/infer", body={"inputs": [1]})
    assert str(caught.value) == "failed (404): ValueError: model m9 doesnt exist, available models: m1 | m3:v1"


def test_a_path_that_is_no_models_is_404(server):
    with pytest.raises(StepError, match=r"failed \(404\): .*illegal path prefix /x, must start with /v2/models"):
        server.test("/x", body={"inputs": [1]})
    with pytest.raises(StepError, match=r"failed \(404\)"):
        server.test("/v2/modelsandmore/m1", body={"inputs": [1]})


def test_a_body_that_is_no_request_is_400(server):
    with pytest.raises(StepError) as caught:
        server.test("/", body="zzz")
    assert str(caught.value) == (
        "failed (400): ValueError: Unrecognized request format, caused by: Expecting value: line 1 column 1 (char 0)"
    )


def test_a_query_and_escapes_are_no_part_of_the_name(server):
    assert server.test("/v2/models/m%31/infer?a=b", body={"inputs": [1]})["model_name"] == "m1"


def test_an_image_is_one_input():
    class Reads(Times):
        def predict(self, body):
            return [image.read().decode() for image in body["inputs"]]

    with router(("m1", {"class_name": Reads})) as server:
        assert server.test("/v2/models/m1/infer", body=b"pixels", content_type="image/png")["outputs"] == ["pixels"]


def test_a_route_that_is_no_model_runs_as_a_step_does():
    with router(("m1", {"class_name": None, "handler": "(event['inputs'])"})) as server:
        assert server.test("/v2/models/m1/infer", body={"inputs": [1]}) == [1]


def test_hooks_of_a_router_see_events_on_their_way_in_and_out():
    class Hooked(ModelRouter):
        def preprocess(self, event):
            event.body = {"inputs": [row + 1 for row in event.body["inputs"]]}
            return event

        def postprocess(self, event):
            event.body = event.body["outputs"]
            return event

    with router("m1", class_name=Hooked) as server:
        assert server.test("/v2/models/m1/infer", body={"inputs": [1]}) == [4]


def test_a_router_may_do_its_own_routing():
    class ByKind(ModelRouter):
        def do_event(self, event):
            return self.routes[event.body.pop("kind")].run(event)

    with router("a", ("b", {"factor": 3}), class_name=ByKind) as server:
        assert server.test("/", body={"kind": "b", "inputs": [1]})["outputs"] == [3]
        assert server.test("/", body={"kind": "a", "inputs": [1]})["outputs"] == [2]


def test_its_own_routing_may_end_in_that_of_the_class():
    class Renames(ModelRouter):
        def do_event(self, event):
            event.path = event.path.replace("old", "m1")
            return super().do_event(event)

    with router("m1", class_name=Renames) as server:
        assert server.test("/v2/models/old/infer", body={"inputs": [1]})["model_name"] == "m1"
        assert server.test("/v2/models/", method="GET") == {"models": ["m1"]}


def test_a_router_in_a_flow_hands_on_what_its_route_answers():
    fn = penstock.new_function("f")
    flow = fn.set_topology("flow")
    flow.to("(event)", "a").to("*", "router", result_path="reply").to("(event['reply']['outputs'])", "z").respond()
    flow["router"].add_route("m1", class_name=Times)
    with fn.to_mock_server() as server:
        assert server.test("/v2/models/m1/infer", body={"inputs": [1]}) == [2]


def test_the_catcher_of_a_router_serves_its_routes():
    fn = penstock.new_function("f")
    flow = fn.set_topology("flow")
    flow.to("*", "router").error_handler(name="catcher", handler="(event)").to("(event['outputs'])", "z").respond()
    flow["router"].add_route("m1", class_name=Failing)
    with fn.to_mock_server() as server:
        assert server.test("/v2/models/m1/infer", body={"inputs": [1]}) == {"inputs": [1]}


def test_the_core_routes_alone_where_only_names_decide():
    plain = ModelRouter(routes={"m1": None, "m3:v1": None})
    assert plain.table == {"m1": 0, "m3:v1": 1}

    class Hooked(ModelRouter):
        def preprocess(self, event):
            return event

    assert Hooked(routes={"m1": None}).table is None
    assert ModelRouter(routes={"m1": None}, input_path="a").table is None


def test_an_ensemble_of_regressions_answers_with_the_mean():
    with ensemble("m1", "m2", vote_type="regression") as server:
        assert server.test("/v2/models/infer", body={"id": "i", "inputs": [1, 2]}) == {
            "id": "i",
            "model_name": "VotingEnsemble",
            "outputs": [2.0, 4.0],
        }


def test_an_ensemble_of_classifications_answers_with_the_majority():
    with ensemble("m1", "m2", ("m3", {"factor": 9}), vote_type="classification") as server:
        assert server.test("/v2/models/infer", body={"inputs": [1, 2, 3]})["outputs"] == [2, 4, 6]


def test_an_ensemble_lists_itself():
    with ensemble("m1", "m2") as server:
        assert server.test("/v2/models/", method="GET") == {"models": ["m1", "m2", "VotingEnsemble"], "weights": None}
        assert server.test("/v2/models/VotingEnsemble", method="GET") == {
            "name": "VotingEnsemble",
            "model_endpoint_uid": "",
            "inputs": [],
            "outputs": [],
        }
        assert server.test("/v2/models/VotingEnsemble/ready", method="GET").status_code == 200


@pytest.mark.parametrize("path", ["/", "/v2/models/infer", "/v2/models/VotingEnsemble/infer", "/v2/models/predict"])
def test_every_way_to_ask_the_whole_ensemble(path):
    with ensemble("m1", ("m2", {"factor": 4}), vote_type="regression") as server:
        assert server.test(path, body={"inputs": [1]})["outputs"] == [3.0]


def test_an_ensemble_explains():
    with ensemble("m1", "m2") as server:
        assert server.test("/v2/models/explain", body={"inputs": [1]})["outputs"] == {"m1": [0], "m2": [0]}


def test_one_model_of_an_ensemble_can_be_asked_alone():
    with ensemble("m1", ("m2", {"factor": 4})) as server:
        reply = server.test("/v2/models/m2/infer", body={"inputs": [1]})
        assert (reply["model_name"], reply["outputs"]) == ("m2", [4])
        assert server.test("/v2/models/m2/ready", method="GET").status_code == 200


def test_an_unknown_model_of_an_ensemble_is_404():
    with ensemble("a", "b") as server, pytest.raises(StepError) as caught:
        server.test("/v2/models/zz/infer", body={"inputs": [1]})
    assert str(caught.value) == (
        "failed (404): ValueError: model zz doesnt exist, available models: a | b | VotingEnsemble "
        "or an operation alone for ensemble operation"
    )


@pytest.mark.parametrize(
    ("weights", "expected"),
    [({"m1": 1, "m2": 3}, [3.5]), ({"m1": 0.1, "m2": 0.3}, [3.5]), ({"m2": 1}, [4.0]), (None, [3.0])],
)
def test_weights_need_not_add_up_to_one(weights, expected):
    with ensemble("m1", ("m2", {"factor": 4}), vote_type="regression", weights=weights) as server:
        assert server.test("/v2/models/infer", body={"inputs": [1]})["outputs"] == expected


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"weights": {"m": 1}}, "weights name a model 'm' that is no route"),
        ({"weights": {"m1": -1}}, "below 0"),
        ({"weights": {"m1": 0}}, "add up to 0"),
        ({"vote_type": "clasification"}, "vote_type is 'classification' or 'regression'"),
    ],
)
def test_an_ensemble_that_cannot_vote_is_refused(arguments, text):
    with pytest.raises(GraphError, match=text):
        ensemble("m1", "m2", **arguments)


@pytest.mark.parametrize(
    ("predictions", "expected", "kind"),
    [
        ([[1, 1, 3]], [1], "classification"),
        ([[1.0, 1.0, 3.0]], [1.0], "classification"),
        ([["cat", "dog", "dog"]], ["dog"], "classification"),
        ([[1.5, 2.5, 3.5]], [2.5], "regression"),
    ],
)
def test_the_first_predictions_tell_classes_from_numbers(predictions, expected, kind):
    voting = VotingEnsemble()
    assert voting.logic(predictions, [1 / 3] * 3) == expected
    assert voting.vote_type == kind


def test_weights_decide_a_vote():
    assert VotingEnsemble(vote_type="classification").logic([[1, 1, 3]], [0.2, 0.2, 0.6]) == [3]


def test_the_logic_may_be_ones_own():
    class Highest(VotingEnsemble):
        def logic(self, predictions, weights):
            return [max(row) for row in predictions]

    with router("m1", ("m2", {"factor": 4}), class_name=Highest) as server:
        assert server.test("/v2/models/infer", body={"inputs": [1, 2]})["outputs"] == [4, 8]


def test_an_ensemble_may_answer_with_a_named_column():
    with ensemble("m1", format_response_with_col_name_flag=True, prediction_col_name="p") as server:
        assert server.test("/v2/models/infer", body={"inputs": [1]})["outputs"] == {"p": [2]}


def test_tensors_are_voted_on_and_stay_tensors():
    tensor = {"name": "x", "shape": [2, 1], "datatype": "FP32", "data": [1.5, 2.5]}
    with ensemble("m1", ("m2", {"factor": 4}), vote_type="regression") as server:
        (output,) = server.test("/v2/models/infer", body={"inputs": [tensor]})["outputs"]
        assert (output["shape"], output["data"]) == ([2], [4.5, 7.5])


def test_a_route_that_fails_fails_the_ensemble_and_is_named():
    with ensemble("m1", ("m2", {"class_name": "Failing"})) as server:
        with pytest.raises(StepError, match=r"failed \(500\): KeyError: 'x'") as caught:
            server.test("/v2/models/infer", body={"inputs": [1]})
        assert caught.value.step == "m2"
        assert server.test("/v2/models/m1/infer", body={"inputs": [1]})["outputs"] == [2]


def test_routes_that_disagree_on_the_number_of_rows_fail():
    class Fewer(Times):
        def predict(self, body):
            return body["inputs"][1:]

    text = r"different numbers of outputs \(m1: 2, m2: 1\)"
    with ensemble("m1", ("m2", {"class_name": Fewer})) as server, pytest.raises(StepError, match=text):
        server.test("/v2/models/infer", body={"inputs": [1, 2]})


def test_routes_of_an_ensemble_cannot_change_each_others_request():
    class Spoils(Times):
        def preprocess(self, request, operation):
            request["inputs"].append(100)
            return request

        def predict(self, body):
            return body["inputs"][:1]

    with ensemble(("m1", {"class_name": Spoils}), ("m2", {"class_name": Spoils}), vote_type="regression") as server:
        body = {"inputs": [1]}
        assert server.test("/v2/models/infer", body=body)["outputs"] == [1.0]


def test_all_routes_run_at_the_same_time():
    together = threading.Barrier(3)

    class Waits(Times):
        def predict(self, body):
            together.wait(20)  # passes only if all three are here at once
            return body["inputs"]

    models = [(name, {"class_name": Waits}) for name in ("a", "b", "c")]
    with ensemble(*models) as server:
        assert server.test("/v2/models/infer", body={"inputs": [1]})["outputs"] == [1]


def test_an_ensemble_in_a_flow_carries_the_name_of_its_step():
    fn = penstock.new_function("f")
    flow = fn.set_topology("flow")
    voting = flow.to("(event)", "pre").to("*mlrun.serving.VotingEnsemble", "ensemble", vote_type="regression")
    voting.add_route("m1", class_name=Times)
    voting.add_route("m2", class_name=Times, factor=4)
    flow.add_step(handler="(event)", name="final", after="ensemble").respond()
    with fn.to_mock_server() as server:
        reply = server.test("/v2/models/infer", body={"inputs": [1, 2]})
        assert (reply["model_name"], reply["outputs"]) == ("ensemble", [3.0, 6.0])
        assert server.test("/v2/models/m2/infer", body={"inputs": [1]})["outputs"] == [4]
