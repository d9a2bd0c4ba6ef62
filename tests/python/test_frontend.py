"""Calls of the protocol that are no inference."""

import penstock
import pytest
from penstock.ensemble import VotingEnsemble
from penstock.frontend import Frontend
from penstock.models import V2ModelServer

TENSOR = {"name": "x", "datatype": "FP32", "shape": [-1, 4]}


def model(name, *, ready=True):
    made = V2ModelServer(name=name, model=object())
    made.ready = ready
    made.inputs = made.outputs = [TENSOR]
    return made


@pytest.fixture
def frontend():
    models = {name: model(name) for name in ("m1", "m3:v1", "m3:v2")} | {"m4": model("m4", ready=False)}
    return Frontend("shop", models, [VotingEnsemble(name="vote")])


@pytest.mark.parametrize("path", ["/v2", "/v2/", "/v2?verbose=1"])
def test_the_server_says_what_it_is(frontend, path):
    assert frontend.get(path) == (200, {"name": "shop", "version": penstock.__version__, "extensions": []})


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


@pytest.mark.parametrize("path", ["/v2/models/m9", "/v2/models/m9/ready", "/v2/models/m3"])
def test_an_unknown_model_is_404_with_the_known_ones(frontend, path):
    status, body = frontend.get(path)
    assert status == 404
    assert "available models: m1 | m3:v1 | m3:v2 | m4 | vote" in body["error"]


def test_other_paths_are_not_answered(frontend):
    assert frontend.get("/metrics") is None
    assert frontend.get("/v2/models/m1/stats") is None


def test_an_event_is_answered_with_the_status(frontend):
    known, unknown = penstock.Event(path="/v2/models/m1/ready"), penstock.Event(path="/v2/models/m9/ready")
    assert frontend.choose(known) == frontend.choose(unknown) == 0
    assert known.body == {"name": "m1", "ready": True}
    assert unknown.body.status_code == 404
