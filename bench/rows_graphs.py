"""The rows of whole graphs: a fan-out with its merge, an ensemble of four, a chain of storey's MapClass.

MLRun does not install beside the rest (it pins NumPy below 1.27 and 118 packages), so its figures here are what
its 1.12.1 did on a machine of two cores, with the same graphs and bodies: events a second of its mock server.
"""

from __future__ import annotations

import penstock
from harness import in_turn, per_call, row
from penstock.storey_steps import MapClass

MLRUN_FAN_OUT = 1_700  # 4 branches, a list of 200 integers as the body
MLRUN_ENSEMBLE = 2_600  # VotingEnsemble of 4, executor_type="thread"
MLRUN_CHAIN = 3_900  # 3 steps of the async engine
ROUNDS = 7
CALLS = 3_000


class Doubles(penstock.serving.V2ModelServer):
    """A model that costs nothing."""

    def load(self):
        """Have nothing to load."""

    def predict(self, body):
        """Double each row."""
        return [2 * value for value in body["inputs"]]


class PlusOne(MapClass):
    """A step as users of storey write it."""

    def do(self, event):
        """Add one."""
        return event + 1


def fan_out_server():
    """Start a graph with four branches that are joined again."""
    function = penstock.new_function("fan-out")
    graph = function.set_topology("flow")
    graph.to("(event)", name="start")
    branches = [f"branch-{number}" for number in range(4)]
    for name in branches:
        graph.add_step("(event)", name=name, after="start")
    graph.add_step("mlrun.serving.Merge", name="merge", after=branches).respond()
    return function.to_mock_server()


def ensemble_server():
    """Start a router that has four models vote."""
    function = penstock.new_function("ensemble")
    function.set_topology("router", "mlrun.serving.VotingEnsemble", vote_type="regression")
    for number in range(4):
        function.add_model(f"m{number}", class_name=Doubles)
    return function.to_mock_server()


def chain_server():
    """Start a chain of three steps that subclass MapClass."""
    function = penstock.new_function("chain")
    step = function.set_topology("flow")
    for number in range(3):
        step = step.to(PlusOne(), name=f"step-{number}")
    step.respond()
    return function.to_mock_server()


def graphs():
    """Measure the graphs that users of MLRun write, against what MLRun did with them."""
    body = list(range(200))
    request = {"inputs": [1.0, 2.5]}
    with fan_out_server() as fan_out, ensemble_server() as ensemble, chain_server() as chain:
        rounds = in_turn(
            ROUNDS,
            fan_out=lambda: per_call(lambda: fan_out.test(body=body), CALLS),
            ensemble=lambda: per_call(lambda: ensemble.test("/v2/models/infer", request), CALLS),
            chain=lambda: per_call(lambda: chain.test(body=1), CALLS),
        )
    for name, text, mlrun, target in (
        ("fan_out", "fan-out to 4 branches with Merge / MLRun's figure", MLRUN_FAN_OUT, 20.0),
        ("ensemble", "VotingEnsemble of 4 / MLRun's figure", MLRUN_ENSEMBLE, 20.0),
        ("chain", "3 steps of storey's MapClass / MLRun's figure", MLRUN_CHAIN, None),
    ):
        rates = [1 / seconds for seconds in rounds[name]]
        note = f"{sorted(rates)[len(rates) // 2] / 1000:.0f} k events/s, and {mlrun / 1000:g} k/s"
        yield row(text, [rate / mlrun for rate in rates], target, at_least=True, note=note)
