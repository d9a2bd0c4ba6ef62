"""penstock beside other servers: the same model, numbers, client and run.

    PYTHONPATH=bench python -m peers --build build/bench/bench [PEER ...]

Peers are installed when they are first asked for. The figures of those that are not asked for stay in build/peers.json.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from harness import Load
from targets import heading, show

from peers import beside
from peers.catalogue import PEERS, Peer
from peers.environments import CannotInstall, environment

REPORT = Path(__file__).resolve().parents[2] / "build/peers.json"
MEASURES = {"small": beside.small, "batched": beside.batched}


def version(peer: Peer, venv: Path) -> str:
    program = f"import importlib.metadata; print(importlib.metadata.version({peer.package!r}))"
    command = [str(venv / "bin/python"), "-c", program]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout.strip()


def measure(name: str, measures: list[str], load: Load, folder: Path) -> dict[str, object]:
    """Measure one peer, print its rows, and return them; a peer that is not to be had, or does not run, says why."""
    peer = PEERS[name]
    rows: list[dict[str, object]] = []
    report = {"rows": rows, "time": time.strftime("%Y-%m-%dT%H:%M:%S%z")}
    try:
        venv = environment(name, peer)
        report["version"] = version(peer, venv)
        for what in measures:
            for row in MEASURES[what](name, peer, venv, load, folder):
                show(row)
                rows.append(dataclasses.asdict(row) | {"verdict": row.verdict})
    except (CannotInstall, RuntimeError) as why:
        print(f"{peer.title:<62} not measured: {why}", flush=True)
        report["not measured"] = str(why)
    return report


def main() -> int:
    parser = argparse.ArgumentParser(prog="peers", description=__doc__.partition("\n")[0])
    parser.add_argument("--build", type=Path, default=Path("build/bench/bench"), help="where the client is")
    parser.add_argument("--install", action="store_true", help="only make the environments")
    parser.add_argument("--only", choices=MEASURES, help="only this part")
    parser.add_argument("peers", nargs="*", metavar="PEER", help=f"only these: {', '.join(PEERS)}")
    arguments = parser.parse_args()
    if unknown := set(arguments.peers) - set(PEERS):
        parser.error(f"no peer {', '.join(sorted(unknown))}; there are {', '.join(PEERS)}")
    if not sys.platform.startswith("linux"):
        parser.error("processor times are read from /proc, so this runs on Linux only")
    names = arguments.peers or list(PEERS)
    if arguments.install:
        for name in names:
            measure(name, [], None, REPORT.parent)
        return 0
    heading()
    report = json.loads(REPORT.read_text()) if REPORT.exists() else {"peers": {}}
    report |= {"python": platform.python_version(), "processors": os.cpu_count()}
    REPORT.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="penstock-peers-") as text:
        load = Load(arguments.build.resolve(), Path(text))
        for name in names:
            measures = [what for what in MEASURES if arguments.only in {None, what}]
            report["peers"][name] = measure(name, measures, load, Path(text))
            REPORT.write_text(json.dumps(report, indent=2) + "\n")
    print(REPORT)
    return 0


if __name__ == "__main__":
    sys.exit(main())
