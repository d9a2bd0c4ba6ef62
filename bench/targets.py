"""The table of targets: every row measured now, here, beside what it is compared with.

    python bench/targets.py --build build/bench/bench [PART ...]

Ratios are the medians of rounds in which both sides took turns. Exits with 0 whether or not the targets are
reached: the numbers are read, not judged (README.md says why).
"""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import json
import os
import platform
import sys
import tempfile
import time
from pathlib import Path

import rows_calls
import rows_graphs
import rows_http
import rows_kafka
import rows_nuclio
import rows_pressure
import rows_wire
from harness import Load, Row

PARTS = {
    "hop": rows_calls.hop,
    "call": rows_calls.call,
    "throughput": rows_calls.throughput,
    "graphs": rows_graphs.graphs,
    "http": rows_http.small_model,
    "image": rows_http.image,
    "grpc": rows_wire.grpc,
    "tensors": rows_wire.tensors,
    "batching": rows_http.batching,
    "added": rows_http.added,
    "ensemble": rows_http.ensemble,
    "neighbours": rows_http.neighbours,
    "chunks": rows_pressure.chunks,
    "scrape": rows_pressure.scrape,
    "overload": rows_pressure.overload,
    "import": rows_calls.importing,
    "install": rows_calls.installed,
    "memory": rows_http.memory,
    "nuclio": rows_nuclio.overhead,
    "kafka": rows_kafka.kafka,
}


def number(value: float, unit: str) -> str:
    digits = 0 if value >= 100 or unit == "packages" else 1 if value >= 10 else 2 if value >= 0.1 else 4
    return f"{value:.{digits}f} {unit}"


def show(row: Row) -> None:
    target = "" if row.target is None else f"{'>=' if row.at_least else '<='} {row.target:g} {row.unit}"
    spread = f"{row.low:.3g}..{row.high:.3g}" if row.high else ""
    print(f"{row.name:<62} {number(row.value, row.unit):>12} {spread:>14}  {target:<12} {row.verdict}", flush=True)
    if row.note:
        print(f"    {row.note}", flush=True)


def heading() -> None:
    print(f"{'what':<62} {'median':>12} {'rounds':>14}  {'target':<12}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--build", type=Path, default=Path("build/bench/bench"), help="where the floor and the client are"
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"only these: {', '.join(PARTS)}")
    arguments = parser.parse_args()
    unknown = set(arguments.parts) - set(PARTS)
    if unknown:
        parser.error(f"no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    build = arguments.build.resolve()
    heading()
    measured: list[Row] = []
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="penstock-bench-") as folder:
        load = Load(build, Path(folder))
        for name in arguments.parts or PARTS:
            measure = PARTS[name]
            for row in measure(load, build) if inspect.signature(measure).parameters else measure():
                show(row)
                measured.append(row)
    report = {
        "python": platform.python_version(),
        "processors": os.cpu_count(),
        "load_average": os.getloadavg(),
        "seconds": round(time.monotonic() - began),
        "rows": [dataclasses.asdict(row) | {"verdict": row.verdict} for row in measured],
    }
    file = Path(__file__).resolve().parents[1] / "build/bench.json"
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(report, indent=2) + "\n")
    missed = sum(row.verdict.startswith("missed") for row in measured)
    print(f"{missed} missed, {report['seconds']} s, load average {os.getloadavg()[0]:.1f} at the end; {file}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
