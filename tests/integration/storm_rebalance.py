"""Has processes join and leave a group while slow records go through a graph, and counts what came out."""

import dataclasses
import random
import re
import signal
import sys
import tempfile
import time
from pathlib import Path

from storm import Flow, Report, run_alone

APP = Path(__file__).with_name("storm_slow_app.py")
TOLD = re.compile(r"(assigned|given back|lost|committing) (\S+)\[(\d+)\]")
LATE = re.compile(r"(\d+) records were under way when")


@dataclasses.dataclass
class RebalanceReport(Report):
    """What went in and came out, and what the processes did with partitions that they did not own."""

    rebalances: int
    foreign_commits: int
    late_acks: int


class SlowFlow(Flow):
    """Records on their way through a step that takes its time and a batch that is held."""

    def expect(self):
        return {(key, seq, "slow", 0) for key, seq in self.records}


def storm(address, _directory=None, *, messages=6_000, times=60, seed, log=None):
    """Have a process join or leave about every three seconds; revoked partitions are not waited for."""
    dice = random.Random(seed)
    with tempfile.NamedTemporaryFile("w+") as told:
        flow = SlowFlow(address, messages, log=told, app=APP, options=("--log-level", "debug"), workers=2)
        gone = []
        with flow.feeding(times * 3.0):
            for _ in range(times):
                time.sleep(dice.uniform(2.0, 4.0))
                if len(flow.workers) < 4 and (len(flow.workers) < 2 or dice.random() < 0.5):
                    flow.workers.append(flow.make_worker())
                else:
                    gone.append(flow.workers.pop(dice.randrange(len(flow.workers))))
                    gone[-1].process.send_signal(signal.SIGTERM)
            for worker in gone:
                worker.process.wait(60)
        lines = Path(told.name).read_text().splitlines()
    rebalances, foreign = _look_at_commits(lines)
    late = sum(int(found[1]) for line in lines if (found := LATE.search(line)))
    more = {"rebalances": rebalances, "foreign_commits": foreign, "late_acks": late}
    return flow.report(RebalanceReport, kills=0, hard_kills=0, seed=seed, **more)


def _look_at_commits(lines):
    """Count the assignments, and the commits of partitions that were not assigned then; each line names its process."""
    owned, rebalances, foreign = set(), 0, 0
    for line in lines:
        found = TOLD.search(line)
        if found is None:
            continue
        partition = (line.partition(" ")[0], found[2], found[3])
        if found[1] == "assigned":
            rebalances += 1
            owned.add(partition)
        elif found[1] == "committing":
            foreign += partition not in owned
        else:
            owned.discard(partition)
    return rebalances, foreign


if __name__ == "__main__":
    sys.exit(run_alone(storm, lambda report: report.lost or report.foreign_commits or not report.late_acks))
