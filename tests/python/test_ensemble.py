"""Ensembles, with the answers that users of MLRun know."""

import json
import threading

import numpy as np
import penstock
import pytest
from hypothesis import given
from hypothesis import strategies as st
from penstock import votes
from penstock.errors import GraphError, StepError
from penstock.serving import V2ModelServer, VotingEnsemble


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


def test_models_explain_each_for_itself():
    with ensemble("m1", "m2", format_response_with_col_name_flag=True) as server:
        for path in ("/v2/models/explain", "/v2/models/VotingEnsemble/explain"):
            reply = server.test(path, body={"id": "i", "inputs": [1]})
            assert reply == {"id": "i", "model_name": "VotingEnsemble", "outputs": {"m1": [0], "m2": [0]}}
        body = {"operation": "explain", "inputs": [1]}
        assert server.test("/", body=body)["outputs"] == {"m1": [0], "m2": [0]}


def test_an_ensemble_answers_for_its_models_by_get():
    with ensemble("m1", "m2") as server:
        assert server.test("/v2/models/m1", method="GET")["name"] == "m1"
        assert server.test("/v2/models/m1/ready", method="GET").status_code == 200
        assert server.test("/", method="GET")["name"] == "VotingEnsemble"


@pytest.mark.parametrize("executor", ["thread", "array"])
def test_those_that_answer_vote_where_that_is_wanted(executor, caplog):
    models = ["m1", ("bad", {"class_name": "Failing"}), ("m3", {"factor": 6})]
    weights = {"m1": 1, "bad": 2, "m3": 3}
    arguments = {"weights": weights, "vote_type": "regression", "executor_type": executor, "on_error": "partial"}
    with ensemble(*models, **arguments) as server:
        reply = server.test("/v2/models/infer", body={"inputs": [1]})
        assert (reply["outputs"], reply["errors"]) == ([5.0], {"bad": "KeyError: 'x'"})
    text = "only m1, m3 answered, which have no vote"
    with ensemble(*models, **arguments | {"weights": {"bad": 1}}) as server, pytest.raises(StepError, match=text):
        server.test("/v2/models/infer", body={"inputs": [1]})


@pytest.mark.parametrize("executor", ["thread", "array"])
def test_an_ensemble_in_line_answers_as_one_in_threads(executor):
    with ensemble("m1", ("m2", {"factor": 4}), vote_type="regression", executor_type=executor) as server:
        assert server.test("/v2/models/infer", body={"inputs": [1, 2]})["outputs"] == [3.0, 6.0]
        assert server.test("/v2/models/m2", body={"inputs": [1]})["outputs"] == [4]
        assert server.test("/v2/models", method="GET")["models"] == ["m1", "m2", "VotingEnsemble"]


def test_hooks_of_models_run_in_an_ensemble():
    class Hooked(Times):
        def preprocess(self, request, operation):
            return request | {"inputs": [row + 1 for row in request["inputs"]]}

        def postprocess(self, response):
            return response | {"outputs": [row + 100 for row in response["outputs"]]}

    with ensemble("m1", ("m2", {"class_name": Hooked}), vote_type="regression") as server:
        assert server.test("/v2/models/infer", body={"inputs": [1]})["outputs"] == [53.0]


def test_bad_requests_are_400_in_an_ensemble():
    with ensemble("m1", "m2") as server:
        for body in ({"x": 1}, {"inputs": 5}):
            with pytest.raises(StepError, match=r"failed \(400\): .*inputs"):
                server.test("/v2/models/infer", body=body)
        with pytest.raises(StepError, match="illegal model operation zz, method=POST"):
            server.test("/v2/models/VotingEnsemble/zz", body={"inputs": [1]})
        with pytest.raises(StepError, match=r"failed \(400\): .*data_url is not allowed here"):
            server.test("/v2/models/infer", body={"data_url": "https://example.org"})


@pytest.mark.parametrize("inputs", [[1, 2], [[1], [2]], [{"a": [1]}, {"a": [2]}]])
def test_what_a_model_does_to_its_inputs_is_its_own_affair(inputs):
    class Empties(Times):
        def predict(self, body):
            first = body["inputs"][0]
            given = json.dumps(body["inputs"])
            (first["a"] if isinstance(first, dict) else first if isinstance(first, list) else body["inputs"]).clear()
            return [given]

    with ensemble(*((name, {"class_name": Empties}) for name in ("a", "b"))) as server:
        assert server.test("/v2/models/infer", body={"inputs": inputs})["outputs"] == [json.dumps(inputs)]


def test_predictions_that_are_lists_are_voted_on_too():
    class Pairs(Times):
        def predict(self, body):
            return np.array([[row, row * self.factor] for row in body["inputs"]])

    models = [("a", {"class_name": Pairs}), ("b", {"class_name": Pairs, "factor": 4})]
    with ensemble(*models, vote_type="regression") as server:
        assert server.test("/v2/models/infer", body={"inputs": [1, 2]})["outputs"] == [[1.0, 3.0], [2.0, 6.0]]


def test_models_in_batches_vote():
    fn = penstock.new_function("f")
    voting = fn.set_topology("router", "VotingEnsemble", vote_type="regression")
    voting.add_route("m1", class_name=Times).batch(4)
    voting.add_route("m2", class_name=Times, factor=4)
    with fn.to_mock_server() as server:
        assert server.test("/v2/models/infer", body={"inputs": [1, 2]})["outputs"] == [3.0, 6.0]


def test_an_answer_without_a_list_of_outputs_is_named():
    text = "route 'm1' gave no list of outputs to vote on"
    with ensemble(("m1", {"class_name": None, "handler": "(5)"})) as server, pytest.raises(StepError, match=text):
        server.test("/v2/models/infer", body={"inputs": [1]})


def test_ensembles_may_follow_each_other():
    fn = penstock.new_function("f")
    flow = fn.set_topology("flow")
    first = flow.to("*VotingEnsemble", "first", vote_type="regression")
    first.add_route("m1", class_name=Times)
    first.add_route("m2", class_name=Times, factor=4)
    again = first.to("({'inputs': event['outputs']})", "again")
    again.to("*VotingEnsemble", "second", vote_type="regression").respond().add_route("m2", class_name=Times)
    with fn.to_mock_server() as server:
        assert server.test("/v2/models/infer", body={"inputs": [1]})["outputs"] == [6.0]
        assert server.test("/v2/models/m2/infer", body={"inputs": [1]})["outputs"] == [8]
        assert server.test("/", body={"inputs": [1]})["outputs"] == [6.0]


SHARES = st.lists(st.floats(0.01, 1), min_size=2, max_size=4)


@given(SHARES, st.data())
def test_few_votes_are_decided_as_many_are(shares, data):
    weights = [share / sum(shares) for share in shares]
    row = st.lists(st.integers(-3, 3), min_size=len(weights), max_size=len(weights))
    predictions = data.draw(st.lists(row, min_size=1, max_size=5))
    many = predictions * (votes._FEW // len(predictions) + 1)
    assert votes.majorities(predictions, weights) == votes.majorities(many, weights)[: len(predictions)]
    few = votes.means(predictions, weights)
    assert few == pytest.approx(votes.means(many, weights)[: len(predictions)], abs=1e-9)


def test_equals_go_to_the_smallest():
    assert votes.majorities([[3, 1, 2]], [0.1 + 0.2, 0.3, 0.4 - 0.1]) == [1]
    assert votes.majorities([[3, 1, 2]] * 300, [0.1 + 0.2, 0.3, 0.4 - 0.1]) == [1] * 300
    assert votes.majorities([["b", "a"]] * 300, [0.5, 0.5]) == ["a"] * 300
