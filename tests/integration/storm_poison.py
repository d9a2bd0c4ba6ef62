"""Sends records of which some cannot be read and some fail, takes the dead letters' topic away, and counts."""

import dataclasses
import json
import os
import random
import signal
import sys
import time
import uuid
from pathlib import Path

from storm import PARTITIONS, Worker, run_alone
from topics import Topics

APP = Path(__file__).with_name("storm_poison_app.py")
JSON = [("content-type", b"application/json")]


@dataclasses.dataclass
class PoisonReport:
    """What went in and came out."""

    sent: int
    poison: int
    delivered: int
    distinct: int
    lost: int
    duplicates: int
    letters: int
    wrong_letters: int
    kept_while_missing: bool
    speed_of_clean: float
    seconds: float
    seed: int

    def __str__(self):
        return ", ".join(f"{name} {value}" for name, value in dataclasses.asdict(self).items())


class Run:
    """Topics and a process for a number of records, one in fifty of them poison if asked for."""

    def __init__(self, address, count, dice, log, *, poison):
        prefix = uuid.uuid4().hex[:8]
        self.topics = Topics(address, prefix=prefix)
        self.topics.make("in", PARTITIONS)
        self.topics.make("out")
        self.topics.make("dead")
        self._environment = os.environ | {
            "NAME": f"{prefix}-poison",
            "BROKERS": address,
            "IN": self.topics.name("in"),
            "OUT": self.topics.path("out"),
            "DEAD": self.topics.name("dead"),
        }
        self._log, self._next = log, 0
        self.good, self.bad = set(), set()
        self.worker = None
        self.write(count, dice, poison=poison)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.worker is not None:
            self.worker.kill(signal.SIGKILL)

    def write(self, count, dice, *, poison):
        records = []
        for number in range(self._next, self._next + count):
            draw = dice.randrange(100) if poison else 99
            value = b"{broken %d" % number if draw == 0 else json.dumps({"n": number, "bad": draw == 1}).encode()
            records.append((b"%d" % number, value, JSON))
            (self.bad if draw < 2 else self.good).add((records[-1][:2]) if draw < 2 else number)
        self._next += count
        self.topics.write("in", records)

    def start(self):
        self.worker = Worker(self._environment, self._log, APP)

    def delivered(self):
        """Wait for what is to come out; return it, and the seconds from the first to the last."""
        found, times = [], []
        self.topics.quiet = None
        for message in self.topics.messages("out", timeout=60 + self._next / 500):
            found.append(int(message.value()))
            times.append(time.monotonic())
            if len(found) >= len(self.good):
                self.topics.quiet = 2.0
        return found, times[-1] - times[0]

    def letters(self):
        """Return the key and the value of each dead letter."""
        return [(message.key(), message.value()) for message in self.topics.read("dead", len(self.bad), timeout=60)]


def storm(address, _directory=None, *, messages=100_000, times=50, seed, log):
    """Run the records clean, then with poison; then so many more while there is no topic for dead letters."""
    dice, began = random.Random(seed), time.monotonic()
    with Run(address, messages, dice, log, poison=False) as clean:
        clean_seconds = _run_through(clean)
        clean.worker.kill(signal.SIGTERM)
    with Run(address, messages, dice, log, poison=True) as run:
        seconds = _run_through(run)
        letters = run.letters()
        wrong = len(set(letters) ^ run.bad) + len(letters) - len(set(letters))
        run.topics.drop("dead")
        before = len(run.bad)
        while len(run.bad) == before:
            run.write(times, dice, poison=True)
        time.sleep(5.0)  # it tries to write the letters all the while
        is_kept = run.worker.process.poll() is None
        run.topics.make("dead")
        found, _ = run.delivered()
        late = [
            (message.key(), message.value()) for message in run.topics.read("dead", len(run.bad) - before, timeout=60)
        ]
        wrong += len(set(late) ^ (run.bad - set(letters)))
        code = run.worker.kill(signal.SIGTERM)
    return PoisonReport(
        sent=len(run.good) + len(run.bad),
        poison=len(run.bad),
        delivered=len(found),
        distinct=len(set(found)),
        lost=len(run.good - set(found)),
        duplicates=len(found) - len(set(found)),
        letters=len(letters) + len(late),
        wrong_letters=wrong,
        kept_while_missing=is_kept and code == 0,
        speed_of_clean=round(clean_seconds / seconds, 2),
        seconds=round(time.monotonic() - began, 1),
        seed=seed,
    )


def _run_through(run):
    """Start the process on what is written; return the seconds until all has come out."""
    run.start()
    return run.delivered()[1]


def is_broken(report):
    """Tell whether something was lost or buried that should not be."""
    return report.lost or report.wrong_letters or not report.kept_while_missing


if __name__ == "__main__":
    sys.exit(run_alone(storm, lambda report: is_broken(report) or report.speed_of_clean < 0.8))
