"""Kills the broker at random while records go through a graph, and counts what came out."""

import dataclasses
import random
import sys
import time

import broker
from storm import Flow, Report, run_alone


@dataclasses.dataclass
class BrokerReport(Report):
    """What went in and came out, how slowly the flow came back, and how much memory that took."""

    slowest_return: float
    most_memory: int


def storm(address, directory, *, messages=60_000, times=5, seed, log):
    """Kill the broker of this directory so many times, about every ten seconds."""
    dice = random.Random(seed)
    flow = Flow(address, messages, log=log)
    slowest = memory = 0
    with flow.feeding(times * 20.0):  # for longer than the kills take, or nothing could return
        for _ in range(times):
            time.sleep(dice.uniform(4.0, 8.0))
            broker.stop(directory, kill=True)
            time.sleep(dice.uniform(0.5, 2.0))
            broker.start(directory)
            slowest = max(slowest, _time_to_return(flow))
            memory = max(memory, *(worker.memory() for worker in flow.workers))
    more = {"slowest_return": slowest, "most_memory": memory}
    return flow.report(BrokerReport, kills=times, hard_kills=times, seed=seed, **more)


def _time_to_return(flow):
    """Return the seconds until something comes out again; what was under way before the kill does not count."""
    began = time.monotonic()
    before = flow.topics.end("out")
    while flow.topics.end("out") <= before:
        if time.monotonic() - began > 60:
            break
        time.sleep(0.1)
    return round(time.monotonic() - began, 1)


if __name__ == "__main__":
    sys.exit(run_alone(storm, lambda report: report.lost or report.disordered or report.slowest_return > 15))
