"""Stops a process again and again while requests and records come, and counts who was left without an answer."""

import contextlib
import dataclasses
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
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from storm import PARTITIONS, run_alone
from topics import Topics

APP = Path(__file__).with_name("storm_drain_app.py")
ADDRESS = re.compile(r"answers on http://127.0.0.1:(\d+)")
CLIENTS = 8
RATE = 200.0  # requests a second


@dataclasses.dataclass
class DrainReport:
    """What was asked and what became of it."""

    drains: int
    requests: int
    answered: int
    accepted_and_failed: int
    records: int
    processed: int
    committed: int
    wrong_exits: int
    slowest_drain: float
    slowest_second_signal: float
    seconds: float
    seed: int

    def __str__(self):
        return ", ".join(f"{name} {value}" for name, value in dataclasses.asdict(self).items())


class Server:
    """The process, once it listens."""

    def __init__(self, environment, log):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "penstock", "serve", str(APP), "--port", "0"],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._thread = threading.Thread(target=self._read, args=(log,))
        try:
            said = self.process.stderr.readline()
            found = ADDRESS.search(said)
            assert found, said
            self.port = int(found[1])
        except BaseException:
            self.process.kill()
            self.process.communicate()
            raise
        self._thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()  # nothing, if it has ended
        self.process.wait()
        self._thread.join()

    def _read(self, log):
        with self.process.stderr as lines:
            for line in lines:
                log.write(line)

    def stop(self, signals=1):
        """Send SIGTERM; return the exit code and the seconds from the last one on."""
        for number in range(signals):
            if number:
                time.sleep(0.3)
            began = time.monotonic()
            self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(60)
        self._thread.join()
        return code, time.monotonic() - began


class Clients:
    """Ask at a steady rate over connections that are kept, until they are told to end."""

    def __init__(self, port, first):
        self.asked, self.answered = [], []
        self._port, self._next, self._ended = port, first, threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._ask) for _ in range(CLIENTS)]
        for thread in self._threads:
            thread.start()

    def close(self):
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def _ask(self):
        connection = HTTPConnection("127.0.0.1", self._port, timeout=20)
        while not self._ended.wait(CLIENTS / RATE):
            with self._lock:
                number, self._next = self._next, self._next + 1
            self.asked.append(number)
            try:
                connection.request("POST", "/", json.dumps({"n": number}), {"Content-Type": "application/json"})
                answer = connection.getresponse()
                answer.read()
                if answer.status == 200:
                    self.answered.append(number)
            except (HTTPException, OSError):
                connection.close()
        connection.close()


def storm(address, _directory=None, *, messages=200, times=50, seed, log):
    """Drain so many times, each at a random moment; `messages` records come in each round."""
    dice, began = random.Random(seed), time.monotonic()
    prefix = uuid.uuid4().hex[:8]
    topics = Topics(address, prefix=prefix)
    topics.make("in", PARTITIONS)
    topics.make("out")
    exits, drains, asked, answered = [], [], [], []
    with tempfile.TemporaryDirectory() as folder:
        seen = Path(folder, "seen")
        environment = os.environ | {
            "NAME": f"{prefix}-drain",
            "BROKERS": address,
            "IN": topics.name("in"),
            "OUT": topics.path("out"),
            "SEEN": str(seen),
        }
        for _ in range(times):
            with Server(environment, log) as server, contextlib.closing(Clients(server.port, len(asked))) as clients:
                topics.write("in", [(b"%d" % n, json.dumps({"record": n}).encode()) for n in range(messages)])
                time.sleep(dice.uniform(0.3, 1.5))
                code, seconds = server.stop()
            exits.append(code)
            drains.append(seconds)
            asked += clients.asked
            answered += clients.answered
        accepted = {int(line) for line in seen.read_text().split()}
        hurried = [_stop_twice(environment, log) for _ in range(max(1, times // 10))]
    processed = topics.end("out")
    committed = sum(max(0, topics.committed("in", f"{prefix}-drain", number)[0]) for number in range(PARTITIONS))
    return DrainReport(
        drains=times,
        requests=len(asked),
        answered=len(answered),
        accepted_and_failed=len(accepted - set(answered)),
        records=messages * times,
        processed=processed,
        committed=committed,
        wrong_exits=sum(code != 0 for code in exits) + sum(code != 75 for code, _ in hurried),
        slowest_drain=round(max(drains), 2),
        slowest_second_signal=round(max(seconds for _, seconds in hurried), 2),
        seconds=round(time.monotonic() - began, 1),
        seed=seed,
    )


def _stop_twice(environment, log):
    """Stop a process whose handler does not end; return its code and the seconds from the second signal on."""
    with (
        Server(environment, log) as server,
        contextlib.closing(HTTPConnection("127.0.0.1", server.port, timeout=20)) as connection,
    ):
        connection.request("POST", "/", json.dumps({"hang": 30}), {"Content-Type": "application/json"})
        time.sleep(0.3)
        return server.stop(signals=2)


def is_broken(report):
    """Tell whether somebody was left without an answer, or a commit says anything else than what was done."""
    return (
        report.accepted_and_failed
        or report.wrong_exits
        or report.committed != report.processed
        or report.slowest_second_signal > 1.0
    )


if __name__ == "__main__":
    sys.exit(run_alone(storm, is_broken))
