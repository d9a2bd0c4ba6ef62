"""A source that is faster than a step: how much memory the records take that have to wait.

slow_step.py [--seconds N] [--pause N] [--rate N] [--size N]
"""

import argparse
import contextlib
import dataclasses
import os
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from pathlib import Path

import broker
from topics import Topics

PARTITIONS = 4
WARM_SECONDS = 20.0
# MiB beside what the process takes anyway: 16 in the client, 16 in the source and 32 in the graph, these as they came
# and read, which may take more memory than they have bytes.
BOUND = 160.0

APP = """
import os, time
import penstock

def slow(body):
    time.sleep(float(os.environ["PAUSE"]))
    return body

fn = penstock.new_function(os.environ["NAME"])
fn.set_topology("flow").to(name="slow", handler="slow").to(">>", "out", path=os.environ["OUT"], full_event=False)
fn.add_kafka_trigger(os.environ["BROKERS"], os.environ["IN"], group=os.environ["NAME"])
"""


@dataclasses.dataclass
class Report:
    """What went in and what it took."""

    written: int
    written_mib: float
    handled: int
    seconds: float
    idle_rss_mib: float
    warm_rss_mib: float
    max_rss_mib: float
    last_rss_mib: float

    def __str__(self):
        return ", ".join(f"{name} {value}" for name, value in dataclasses.asdict(self).items())

    @property
    def is_bounded(self):
        """Whether what waits weighs no more than it may."""
        return self.max_rss_mib <= self.idle_rss_mib + BOUND


def run(address, *, seconds, pause=0.02, rate=3000, size=1024):
    """Write as fast as asked while a process handles what it can; return a report."""
    topics = Topics(address, prefix=uuid.uuid4().hex[:8])
    topics.make("in", PARTITIONS)
    topics.make("out")
    environment = os.environ | {
        "NAME": topics.name("slow"),
        "BROKERS": address,
        "IN": topics.name("in"),
        "OUT": topics.path("out"),
        "PAUSE": str(pause),
    }
    stop = threading.Event()
    written = []
    with tempfile.TemporaryDirectory() as folder:
        app = Path(folder) / "slow.py"
        app.write_text(APP)
        command = [sys.executable, "-m", "penstock", "serve", str(app), "--port", "0"]
        process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
        try:
            process.stderr.readline()  # it answers
            time.sleep(2.0)
            idle = _rss(process.pid)
            began = time.monotonic()
            feeder = threading.Thread(target=_feed, args=(topics, rate, size, stop, written))
            feeder.start()
            weights = []
            while time.monotonic() < began + seconds:
                time.sleep(1.0)
                weights.append((time.monotonic() - began, _rss(process.pid)))
            stop.set()
            feeder.join()
        finally:
            stop.set()
            process.kill()
            process.communicate()
    handled = sum(1 for _ in topics.read("out", 1, timeout=10, quiet=2.0))
    warm = [weight for at, weight in weights if at <= min(WARM_SECONDS, seconds / 2)]
    return Report(
        written=sum(written),
        written_mib=round(sum(written) * size / (1 << 20), 1),
        handled=handled,
        seconds=seconds,
        idle_rss_mib=idle,
        warm_rss_mib=max(warm),
        max_rss_mib=max(weight for _, weight in weights),
        last_rss_mib=weights[-1][1],
    )


def _feed(topics, rate, size, stop, written):
    number, pad = 0, "x" * size
    while not stop.is_set():
        began = time.monotonic()
        part = range(number, number + rate // 10)
        topics.write("in", [(b"%d" % (n % 1000), f'"{n:012}{pad[: size - 14]}"'.encode()) for n in part])
        number += len(part)
        written.append(len(part))
        stop.wait(max(0.0, began + 0.1 - time.monotonic()))


def _rss(pid):
    """Return a process's resident memory in MiB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return round(pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20), 1)


def main(arguments):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--pause", type=float, default=0.02, help="seconds that the step takes")
    parser.add_argument("--rate", type=int, default=3000, help="records written in a second")
    parser.add_argument("--size", type=int, default=1024, help="bytes of each")
    parser.add_argument("--broker", help="one that runs already")
    args = parser.parse_args(arguments)
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory())
        address = args.broker or broker.start(directory)
        if not args.broker:
            stack.callback(broker.stop, directory)
        report = run(address, seconds=args.seconds, pause=args.pause, rate=args.rate, size=args.size)
    print(report)
    return 0 if report.is_bounded else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
