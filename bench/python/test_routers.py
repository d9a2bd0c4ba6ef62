"""Routers: what choosing a model, asking four of them, and making one answer of theirs cost a call.

The handlers and models are trivial, so all of it is the engine's and the router's. The OPS column is events/s. MLRun
1.12.1, measured once on two cores, did 2,600 of an ensemble of four in threads and 5,100 in line.
"""

import penstock
import pytest

BODY = {"inputs": [1, 2]}
MODELS = 4


class Doubles(penstock.serving.V2ModelServer):
    def load(self):
        pass

    def predict(self, body):
        return [2 * row for row in body["inputs"]]


def doubles(body):
    return {"doubled": [2 * row for row in body["inputs"]]}


@pytest.fixture
def router():
    """Return what starts a server of a router with four routes; all are closed at the end."""
    started = []

    def start(class_name=None, handler=None, **class_args):
        function = penstock.new_function("router")
        step = function.set_topology("router", class_name, **class_args)
        for number in range(MODELS):
            if handler is None:
                step.add_route(f"m{number}", class_name=Doubles)
            else:
                step.add_route(f"m{number}", handler=handler)
        started.append(function.to_mock_server())
        return started[-1]

    yield start
    for server in started:
        server.wait_for_completion()


@pytest.mark.informational  # the core finds the model, its do_event is Python
def test_one_model_of_four(benchmark, router):
    server = router()
    assert benchmark(server.test, "/v2/models/m3/infer", BODY)["outputs"] == [2, 4]


@pytest.mark.informational  # four copies of the request, four calls of predict, the vote
@pytest.mark.parametrize("vote_type", ["classification", "regression"])
@pytest.mark.parametrize("executor_type", ["thread", "array"])
def test_ensemble_of_four(benchmark, router, vote_type, executor_type):
    server = router("VotingEnsemble", vote_type=vote_type, executor_type=executor_type)
    assert benchmark(server.test, "/v2/models/infer", BODY)["outputs"] == [2, 4]


@pytest.mark.informational  # NumPy decides where there are many rows
def test_ensemble_of_four_with_a_thousand_rows(benchmark, router):
    server = router("VotingEnsemble", vote_type="regression")
    assert len(benchmark(server.test, "/v2/models/infer", {"inputs": list(range(1000))})["outputs"]) == 1000


@pytest.mark.informational  # four copies of the body, four calls, four dicts merged
@pytest.mark.parametrize("executor_type", ["thread", "array"])
def test_parallel_run_of_four(benchmark, router, executor_type):
    server = router("ParallelRun", doubles, executor_type=executor_type)
    assert benchmark(server.test, "/", BODY) == {"doubled": [2, 4]}


@pytest.mark.informational  # to four processes and back, one after the other as none of them is slow
def test_parallel_run_in_processes(benchmark, router):
    server = router("ParallelRun", "(dict(event))", executor_type="process")
    assert benchmark(server.test, "/", BODY) == BODY
