"""Calls of the protocol that are no inference."""

import penstock
import pytest
from penstock.ensemble import VotingEnsemble
from penstock.frontend import EXTENSIONS, Frontend
from penstock.models import V2ModelServer

TENSOR = {"name": "x", "datatype": "FP32", "shape": [-1, 4]}


def model(name, *, ready=True):
    made = V2ModelServer(name=name, model=object())
    made.ready = ready
    made.inputs = made.outputs = [TENSOR]
    return made


class Picky(V2ModelServer):
    def load(self):
        pass

    def predict(self, body):
        if body["inputs"][0] < 0:
            raise ValueError("no")
        return body["inputs"]


@pytest.fixture
def frontend():
    models = {name: model(name) for name in ("m1", "m3:v1", "m3:v2")} | {"m4": model("m4", ready=False)}
    return Frontend("shop", models, [VotingEnsemble(name="vote")])


@pytest.mark.parametrize("path", ["/v2", "/v2/", "/v2?verbose=1"])
def test_the_server_says_what_it_is(frontend, path):
    assert frontend.get(path) == (
        200,
        {"name": "shop", "version": penstock.__version__, "extensions": EXTENSIONS},
    )
    assert "binary_tensor_data" in EXTENSIONS


def test_the_models_are_listed(frontend):
    assert frontend.get("/v2/models") == (200, {"models": ["m1", "m3:v1", "m3:v2", "m4", "vote"]})


def test_a_model_is_described(frontend):
    status, body = frontend.get("/v2/models/m1")
    assert status == 200
    assert body["inputs"] == body["outputs"] == [TENSOR]
    assert (body["name"], body["platform"]) == ("m1", "penstock")
    assert "versions" not in body


def test_a_version_knows_the_others(frontend):
    status, body = frontend.get("/v2/models/m3/versions/v2")
    assert (status, body["name"], body["versions"]) == (200, "m3", ["v1", "v2"])


def test_an_ensemble_is_described_as_a_model_is(frontend):
    status, body = frontend.get("/v2/models/vote")
    assert (status, body["name"], body["inputs"]) == (200, "vote", [TENSOR])


@pytest.mark.parametrize(
    ("path", "status", "ready"),
    [
        ("/v2/models/m1/ready", 200, True),
        ("/v2/models/m3/versions/v1/ready", 200, True),
        ("/v2/models/m4/ready", 503, False),
        ("/v2/models/vote/ready", 503, False),
    ],
)
def test_a_model_says_whether_it_is_ready(frontend, path, status, ready):
    answered, body = frontend.get(path)
    assert (answered, body["ready"]) == (status, ready)


def test_without_a_version_the_newest_is_told_of(frontend):
    assert frontend.get("/v2/models/m3")[1] == frontend.get("/v2/models/m3/versions/v2")[1]
    assert frontend.get("/v2/models/m3/versions/v7") == (
        404,
        {"error": "model m3 has no version v7, available versions: v1 | v2"},
    )


@pytest.mark.parametrize("path", ["/v2/models/m9", "/v2/models/m9/ready"])
def test_an_unknown_model_is_404_with_the_known_ones(frontend, path):
    status, body = frontend.get(path)
    assert status == 404
    assert "available models: m1 | m3:v1 | m3:v2 | m4 | vote" in body["error"]


def test_other_paths_are_not_answered(frontend):
    assert frontend.get("/metrics") is None
    assert frontend.get("/v2/models/m1/other") is None


def test_an_event_is_answered_with_the_status(frontend):
    known, unknown = penstock.Event(path="/v2/models/m1/ready"), penstock.Event(path="/v2/models/m9/ready")
    assert frontend.choose(known) == frontend.choose(unknown) == 0
    assert known.body == {"name": "m1", "ready": True}
    assert unknown.body.status_code == 404


def test_the_repository_lists_versions_apart(frontend):
    status, listed = frontend.get("/v2/repository/index")
    assert status == 200
    assert {(model["name"], model["version"], model["state"]) for model in listed} == {
        ("m1", "", "READY"),
        ("m3", "v1", "READY"),
        ("m3", "v2", "READY"),
        ("m4", "", "UNAVAILABLE"),
        ("vote", "", "UNAVAILABLE"),
    }


def test_statistics_count_calls_and_failures():
    function = penstock.new_function("shop")
    function.add_model("m1", class_name=Picky, model_path="")
    function.add_model("m2", class_name=Picky, model_path="")
    with function.to_mock_server() as server:
        for row in (1, 2, -1):
            server.test("/v2/models/m1/infer", {"inputs": [row]}, silent=True)
        compiled = server.compiled
        counted = Frontend("shop", compiled.models, compiled.routers).get("/v2/models/m1/stats")[1]["model_stats"]
        of_all = Frontend("shop", compiled.models, compiled.routers).get("/v2/models/stats")[1]["model_stats"]
    assert [(model["name"], model["inference_count"], model["execution_count"]) for model in of_all] == [
        ("m1", 2, 2),
        ("m2", 0, 0),
    ]
    assert counted[0]["inference_stats"]["success"]["count"] == 2
    assert counted[0]["inference_stats"]["fail"]["count"] == 1


def test_an_unknown_model_has_no_statistics(frontend):
    assert frontend.get("/v2/models/other/stats")[0] == 404


def test_statistics_have_every_field_of_the_protocol(frontend):
    done = frontend.get("/v2/models/m1/stats")[1]["model_stats"][0]
    assert set(done["inference_stats"]) == {
        "success", "fail", "queue", "compute_input", "compute_infer", "compute_output", "cache_hit", "cache_miss",
    }  # fmt: skip
    assert all(set(duration) == {"count", "ns"} for duration in done["inference_stats"].values())


def test_a_configuration_speaks_both_languages(frontend):
    status, config = frontend.get("/v2/models/m1/config")
    assert status == 200
    assert config["input"] == [{"name": "x", "data_type": "TYPE_FP32", "dims": [-1, 4]}]
    assert config["inputs"] == [TENSOR]
    assert (config["name"], config["max_batch_size"]) == ("m1", 0)
    assert frontend.get("/v2/models/m9/config")[0] == 404


@pytest.mark.parametrize("operation", ["infer", "generate", "generate_stream"])
def test_what_is_only_posted_says_so(frontend, operation):
    assert frontend.get(f"/v2/models/m1/{operation}") == (405, {"error": "method GET not allowed, use POST"})


def posted(frontend, path, body=None, method="POST"):
    event = penstock.Event(path=path, method=method, body=body)
    assert frontend.choose(event) == 0
    return event.body


@pytest.mark.parametrize("path", ["/v2/repository/index", "/v2/repository/mine/index"])
def test_the_index_lists_those_that_are_ready_if_asked(frontend, path):
    assert len(posted(frontend, path)) == 5
    assert len(posted(frontend, path, {})) == 5
    assert [model["name"] for model in posted(frontend, path, {"ready": True})] == ["m1", "m3", "m3"]
    assert posted(frontend, path, {"ready": "yes"}).status_code == 400
    assert posted(frontend, path, [1]).status_code == 400


@pytest.mark.parametrize("operation", ["load", "unload"])
def test_models_are_not_loaded_over_the_network(frontend, operation):
    refused = posted(frontend, f"/v2/repository/models/m1/{operation}")
    assert (refused.status_code, refused.content_type) == (501, "application/json")
    assert "not offered" in refused.body["error"]
    refused = posted(frontend, f"/v2/repository/models/m1/{operation}", method="PUT")
    assert (refused.status_code, refused.headers) == (405, {"Allow": "POST"})
    assert posted(frontend, "/v2/repository/else").status_code == 404


def test_posts_to_the_graph_are_left_alone(frontend):
    assert frontend.choose(penstock.Event(path="/v2/models/m1/infer", method="POST", body={})) == 1


def test_the_description_names_the_models(frontend):
    status, described = frontend.get("/openapi.json")
    assert status == 200
    infer = described["paths"]["/v2/models/{model}/infer"]
    assert infer["parameters"][0]["schema"]["enum"] == ["m1", "m3", "m4", "vote"]
    assert set(infer["post"]["responses"]) >= {"200", "400", "404"}
