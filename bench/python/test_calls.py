"""Calls into a graph in this process: what the engine adds to the handlers. Nothing here goes over a wire.

All are informational: they include the interpreter, so they move with it and with the machine. The deterministic
ones are the core's own, in bench/cpp. Ratios to what they are compared with are in bench/targets.py.
"""

import numpy as np
import penstock
import pytest

TENSORS = {"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1.0, 2.0, 3.0, 4.0]}]}


def plus_one(body):
    return body + 1


async def plus_one_later(body):
    return body + 1


class Product(penstock.serving.V2ModelServer):
    def load(self):
        self.weights = np.ones((4, 1), dtype="float32")

    def predict(self, body):
        return np.asarray(body["inputs"]) @ self.weights


@pytest.fixture
def chain():
    """Return what starts a server with a chain of handlers; all are closed at the end."""
    started = []

    def start(steps, handler=plus_one, **options):
        function = penstock.new_function("chain")
        step = function.set_topology("flow")
        for number in range(steps):
            step = step.to(handler, name=f"step-{number}", **options)
        step.respond()
        started.append(function.to_mock_server())
        started[-1].test(body=0)  # compiles, starts the threads
        return started[-1]

    yield start
    for server in started:
        server.wait_for_completion()


@pytest.mark.informational  # one call: admission, the steps in one go, the answer
@pytest.mark.parametrize("steps", [1, 5, 20])
def test_call(benchmark, chain, steps):
    server = chain(steps)
    assert benchmark(server.test, "/", 0) == steps


@pytest.mark.informational  # what `test` itself adds to the core's call
@pytest.mark.parametrize("steps", [1, 20])
def test_core_call(benchmark, chain, steps):
    engine = chain(steps).engine
    assert benchmark(engine.core.run, engine.event(0)) == steps


@pytest.mark.informational  # an Event object is made and handed from step to step
def test_full_events(benchmark, chain):
    server = chain(5, handler=lambda event: event, full_event=True)
    assert benchmark(server.test, "/", 0) == 0


@pytest.mark.informational  # to the loop's thread and back: dominated by waking threads
def test_coroutine(benchmark, chain):
    server = chain(1, handler=plus_one_later)
    assert benchmark(server.test, "/", 0) == 1


@pytest.mark.informational  # rows: the dict goes through Python's own routing of operations
@pytest.mark.parametrize("body", [{"inputs": [[1.0, 2.0, 3.0, 4.0]]}, TENSORS], ids=["rows", "tensors"])
def test_model(benchmark, body):
    function = penstock.new_function("model")
    function.set_topology("router")
    function.add_model("m", class_name=Product, model_path=".")
    with function.to_mock_server() as server:
        assert benchmark(server.test, "/v2/models/m/infer", body)["model_name"] == "m"


@pytest.mark.informational  # a bad body: the price of an exception that names its step
def test_failure(benchmark, chain):
    server = chain(5)
    response = benchmark(lambda: server.test(body="text", content_type="text/plain", silent=True))
    assert response.status_code == 500
