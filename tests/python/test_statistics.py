"""What models have done: every request, execution and row is counted, whatever runs the model."""

import numpy as np
import penstock
import pytest
from penstock.serving import V2ModelServer

TENSOR = {"name": "x", "shape": [2, 2], "datatype": "FP32", "data": [1, 2, 3, 4]}


class Sums(V2ModelServer):
    def load(self):
        pass

    def predict(self, body):
        if (np.asarray(body["inputs"]) < 0).any():
            raise ValueError("below 0")
        return np.asarray(body["inputs"]).sum(axis=1)


class LateSums(Sums):
    async def predict(self, body):
        return super().predict(body)


class Hooked(Sums):
    def postprocess(self, response):
        return response


def statistics(server, name="m"):
    return server.compiled.inspection.statistics([name])["model_stats"][0]


def counts(server, name="m"):
    found = statistics(server, name)
    stats = found["inference_stats"]
    return found["inference_count"], found["execution_count"], stats["success"]["count"], stats["fail"]["count"]


@pytest.mark.parametrize("kind", [Sums, LateSums, Hooked])
@pytest.mark.parametrize("batch", [None, 8])
def test_rows_requests_and_failures_are_counted(kind, batch):
    fn = penstock.new_function("counted")
    route = fn.add_model("m", class_name=kind, model_path="")
    if batch:
        route.batch(batch)
    with fn.to_mock_server() as server:
        assert counts(server) == (0, 0, 0, 0)
        for body in ({"inputs": [[1, 2]]}, {"inputs": [TENSOR]}, {"inputs": [[1, 2], [3, 4], [5, 6]]}):
            server.test("/v2/models/m/infer", body)
        server.test("/v2/models/m/infer", {"inputs": [[-1, 2]]}, silent=True)
        assert counts(server) == (6, 3, 3, 1)
        found = statistics(server)
        assert {one["batch_size"]: one["compute_infer"]["count"] for one in found["batch_stats"]} == {1: 1, 2: 1, 3: 1}
        stats = found["inference_stats"]
        assert stats["queue"]["count"] == 4
        spent = sum(stats[phase]["ns"] for phase in ("compute_input", "compute_infer", "compute_output"))
        assert 0 < stats["compute_infer"]["ns"] < spent <= stats["success"]["ns"] + stats["fail"]["ns"]
        assert found["last_inference"] > 1.6e12


def test_what_is_no_inference_is_not_counted():
    fn = penstock.new_function("counted")
    fn.add_model("m", class_name=Sums, model_path="")
    with fn.to_mock_server() as server:
        server.test("/v2/models/m", method="GET")
        server.test("/v2/models/m/ready", method="GET")
        server.test("/v2/models/m/explain", {"inputs": [[1, 2]]}, silent=True)
        assert counts(server) == (0, 0, 0, 0)


@pytest.mark.parametrize("executor", ["thread", "array"])
def test_an_ensemble_counts_and_so_do_its_models(executor):
    fn = penstock.new_function("voting")
    router = fn.set_topology("router", "penstock.serving.VotingEnsemble", name="vote", executor_type=executor)
    router.add_route("a", class_name=Sums, model_path="")
    router.add_route("b", class_name=Hooked, model_path="")
    with fn.to_mock_server() as server:
        for _ in range(3):
            server.test("/v2/models/infer", {"inputs": [[1, 2], [3, 4]]})
        server.test("/v2/models/infer", {"inputs": [[-1, 2]]}, silent=True)
        assert counts(server, "vote") == (6, 3, 3, 1)
        assert counts(server, "a") == (6, 3, 3, 1)
        assert counts(server, "b")[:3] == (6, 3, 3)
        ensemble, model = (statistics(server, name)["inference_stats"]["success"]["ns"] for name in ("vote", "a"))
        assert ensemble >= model > 0
