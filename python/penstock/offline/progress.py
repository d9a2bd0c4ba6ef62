"""How far a job is: a bar on a terminal, a line now and then anywhere else."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing_extensions import Self

_LINE_SECONDS = 10.0


class Progress:
    """What tells people how far a job is; a context manager.

    Parameters
    ----------
    total : int, optional
        How many rows there are, as far as that is known.
    done : int
        How many of them earlier runs have done.
    shown : bool
        False says nothing.
    """

    def __init__(self, total: int | None, done: int, *, shown: bool) -> None:
        self._total = total
        self._start = done
        self._shown = shown
        self._began = self._said = time.monotonic()
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Self:
        if self._shown and sys.stderr.isatty():
            self._bar, self._task = _bar(self._total, self._start)
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def show(self, rows: int, failed: int) -> None:
        """Say that so many rows are done."""
        if self._bar is not None:
            self._bar.update(self._task, completed=rows, failed=f"{failed:,} failed" if failed else "")
            return
        now = time.monotonic()
        if self._shown and now - self._said >= _LINE_SECONDS:
            self._said = now
            print(line_of(rows, self._total, failed, rows - self._start, now - self._began), file=sys.stderr)


def line_of(rows: int, total: int | None, failed: int, done: int, seconds: float) -> str:
    """Say in a line how far a job is.

    Examples
    --------
    >>> line_of(3000, 9000, 1, 2000, 10.0)
    'penstock: 3,000 of 9,000 rows, 1 failed, 200 rows/s, 30 s left'
    >>> line_of(5, None, 0, 5, 10.0)
    'penstock: 5 rows, 0 rows/s'
    """
    rate = done / seconds if seconds > 0 else 0.0
    parts = [f"penstock: {rows:,}{f' of {total:,}' if total is not None else ''} rows"]
    if failed:
        parts.append(f"{failed:,} failed")
    parts.append(f"{rate:,.0f} rows/s")
    if total is not None and rate > 0 and total > rows:
        parts.append(f"{(total - rows) / rate:,.0f} s left")
    return ", ".join(parts)


def _bar(total: int | None, done: int) -> tuple[Any, Any]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    class Rate(TextColumn):
        """Rows a second."""

        def __init__(self) -> None:
            super().__init__("")

        def render(self, task: Any) -> Any:
            from rich.text import Text

            return Text(f"{task.speed or 0:,.0f} rows/s", style="progress.data.speed")

    bar = Bar(
        BarColumn(),
        MofNCompleteColumn(),
        Rate(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[failed]}", style="red"),
        console=Console(stderr=True),
    )
    return bar, bar.add_task("rows", total=total, completed=done, failed="")
