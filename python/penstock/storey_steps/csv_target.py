"""Writing events to a CSV file."""

from __future__ import annotations

import csv
from typing import Any

from penstock.errors import GraphError
from penstock.storey_steps.columns import Table, parse_columns
from penstock.storey_steps.targets import Target, file_system, make_folder


class CSVTarget(Target):
    """Appends events to a CSV file; they go on as they came.

    Parameters
    ----------
    path : str
        The file: a path or any URL that fsspec knows.
    columns : list of str, optional
        The columns; those of the first dict that comes, if there are none. Lists are written as they are.
    header : bool
        Whether a new file begins with the columns' names.
    infer_columns_from_data : bool, optional
        Whether the fields of the first dict are columns besides those given.
    max_events, flush_after_seconds
        How many events are written together, and after how many seconds at the latest.
    """

    def __init__(
        self,
        path: Any,
        columns: list[str] | None = None,
        header: bool = False,
        *,
        infer_columns_from_data: bool | None = None,
        max_events: int | None = 128,
        flush_after_seconds: float | None = 3,
        **options: Any,
    ) -> None:
        super().__init__(max_events, flush_after_seconds, **options)
        if not isinstance(path, str) or not path:
            raise GraphError(f"path is that of a file, not {path!r:.60}")
        self.path = path
        self._header = bool(header)
        self._table = Table(parse_columns(columns), [], infer=bool(infer_columns_from_data) or not columns, missing="")
        self._system, self._file = file_system(path, self.storage_options)
        self._begun = False

    def entry(self, event: Any) -> list[Any]:
        """Make a row of an event."""
        if isinstance(event.body, dict):
            return list(self._table.row(event).values())
        if not isinstance(event.body, (list, tuple)):
            raise TypeError(f"CSVTarget writes dicts and lists, not {type(event.body).__name__}")
        if self._header and not self._table.columns:
            raise ValueError("columns must be defined when header is True and the first event is a list")
        return self._table.row_of_list(event)

    def write(self, key: Any, entries: list[Any]) -> None:  # noqa: ARG002  # there is one file
        """Append rows to the file."""
        fresh = not self._begun and not self._system.exists(self._file)
        if not self._begun:
            make_folder(self._system, self._file)
        with self._system.open(self._file, mode="a", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            if fresh and self._header:
                writer.writerow(self._table.names)
            writer.writerows(entries)
        self._begun = True
