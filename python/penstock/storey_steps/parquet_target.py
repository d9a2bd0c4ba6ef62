"""Writing events to Parquet files."""

from __future__ import annotations

import datetime
import hashlib
import uuid
from collections.abc import Iterable
from typing import Any

from penstock.errors import GraphError
from penstock.extras import load_extra
from penstock.storey_steps.columns import Given, Table, parse_columns
from penstock.storey_steps.targets import Target, file_system, make_folder

_BY_DEFAULT: list[Any] = [("$key", 256), "$year", "$month", "$day", "$hour"]
_TIMES = {
    "$date": "%Y-%m-%d",
    "$year": "%Y",
    "$month": "%m",
    "$day": "%d",
    "$hour": "%H",
    "$minute": "%M",
    "$second": "%S",
}
_KINDS = {"str": "string", "int": "int64", "float": "float64", "bool": "bool_", "datetime": "timestamp"}


class ParquetTarget(Target):
    """Writes events to a Parquet file, or to a folder of them; they go on as they came.

    Parameters
    ----------
    path : str
        A file (.parquet or .pq), which is written when the graph ends, or a folder; any URL that fsspec knows.
    index_cols, columns : list, optional
        The columns; see `columns`. Without any, those that the bodies have.
    partition_cols : list, optional
        The folders: "$key", "$date", "$year" ... "$second" or fields, each alone or as a pair with the number of
        folders that its hash is spread over. For a folder: ("$key", 256), "$year", "$month", "$day", "$hour".
    time_field, time_format : str, optional
        The field with the time of those, and how it is written, if it is text that is not ISO 8601.
    infer_columns_from_data : bool, optional
        Whether the fields of the first event are columns, too.
    max_events, flush_after_seconds
        How many events of a folder make a file, and after how many seconds it is written at the latest; at the end,
        without either.
    single_file : bool, optional
        Whether each folder has a single file, target.parquet.
    """

    def __init__(
        self,
        path: Any,
        index_cols: Given | Iterable[Given] | None = None,
        columns: Given | Iterable[Given] | None = None,
        partition_cols: str | list[Any] | None = None,
        *,
        time_field: str | int | None = None,
        time_format: str | None = None,
        infer_columns_from_data: bool | None = None,
        max_events: int | None = None,
        flush_after_seconds: float | None = None,
        single_file: bool | None = None,
        **options: Any,
    ) -> None:
        if not isinstance(path, str) or not path:
            raise GraphError(f"path is that of a file or folder, not {path!r:.60}")
        self._one_file = partition_cols is None and path.endswith((".parquet", ".pq"))
        self._single = self._one_file or bool(single_file)
        if self._single:  # a file of this kind cannot be added to
            max_events = flush_after_seconds = None
        super().__init__(max_events, flush_after_seconds, None if self._one_file else self._folder_of, **options)
        self._pandas = load_extra("pandas", "parquet", "ParquetTarget")
        self._arrow = load_extra("pyarrow", "parquet", "ParquetTarget")
        given = [partition_cols] if isinstance(partition_cols, str) else partition_cols
        self._partitions = [] if self._one_file else [_partition(item) for item in given or _BY_DEFAULT]
        self._table = Table(
            parse_columns(columns), parse_columns(index_cols, "index_cols"), infer=bool(infer_columns_from_data)
        )
        self._time_field = time_field
        self._time_format = time_format
        self.path = path
        self._system, self._root = file_system(path.rstrip("/"), self.storage_options)
        both = {name for name, _ in self._partitions} & {column.name for column in self._table.index}
        if both:
            raise GraphError(f"columns cannot be both in partition_cols and index_cols: {', '.join(sorted(both))}")

    def entry(self, event: Any) -> dict[str, Any]:
        """Make a row of an event."""
        body = event.body
        if isinstance(body, dict):
            row = self._table.row(event, [name for name, _ in self._partitions])
            if self._time_field in row:
                row[self._time_field] = self._time_of(event)
            return row
        if not isinstance(body, (list, tuple)):
            raise TypeError(f"ParquetTarget writes dicts and lists, not {type(body).__name__}")
        if not self._table.columns:
            raise ValueError("ParquetTarget needs columns for bodies that are lists")
        return dict(zip(self._table.names, self._table.row_of_list(event), strict=False))

    def write(self, key: Any, entries: list[Any]) -> None:
        """Write one file."""
        frame = self._pandas.DataFrame(entries)
        index = [column.name for column in self._table.index]
        if index:
            frame = frame.set_index(index)
        if self._one_file:
            path = self._root
        else:
            path = f"{self._root}/{key}{'target' if self._single else uuid.uuid4()}.parquet"
        make_folder(self._system, path)
        options: dict[str, Any] = {}
        if any(column.kind for column in (*self._table.index, *self._table.columns)):
            options["schema"] = self._schema()
        with self._system.open(path, "wb") as file:
            frame.to_parquet(
                file, index=bool(index), coerce_timestamps="us", allow_truncated_timestamps=True, **options
            )

    def _schema(self) -> Any:
        inner = {name for name, _ in self._partitions}
        columns = [column for column in (*self._table.columns, *self._table.index) if column.name not in inner]
        return self._arrow.schema([(column.name, self._type(column.kind or "str")) for column in columns])

    def _type(self, kind: str) -> Any:
        if kind == "datetime":
            return self._arrow.timestamp("us")
        made = getattr(self._arrow, _KINDS.get(kind, kind), None)
        if not callable(made):
            raise GraphError(f"there is no column type '{kind}'")
        return made()

    def _time_of(self, event: Any) -> Any:
        if self._time_field in (None, ""):
            return event.time
        value = event.body[self._time_field]
        if isinstance(value, str):
            parse = datetime.datetime.strptime
            return parse(value, self._time_format) if self._time_format else datetime.datetime.fromisoformat(value)
        if isinstance(value, (int, float)):
            return datetime.datetime.fromtimestamp(value)
        return value

    def _folder_of(self, event: Any) -> str:
        time = self._time_of(event)
        folder = ""
        for name, spread in self._partitions:
            if name in _TIMES:
                value = time.strftime(_TIMES[name])
            elif name == "$key":
                value = ".".join(map(str, event.key)) if isinstance(event.key, list) else event.key
            else:
                value = event.body[name]
            label = name.removeprefix("$")
            if spread:
                label = f"hash{spread}_{label}"
                digest = hashlib.sha1(str(value).encode(), usedforsecurity=False).hexdigest()
                value = int(digest, 16) % spread
            folder += f"{label}={value}/"
        return folder


def _partition(given: Any) -> tuple[str, int]:
    """Read one of `partition_cols`: its name, and over how many folders it is spread; 0 for one a value."""
    name, spread = given if isinstance(given, (tuple, list)) and len(given) == 2 else (given, 0)
    if not isinstance(name, str) or not isinstance(spread, int):
        raise GraphError(f"partition_cols are names, or pairs of a name and a number, not {given!r:.60}")
    if name.startswith("$") and name != "$key" and name not in _TIMES:
        raise GraphError(f"partition_cols know $key, {', '.join(_TIMES)}, not {name}")
    return name, spread
