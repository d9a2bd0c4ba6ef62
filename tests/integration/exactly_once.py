"""Kills, freezes and cuts off the processes of a transactional graph, and looks for what came twice or not at all.

exactly_once.py [--messages N] [--kills N] [--partitions N] [--seed N] [--control offsets|group]
"""

import argparse
import collections
import contextlib
import dataclasses
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
import confluent_kafka
from topics import Topics

APP = Path(__file__).with_name("exactly_once_app.py")
_STEPS = 25
FREEZE = 5.0  # seconds, more than a session lasts


@dataclasses.dataclass
class Report:
    """What went in and what readers of committed records saw."""

    sent: int
    delivered: int
    distinct: int
    lost: int
    duplicates: int
    duplicates_seen_meanwhile: int
    disordered: int
    kills: int
    hard_kills: int
    freezes: int
    broker_restarts: int
    rebalances: int
    seconds: float
    seed: int

    def __str__(self):
        return ", ".join(f"{name} {value}" for name, value in dataclasses.asdict(self).items())

    @property
    def is_exact(self):
        """Whether the promise was kept."""
        return not (self.lost or self.duplicates or self.duplicates_seen_meanwhile or self.disordered)


class Worker:
    """One process of the graph."""

    def __init__(self, environment, log):
        self._environment, self._log = environment, log
        self.start()

    def start(self):
        command = [sys.executable, "-m", "penstock", "serve", str(APP), "--port", "0"]
        self.process = subprocess.Popen(command, env=self._environment, stdout=self._log, stderr=self._log)

    def kill(self, number):
        self.process.send_signal(number)
        self.process.wait(60)

    @property
    def is_frozen(self):
        """Whether it has stopped itself."""
        stat = Path(f"/proc/{self.process.pid}/stat").read_text()
        return stat.rpartition(")")[2].split()[0] == "T"


def _freeze(workers, marker):
    """Have a process take itself for a member of the group when it is none any more."""
    Path(marker).touch()
    _wait(lambda: any(worker.is_frozen for worker in workers), timeout=60)
    Path(marker).unlink(missing_ok=True)  # none has had anything to commit
    time.sleep(FREEZE)
    for worker in workers:
        worker.process.send_signal(signal.SIGCONT)


class Reader(threading.Thread):
    """Reads what is committed, from the first record on, while it comes."""

    def __init__(self, topics, *names):
        super().__init__(daemon=True)
        self.found = []  # (topic, partition, value)
        self._topics, self._names = topics, names
        self._stop_at = None
        self.start()

    def run(self):
        consumer = confluent_kafka.Consumer(
            {
                "bootstrap.servers": self._topics.address,
                "group.id": uuid.uuid4().hex,
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "log_level": 0,
            }
        )
        places = []
        for name in map(self._topics.name, self._names):
            while not (known := consumer.list_topics(name, timeout=30).topics[name].partitions):
                time.sleep(0.1)  # it has just been made
            places += [confluent_kafka.TopicPartition(name, number, 0) for number in known]
        consumer.assign(places)
        while self._stop_at is None or time.monotonic() < self._stop_at:
            for message in consumer.consume(1000, 0.2):
                if message.error() is None:
                    self.found.append((message.topic(), message.partition(), int(message.value())))
        consumer.close()

    def stop(self, after):
        self._stop_at = time.monotonic() + after
        self.join()
        return self.found


def storm(
    address,
    *,
    messages,
    kills,
    seed,
    partitions=3,
    workers=3,
    freezes=1,
    control="",
    restart=None,
    restarts=0,
    log=subprocess.DEVNULL,
):
    """Run a storm; return its report. `restart(hard)` restarts the broker."""
    dice = random.Random(seed)
    prefix = uuid.uuid4().hex[:8]
    topics = Topics(address, prefix=prefix)
    topics.make("in", partitions)
    topics.make("out", partitions)
    topics.make("dead")
    _, marks = tempfile.mkstemp()
    environment = os.environ | {
        "NAME": f"{prefix}-exactly",
        "BROKERS": address,
        "IN": topics.name("in"),
        "OUT": topics.path("out"),
        "DEAD": topics.name("dead"),
        "CONTROL": control,
        "REBALANCES": marks,
        "FREEZE": f"{marks}.freeze",
    }
    began = time.monotonic()
    blows = ["kill"] * kills + ["freeze"] * freezes + ["broker"] * restarts
    dice.shuffle(blows)
    running = [Worker(environment, log) for _ in range(workers)]
    meanwhile = Reader(topics, "out", "dead")
    share = -(-messages // (len(blows) + 1))
    hard = 0
    try:
        for number, blow in enumerate(blows):
            feeder = threading.Thread(target=_feed, args=(topics, number * share, (number + 1) * share))
            before = len(meanwhile.found)
            feeder.start()
            _wait(lambda before=before: len(meanwhile.found) > before + share // 5, timeout=30)
            time.sleep(dice.uniform(0.0, 1.0))
            victim = dice.choice(running)
            if blow == "freeze":
                _freeze(running, environment["FREEZE"])
            elif blow == "broker":
                restart(number % 2 == 0)
            else:
                softly = dice.random() < 1 / 3
                hard += not softly
                victim.kill(signal.SIGTERM if softly else signal.SIGKILL)
                time.sleep(0.3)
                victim.start()
            feeder.join()
        _feed(topics, len(blows) * share, messages)
        _wait(lambda: len({number for _, _, number in list(meanwhile.found)}) == messages, timeout=60 + messages / 1000)
    finally:
        for worker in running:
            worker.process.send_signal(signal.SIGCONT)
            worker.process.terminate()
        for worker in running:
            worker.process.wait(60)
    seen = meanwhile.stop(1.0)
    found = Reader(topics, "out", "dead").stop(5.0 + messages / 20_000)
    rebalances = os.path.getsize(marks)
    os.unlink(marks)
    counts = collections.Counter(number for _, _, number in found)
    return Report(
        sent=messages,
        delivered=len(found),
        distinct=len(counts),
        lost=len(set(range(messages)) - counts.keys()),
        duplicates=len(found) - len(counts),
        duplicates_seen_meanwhile=len(seen) - len({number for _, _, number in seen}),
        disordered=_disordered((partition, n) for topic, partition, n in found if topic == topics.name("out")),
        kills=kills,
        hard_kills=hard,
        freezes=freezes,
        broker_restarts=restarts,
        rebalances=rebalances,
        seconds=round(time.monotonic() - began, 1),
        seed=seed,
    )


def _feed(topics, start, stop):
    """Write these numbers, over a few seconds."""
    began = time.monotonic()
    for step in range(_STEPS):
        edges = [start + (stop - start) * edge // _STEPS for edge in (step, step + 1)]
        topics.write("in", [(b"%d" % (number % 1000), b"%d" % number) for number in range(*edges)])
        time.sleep(max(0.0, began + (step + 1) * 0.1 - time.monotonic()))


def _wait(condition, *, timeout):
    """Wait for it, or until the time is up."""
    end = time.monotonic() + timeout
    while not condition() and time.monotonic() < end:
        time.sleep(0.1)


def _disordered(found):
    """Count the records that come behind a greater one in their partition, which all come from the same one."""
    latest, wrong = {}, 0
    for partition, number in found:
        wrong += number < latest.get(partition, -1)
        latest[partition] = max(number, latest.get(partition, -1))
    return wrong


def main(arguments):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=100_000)
    parser.add_argument("--kills", type=int, default=9)
    parser.add_argument("--freezes", type=int, default=2)
    parser.add_argument("--restarts", type=int, default=2, help="of the broker")
    parser.add_argument("--partitions", type=int, default=3)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 30))
    parser.add_argument("--control", choices=["", "offsets", "group"], default="", help="break the promise")
    parser.add_argument("--broker", help="one that runs already; it is not restarted")
    parser.add_argument("--log", help="where the processes write", default=os.devnull)
    args = parser.parse_args(arguments)
    print(f"seed {args.seed}", flush=True)
    with contextlib.ExitStack() as stack:
        log = stack.enter_context(open(args.log, "a"))
        directory = stack.enter_context(tempfile.TemporaryDirectory())
        if args.broker:
            address, restarts = args.broker, 0
        else:
            address, restarts = broker.start(directory), args.restarts
            stack.callback(broker.stop, directory)

        def restart(hard):
            broker.stop(directory, kill=hard)
            broker.start(directory)

        report = storm(
            address,
            messages=args.messages,
            kills=args.kills,
            freezes=args.freezes,
            partitions=args.partitions,
            seed=args.seed,
            control=args.control,
            restart=restart,
            restarts=restarts,
            log=log,
        )
    print(report)
    return 0 if report.is_exact else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
