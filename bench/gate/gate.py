"""Counts the instructions of the core's hot paths with Callgrind, and judges them against a baseline.

    python bench/gate/gate.py [--build build/bench/bench] [--against REF | --update]

A count does not depend on how busy the machine is. It does depend on the compiler and the libraries: the committed
baseline is judged only where these are the same, as its line says; elsewhere compare with another commit, which is
built here, too. Exits with 1 if a path takes more instructions than it may.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BASELINE = Path(__file__).with_name("baseline.json")
TOLERANCE = 0.03  # more than this is a change that somebody has made
PATIENCE = 1800  # seconds for one program, or for building it
TIMES = 400


def run(*command: str | Path, folder: Path = ROOT) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE, cwd=folder)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, command))} failed ({done.returncode}):\n{done.stdout}{done.stderr}")
    return done.stdout


def instructions(program: Path, path: str, times: int) -> int:
    """Return what the program executes in all."""
    with tempfile.TemporaryDirectory(prefix="penstock-gate-") as folder:
        out = Path(folder) / "out"
        run("valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", "--quiet", program, path, str(times))
        return int(re.search(r"^(?:summary|totals): (\d+)", out.read_text(), re.MULTILINE)[1])


def count(build: Path) -> dict[str, object]:
    """Count the instructions of one time each path: of twice as many times less once, so that starting drops out."""
    program = build / "gate/penstock_gate"
    toolchain, *paths = run(program).splitlines()
    counts = {}
    for path in paths:
        times = TIMES // 20 if path.endswith("4096") else TIMES
        counts[path] = round((instructions(program, path, 2 * times) - instructions(program, path, times)) / times)
        print(f"{path:<16} {counts[path]:>9}", flush=True)
    return {"toolchain": f"{os.uname().machine}, {toolchain}", "instructions": counts}


def build_of(reference: str) -> Path:
    """Build the benchmarks of another commit, with the options that this one was built with."""
    tree, build = ROOT / "build/gate-base", ROOT / "build/gate-base-build"
    run("git", "worktree", "prune")
    if not tree.exists():
        run("git", "worktree", "add", "--detach", "--force", tree, reference)
    run("git", "checkout", "--detach", "--force", reference, folder=tree)
    cache = (ROOT / "build/bench/CMakeCache.txt").read_text()
    options = re.findall(r"^((?:pybind11_DIR|Python_EXECUTABLE):\w+=.+)$", cache, re.MULTILINE)
    run("cmake", "--preset", "bench", "-B", build, *(f"-D{option}" for option in options), folder=tree)
    run("cmake", "--build", build, "--target", "penstock_gate", folder=tree)
    return build / "bench"


def judge(counts: dict[str, int], base: dict[str, int]) -> list[str]:
    """Print both beside each other; return the paths that have become dearer."""
    dearer = []
    for path, new in counts.items():
        old = base.get(path)
        if old is None:
            print(f"{path:<16} {new:>9}      new")
            continue
        change = new / old - 1
        if change > TOLERANCE:
            dearer.append(path)
        verdict = "dearer" if change > TOLERANCE else "cheaper" if change < -TOLERANCE else ""
        print(f"{path:<16} {new:>9} {old:>9} {change:>+7.1%}  {verdict}")
    return dearer


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--build", type=Path, default=ROOT / "build/bench/bench", help="where penstock_gate is")
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--against", metavar="REF", help="judge against this commit instead, built here")
    mode.add_argument("--update", action="store_true", help="write what is counted as the new baseline")
    arguments = parser.parse_args()
    counted = count(arguments.build.resolve())
    if arguments.update:
        BASELINE.write_text(json.dumps(counted, indent=2) + "\n")
        return 0
    base = count(build_of(arguments.against)) if arguments.against else json.loads(BASELINE.read_text())
    print(f"\n{'path':<16} {'now':>9} {arguments.against or 'baseline':>9}")
    dearer = judge(counted["instructions"], base["instructions"])
    if base["toolchain"] != counted["toolchain"]:
        print(f"not judged: the baseline is of {base['toolchain']},\nand this is {counted['toolchain']}; try --against")
        return 0
    if dearer:
        print(f"dearer by more than {TOLERANCE:.0%}: {', '.join(dearer)}. If that is meant, say why and use --update")
    return 1 if dearer else 0


if __name__ == "__main__":
    sys.exit(main())
