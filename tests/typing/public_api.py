"""What a user writes, and the types it has: checked by mypy, never run."""

from typing import Any

import penstock
from penstock.graph import RootFlowStep
from penstock.serving import V2ModelServer
from penstock.steps import BaseStep, RouterStep
from typing_extensions import assert_type


class Doubler(V2ModelServer):
    def load(self) -> None:
        self.factor = 2

    def predict(self, body: dict[str, Any]) -> list[float]:
        return [self.factor * row for row in body["inputs"]]


def a_flow_is_built_fluently() -> None:
    fn = penstock.new_function("double")
    graph = fn.set_topology("flow", engine="async")
    assert_type(graph, RootFlowStep)
    step = graph.to(name="double", handler=lambda body: 2 * body)
    assert_type(step, BaseStep)
    assert_type(step.batch(max_size=8, max_delay=0.01).concurrency(2).respond(), BaseStep)
    with fn.to_mock_server() as server:
        assert_type(server, penstock.GraphServer)
        server.test("/", body=21)


def a_router_takes_models() -> None:
    fn = penstock.new_function("models")
    assert_type(fn.set_topology("router"), RouterStep)
    fn.add_model("m1", class_name=Doubler, model_path="model")
    fn.serve(host="127.0.0.1", port=8080)


def a_wrong_topology_is_refused() -> None:
    penstock.new_function("f").set_topology("ring")  # type: ignore[call-overload]  # the refusal is what is checked
