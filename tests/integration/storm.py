#!/usr/bin/env python3
"""Kills the processes of a graph at random while records go through it, and counts what came out.

storm.py [--messages N] [--kills N] [--seed N] [--broker HOST:PORT]
storm.py exactly-once ...       # the same with transactions
storm.py slow-step ...          # the memory of what has to wait
"""

import argparse
import collections
import dataclasses
import json
import os
import random
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

    def __init__(self, environment, log):
        self._environment, self._log = environment, log
        self.start()

    def start(self):
        command = [sys.executable, "-m", "penstock", "serve", str(APP), "--port", "0"]
        self.process = subprocess.Popen(command, env=self._environment, stdout=self._log, stderr=self._log)

    def kill(self, number):
        self.process.send_signal(number)
        self.process.wait(60)


def storm(address, *, messages, kills, seed, workers=3, commit=0.5, log=subprocess.DEVNULL):
    """Run a storm; return its report."""
    dice = random.Random(seed)
    prefix = uuid.uuid4().hex[:8]
    topics = Topics(address, prefix=prefix)
    topics.make("in", PARTITIONS)
    topics.make("out")
    environment = os.environ | {
        "NAME": f"{prefix}-storm",
        "BROKERS": address,
        "IN": topics.name("in"),
        "OUT": topics.path("out"),
        "COMMIT": str(commit),
    }
    keys = max(1, min(KEYS, messages // 20))
    records = [(f"k{n % keys}", n // keys) for n in range(messages)]
    began = time.monotonic()
    running = [Worker(environment, log) for _ in range(workers)]
    feeder = threading.Thread(target=_feed, args=(topics, records, kills * 2.0 if kills else 1.0))
    feeder.start()
    hard = 0
    try:
        for _ in range(kills):
            time.sleep(dice.uniform(1.0, 3.0))
            victim = dice.choice(running)
            softly = dice.random() < 1 / 3
            hard += not softly
            victim.kill(signal.SIGTERM if softly else signal.SIGKILL)
            time.sleep(0.5)
            victim.start()
        feeder.join()
        expected = {
            (key, seq, side, part) for key, seq in records for side in ("left", "right") for part in (0, 1) if seq % 10
        }
        found = _collect(topics, expected, timeout=60 + messages / 500)
    finally:
        for worker in running:
            worker.process.terminate()
        for worker in running:
            worker.kill(signal.SIGTERM)
        feeder.join()
    counts = collections.Counter(found)
    return Report(
        sent=len(records),
        expected=len(expected),
        delivered=len(found),
        distinct=len(counts),
        lost=len(expected - counts.keys()),
        duplicates=len(found) - len(counts),
        disordered=_disordered(found),
        kills=kills,
        hard_kills=hard,
        seconds=round(time.monotonic() - began, 1),
        seed=seed,
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


def main():
    asked = sys.argv[1].lstrip("-") if len(sys.argv) > 1 else ""
    if asked == "exactly-once":
        import exactly_once

        return exactly_once.main(sys.argv[2:])
    if asked == "slow-step":
        import slow_step

        return slow_step.main(sys.argv[2:])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=100_000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 30))
    parser.add_argument("--broker", help="one that runs already")
    parser.add_argument("--log", help="where the processes write", default=os.devnull)
    args = parser.parse_args()
    print(f"seed {args.seed}", flush=True)
    with tempfile.TemporaryDirectory() as directory, open(args.log, "a") as log:
        address = args.broker or broker.start(directory)
        try:
            report = storm(address, messages=args.messages, kills=args.kills, seed=args.seed, log=log)
        finally:
            if not args.broker:
                broker.stop(directory)
    print(report)
    return 1 if report.lost or report.disordered else 0


if __name__ == "__main__":
    sys.exit(main())
