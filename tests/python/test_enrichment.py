"""Routers that look features up by keys."""

import penstock
import penstock.store
import pytest
from penstock.errors import GraphError, StepError
from penstock.serving import EnrichmentModelRouter, V2ModelServer

USERS = {"ann": {"age": 31, "visits": 2}, "bob": {"age": None, "visits": 4}, "cid": {"age": 41, "visits": 6}}
URI = "store://feature-vectors/tests/enrichment"


class Sums(V2ModelServer):
    def load(self):
        self.factor = self.get_param("factor", 1)

    def predict(self, body):
        return [sum(row) * self.factor for row in body["inputs"]]


class Echoes(Sums):
    def predict(self, body):
        return body["inputs"]


def lookup(keys):
    return [USERS.get(key) for key in keys]


def router(class_name="mlrun.serving.EnrichmentModelRouter", models=("m1",), model=Echoes, **class_args):
    fn = penstock.new_function("f")
    fn.set_topology("router", class_name, **class_args)
    for number, name in enumerate(models):
        fn.add_model(name, class_name=model, model_path=".", factor=number + 1)
    return fn.to_mock_server(namespace=globals())


def ask(server, inputs, path="/v2/models/m1/infer"):
    return server.test(path, body={"inputs": inputs})["outputs"]


@pytest.mark.parametrize(
    "arguments",
    [
        {"table": USERS, "index": "user"},
        {"_table": "lookup", "index": "user", "features": ["age", "visits"]},
        {"feature_vector_uri": URI, "index": "user"},
    ],
)
def test_models_get_features_in_the_place_of_keys(arguments):
    penstock.store.register(URI, USERS)
    with router(**arguments) as server:
        assert ask(server, ["cid", {"user": "ann"}]) == [[41, 6], [31, 2]]
        assert ask(server, ["bob"], "/") == [[None, 4]]


def test_missing_values_are_imputed():
    with router(table=USERS, impute_policy={"*": "$mean", "visits": 0}) as server:
        assert ask(server, ["bob", "nobody"]) == [[36.0, 4], [36.0, 0]]


def test_a_key_without_a_row_is_404_and_named():
    with router(table=USERS, index="user") as server:
        with pytest.raises(StepError, match=r"failed \(404\): .*no row for user 'zoe'"):
            ask(server, ["ann", "zoe"])
        assert ask(server, ["ann"]) == [[31, 2]]


@pytest.mark.parametrize(
    ("inputs", "text"),
    [
        ("ann", 'Expected "inputs" to be a list of keys'),
        ([{"name": "x", "shape": [1], "datatype": "INT64", "data": [1]}], "to be plain keys"),
        ([{"id": 1}], r"inputs\[0\] has no 'user'"),
    ],
)
def test_what_is_no_key_is_400(inputs, text):
    with router(table=USERS, index="user") as server, pytest.raises(StepError, match=rf"failed \(400\): .*{text}"):
        ask(server, inputs)


def test_the_other_calls_of_a_router_work():
    with router(table=USERS) as server:
        assert server.test("/v2/models/", method="GET") == {"models": ["m1"]}
        with pytest.raises(StepError, match="Expected key"):
            server.test("/v2/models/m1/infer", body={"x": 1})


def test_ensembles_vote_on_features():
    arguments = {"vote_type": "regression", "table": USERS, "models": ("m1", "m2"), "model": Sums}
    with router("mlrun.serving.EnrichmentVotingEnsemble", **arguments) as server:
        assert ask(server, ["ann", "cid"], "/v2/models/infer") == [49.5, 70.5]
        assert ask(server, ["ann"], "/v2/models/m2/infer") == [66]


def test_in_a_flow_with_a_name_of_its_own():
    fn = penstock.new_function("f")
    flow = fn.set_topology("flow")
    step = flow.to("*EnrichmentVotingEnsemble", "voting", table=USERS, vote_type="regression")
    step.add_route("m1", class_name=Sums)
    step.respond()
    with fn.to_mock_server() as server:
        reply = server.test("/v2/models/infer", body={"inputs": ["ann"]})
        assert (reply["model_name"], reply["outputs"]) == ("voting", [33.0])


def test_a_subclass_may_add_to_the_features():
    class Adds(EnrichmentModelRouter):
        def enrich(self, keys):
            return [[*row, len(key)] for key, row in zip(keys, super().enrich(keys), strict=True)]

    with router(Adds, table=USERS) as server:
        assert ask(server, ["ann"]) == [[31, 2, 3]]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({}, "say feature_vector_uri= or table="),
        ({"table": USERS, "impute_policy": {"aeg": 1}}, "no feature 'aeg'"),
        ({"feature_vector_uri": "store://feature-vectors/tests/none"}, "is not known here"),
        ({"table": 5}, "not int"),
    ],
)
def test_what_cannot_be_looked_up_is_said_when_the_graph_is_made(arguments, text):
    with pytest.raises(GraphError, match=text):
        router(**arguments)
