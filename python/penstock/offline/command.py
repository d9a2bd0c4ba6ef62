"""`penstock run`: a job that a signal stops at a checkpoint."""

from __future__ import annotations

import os
import signal
import sys
import threading
from types import FrameType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from penstock.offline.job import Job

_EXIT_FAILED = 1
_EXIT_UNSETTLED = 75


def run_job(job: Job, inputs: list[str], output: str, **options: Any) -> int:
    """Run a job until it is done or stopped; return the exit code.

    SIGINT and SIGTERM stop it behind the rows that are under way, a second one at once; either way the next run
    goes on at the last checkpoint.
    """
    stop = threading.Event()

    def handle(_number: int, _frame: FrameType | None) -> None:
        if stop.is_set():
            os._exit(_EXIT_UNSETTLED)
        stop.set()

    signals = (signal.SIGTERM, signal.SIGINT)
    before = [signal.signal(number, handle) for number in signals]
    try:
        report = job.run(inputs, output, stopped=stop.is_set, progress=True, **options)
    finally:
        for number, handler in zip(signals, before, strict=True):
            signal.signal(number, handler)
    said = f"{report.rows:,} rows done"
    if report.filtered:
        said += f", {report.filtered:,} without an answer"
    if report.failed:
        said += f", {report.failed:,} failed: {report.errors}"
    if not report.finished:
        print(f"penstock: stopped, {said}; the same command goes on from there", file=sys.stderr)
        return _EXIT_UNSETTLED
    print(f"penstock: {said}, written to {report.output}", file=sys.stderr)
    return _EXIT_FAILED if report.failed else 0
