"""How far a job is: what is written, and where a next run goes on."""

from __future__ import annotations

import dataclasses
import json
import os
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from penstock.errors import GraphError

if TYPE_CHECKING:
    from penstock.offline.outputs import Output


@dataclasses.dataclass
class Report:
    """What came of a job.

    Attributes
    ----------
    rows : int
        Rows that are done, those of earlier runs too.
    failed : int
        Rows that failed; the file `errors` has them.
    filtered : int
        Rows that the graph let go without an answer.
    finished : bool
        False if the job was stopped; the next run goes on.
    result : object
        What the graph gave at its end, for example a reduction's value.
    output, errors : str
        Where the answers are, and the failures.
    """

    rows: int = 0
    failed: int = 0
    filtered: int = 0
    finished: bool = False
    result: Any = None
    output: str = ""
    errors: str = ""


class State:
    """How far a job is: what is written, and where a next run goes on."""

    def __init__(self, output: Output, what: dict[str, Any]) -> None:
        self._output = output
        self._what = what
        self._path = f"{output.path}.checkpoint.json"
        self.report = Report(output=output.path, errors=f"{output.path}.errors.jsonl")
        self._errors: Any = None
        self._mark: Any = None
        self._lock = threading.Lock()  # guards _unanswered
        self._unanswered: list[tuple[str, str, str]] = []

    def begin(self, *, restart: bool) -> None:
        """Go on from a checkpoint, or begin."""
        saved = None if restart else self._saved()
        if saved is None and not restart and os.path.exists(self._output.path):
            raise GraphError(f"{self._output.path} is there already; to write it anew: --restart")
        if saved is not None:
            self._mark = saved["mark"]
            self.report.rows, self.report.failed, self.report.filtered = saved["counts"]
        self._output.begin(self._mark)
        end = saved["errors"] if saved is not None else 0
        self._errors = open(self.report.errors, "r+b" if end else "wb")  # noqa: SIM115  # stays open
        self._errors.truncate(end)
        self._errors.seek(end)

    def _saved(self) -> dict[str, Any] | None:
        try:
            with open(self._path, "rb") as file:
                saved: dict[str, Any] = json.load(file)
        except FileNotFoundError:
            return None
        except ValueError:
            raise GraphError(f"{self._path} is no checkpoint; begin anew with --restart") from None
        if saved.get("what") != self._what and saved["counts"][0] == 0:
            return None  # nothing was done of that
        if saved.get("what") != self._what:
            raise GraphError(
                f"{self._path} is of another job, or of an input that has changed; begin anew with --restart"
            )
        return saved

    def unanswered(self, step: str, text: str, event_id: str) -> None:
        """Hear of a failure of an event, on any thread."""
        with self._lock:
            self._unanswered.append((step, text, event_id))

    def form(self, answer: Any) -> Any:
        """Make of an answer what `write` takes, if it has such a form."""
        return self._output.form(answer)

    def write(self, answers: list[Any], rows: int, failures: Sequence[dict[str, Any]] = ()) -> None:
        """Write what came of some rows, and that they are done."""
        self._mark = self._output.write(answers)
        self.report.rows += rows
        for failure in failures:
            self._errors.write(json.dumps(failure, ensure_ascii=False).encode() + b"\n")
        self._errors.flush()
        self._save()

    def _save(self) -> None:
        report = self.report
        fields = {
            "what": self._what,
            "mark": self._mark,
            "errors": self._errors.tell(),
            "counts": [report.rows, report.failed, report.filtered],
        }
        with open(f"{self._path}.new", "w", encoding="utf-8") as file:
            json.dump(fields, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(f"{self._path}.new", self._path)

    def unheard(self) -> list[tuple[str, str, str]]:
        """Take the failures that `unanswered` has heard of."""
        with self._lock:
            taken, self._unanswered = self._unanswered, []
        return taken

    def finish(self) -> None:
        """Make the output whole; the checkpoint has done its work."""
        self._output.finish()
        self.close()
        os.unlink(self._path)
        if os.path.getsize(self.report.errors) == 0:
            os.unlink(self.report.errors)

    def close(self) -> None:
        """Leave all as it is."""
        self._output.close()
        if self._errors is not None:
            self._errors.close()
            self._errors = None
