#!/usr/bin/env python3
"""Kills the processes of a graph, or its broker, at random while records go through it, and counts what came out."""

import argparse
import collections
import contextlib
import dataclasses
import functools
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from pathlib import Path

import broker
from topics import Topics

APP = Path(__file__).with_name("storm_app.py")
KEYS = 1000
PARTITIONS = 6


@dataclasses.dataclass
class Report:
    """What went in and what came out."""

    sent: int
    expected: int
    delivered: int
    distinct: int
    lost: int
    duplicates: int
    disordered: int
    kills: int
    hard_kills: int
    seconds: float
    seed: int

    def __str__(self):
        return ", ".join(f"{name} {value}" for name, value in dataclasses.asdict(self).items())


class Worker:
    """One process of the graph, started again whenever it is dead."""

    def __init__(self, environment, log, app=APP, options=()):
        self._environment, self._log, self._app, self._options = environment, log, app, options
        self.start()

    def start(self):
        command = [sys.executable, "-m", "penstock", "serve", str(self._app), "--port", "0", *self._options]
        self.process = subprocess.Popen(command, env=self._environment, stdout=self._log, stderr=self._log)

    def kill(self, number):
        self.process.send_signal(number)
        return self.process.wait(60)

    def memory(self):
        """Return the most memory it has had, in MB."""
        return int(re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{self.process.pid}/status").read_text())[1]) // 1024


def storm(address, *, messages, kills, seed, workers=3, commit=0.5, log=subprocess.DEVNULL):
    """Run a storm of kills; return its report."""
    dice = random.Random(seed)
    flow = Flow(address, messages, workers=workers, commit=commit, log=log)
    hard = 0
    with flow.feeding(kills * 2.0 if kills else 1.0):
        for _ in range(kills):
            time.sleep(dice.uniform(1.0, 3.0))
            victim = dice.choice(flow.workers)
            softly = dice.random() < 1 / 3
            hard += not softly
            victim.kill(signal.SIGTERM if softly else signal.SIGKILL)
            time.sleep(0.5)
            victim.start()
    return flow.report(Report, kills=kills, hard_kills=hard, seed=seed)


class Flow:
    """Keyed records on their way through the graph of the storm, in several processes."""

    def __init__(
        self, address, messages, *, workers=3, commit=0.5, log=subprocess.DEVNULL, app=APP, options=(), **more
    ):
        prefix = uuid.uuid4().hex[:8]
        self.topics = Topics(address, prefix=prefix)
        self.topics.make("in", PARTITIONS)
        self.topics.make("out")
        environment = os.environ | {
            "NAME": f"{prefix}-storm",
            "BROKERS": address,
            "IN": self.topics.name("in"),
            "OUT": self.topics.path("out"),
            "COMMIT": str(commit),
            **more,
        }
        keys = max(1, min(KEYS, messages // 20))
        self.records = [(f"k{n % keys}", n // keys) for n in range(messages)]
        self.began = time.monotonic()
        self.make_worker = functools.partial(Worker, environment, log, app, options)
        self.workers = [self.make_worker() for _ in range(workers)]

    @contextlib.contextmanager
    def feeding(self, seconds):
        """Write the records evenly over that time; then wait for what they make, and end the processes."""
        feeder = threading.Thread(target=_feed, args=(self.topics, self.records, seconds))
        feeder.start()
        try:
            yield
            feeder.join()
            self.expected = self.expect()
            self.found = _collect(self.topics, self.expected, timeout=60 + len(self.records) / 500)
        finally:
            for worker in self.workers:
                worker.process.terminate()
            for worker in self.workers:
                worker.kill(signal.SIGTERM)
            feeder.join()

    def expect(self):
        """Say what is to come out, by a model of the graph."""
        sides = [(side, part) for side in ("left", "right") for part in (0, 1)]
        return {(key, seq, *side) for key, seq in self.records for side in sides if seq % 10}

    def report(self, kind, **more):
        counts = collections.Counter(self.found)
        return kind(
            sent=len(self.records),
            expected=len(self.expected),
            delivered=len(self.found),
            distinct=len(counts),
            lost=len(self.expected - counts.keys()),
            duplicates=len(self.found) - len(counts),
            disordered=_disordered(self.found),
            seconds=round(time.monotonic() - self.began, 1),
            **more,
        )


def _feed(topics, records, seconds):
    """Write the records evenly over that time."""
    steps = max(1, int(seconds * 10))
    size = -(-len(records) // steps)
    began = time.monotonic()
    for step in range(steps):
        part = records[step * size : (step + 1) * size]
        topics.write("in", [(key.encode(), json.dumps({"key": key, "seq": seq}).encode()) for key, seq in part])
        time.sleep(max(0.0, began + (step + 1) * seconds / steps - time.monotonic()))


def _collect(topics, expected, *, timeout):
    """Read the output until everything expected has come, or nothing comes any more."""
    found, missing = [], set(expected)
    for message in topics.messages("out", timeout=timeout):
        value = json.loads(message.value())
        for record in value if isinstance(value, list) else [value]:
            one = (record["key"], record["seq"], record["side"], record["part"])
            found.append(one)
            missing.discard(one)
        if not missing:
            topics.quiet = 2.0
    return found


def _disordered(found):
    """Count first occurrences that come behind a later one of the same key and branch."""
    latest, seen, wrong = {}, set(), 0
    for one in found:
        if one in seen:
            continue
        seen.add(one)
        key, seq, side, part = one
        wrong += seq < latest.get((key, side, part), -1)
        latest[key, side, part] = max(seq, latest.get((key, side, part), -1))
    return wrong


def run_alone(run, broken):
    """Read a storm's command line, run it with `run(broker, directory, options)`; tell whether `broken(report)`."""
    parser = argparse.ArgumentParser(description=sys.modules["__main__"].__doc__)
    parser.add_argument("--messages", type=int)
    parser.add_argument("--times", "--kills", type=int, help="how many kills, rebalances, drains")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 30))
    parser.add_argument("--broker", help="one that runs already; it cannot be killed")
    parser.add_argument("--log", help="where the processes write", default=os.devnull)
    args = parser.parse_args()
    print(f"seed {args.seed}", flush=True)
    given = {name: value for name, value in vars(args).items() if value is not None and name in ("messages", "times")}
    with tempfile.TemporaryDirectory() as directory, open(args.log, "a") as log:
        address = args.broker or broker.start(directory)
        try:
            report = run(address, directory, seed=args.seed, log=log, **given)
        finally:
            if not args.broker:
                broker.stop(directory)
    print(report)
    return 1 if broken(report) else 0


def _kills(address, _directory, *, messages=100_000, times=20, seed, log):
    return storm(address, messages=messages, kills=times, seed=seed, log=log)


if __name__ == "__main__":
    sys.exit(run_alone(_kills, lambda report: report.lost or report.disordered))
