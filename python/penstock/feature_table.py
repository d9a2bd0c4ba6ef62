"""Tables of features, in any of the forms that people have them in."""

from __future__ import annotations

import csv
import inspect
import io
import os
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any

from penstock.errors import GraphError
from penstock.extras import load_extra

Row = Sequence[Any]
Lookup = Callable[[list[Any]], list[Row | None]]
_CSV = (".csv",)
_PARQUET = (".parquet", ".pq")


class Table:
    """Rows of features by key.

    Attributes
    ----------
    index : list of str
        The columns that make the key.
    features : list of str
        The other columns, in order; empty if a callable gives rows without names.
    rows : dict, optional
        All rows by key; None for a callable.
    """

    def __init__(self, source: Any, index: Sequence[str], features: Sequence[str]) -> None:
        self.index = list(index)
        self.features = list(features)
        self.rows: dict[Hashable, Row] | None = None
        self._function: Callable[[list[Any]], Any] | None = None
        if isinstance(source, (str, os.PathLike)):
            source = _read(os.fspath(source))
        if hasattr(source, "itertuples") and hasattr(source, "columns"):
            self._take_frame(source)
        elif isinstance(source, Mapping):
            self._take_dict(source)
        elif isinstance(source, list):
            self._take_records(source)
        elif callable(source):
            if inspect.iscoroutinefunction(source):
                raise GraphError("a feature table that is an async function cannot be asked here: use a plain one")
            self._function = source
        else:
            raise GraphError(
                "a feature table is a DataFrame, a dict of rows by key, a function of keys, or the path of a CSV or "
                f"Parquet file, not {type(source).__name__}"
            )

    def look_up(self, keys: list[Any]) -> list[Row | None]:
        """Return the row of each key; None for a key that has none."""
        if self.rows is not None:
            return [self.rows.get(key) for key in keys]
        assert self._function is not None  # noqa: S101  # one of the two is set
        found = self._function(keys)
        if isinstance(found, Mapping):
            found = [found.get(key) for key in keys]
        rows = [self._row(row) for row in found]
        if len(rows) != len(keys):
            raise ValueError(f"the feature table's function gave {len(rows)} rows for {len(keys)} keys")
        return rows

    def _row(self, row: Any) -> Row | None:
        if row is None or not isinstance(row, Mapping):
            return row
        if not self.features:
            self.features = [name for name in row if name not in self.index]
        return [row.get(name) for name in self.features]

    def _take_frame(self, frame: Any) -> None:
        columns = [str(column) for column in frame.columns]
        named = [name for name in frame.index.names if name is not None]
        self.index = self.index or named
        if not self.index:
            raise GraphError("the DataFrame's index has no name: say which columns are the key with index=")
        if not set(self.index) <= set(columns):
            if set(self.index) - set(columns) - set(named):
                raise _unknown("index", set(self.index) - set(columns) - set(named), [*named, *columns])
            frame = frame.reset_index()
        self._choose([column for column in columns if column not in self.index])
        keys = frame[self.index].itertuples(index=False, name=None)
        self._fill(zip(keys, frame[self.features].itertuples(index=False, name=None), strict=True))

    def _take_records(self, records: list[Any]) -> None:
        if not self.index:
            raise GraphError("say which columns of the feature table are the key with index=")
        columns = list(records[0]) if records else self.features
        if set(self.index) - set(columns):
            raise _unknown("index", set(self.index) - set(columns), columns)
        self._choose([column for column in columns if column not in self.index])
        keys = (tuple(record.get(name) for name in self.index) for record in records)
        self._fill(
            (key, [record.get(name) for name in self.features]) for key, record in zip(keys, records, strict=True)
        )

    def _take_dict(self, source: Mapping[Any, Any]) -> None:
        first = next(iter(source.values()), None)
        if isinstance(first, Mapping):
            self._choose([name for name in first if name not in self.index])
        elif not self.features:
            raise GraphError("the rows of the feature table have no names: say what they are with features=")
        self.rows = {}
        for key, given in source.items():
            row = self._row(given)
            if row is None or len(row) != len(self.features):
                raise GraphError(f"the feature table's row of {key!r} does not have the features {self.features}")
            self.rows[key] = row

    def _choose(self, there: list[str]) -> None:
        if set(self.features) - set(there):
            raise _unknown("features", set(self.features) - set(there), there)
        self.features = self.features or there

    def _fill(self, items: Iterable[tuple[tuple[Any, ...], Row]]) -> None:
        self.rows = {}
        for parts, row in items:
            key = parts[0] if len(parts) == 1 else parts
            if key in self.rows:
                raise GraphError(f"the feature table has more than one row of {key!r}: keep the one that counts")
            self.rows[key] = row


def _unknown(what: str, names: Iterable[str], there: list[str]) -> GraphError:
    return GraphError(f"{what}: the feature table has no {', '.join(sorted(names))}; it has {', '.join(there)}")


def _read(path: str) -> Any:
    """Read a file of rows: CSV to a list of dicts, Parquet to a DataFrame."""
    suffix = os.path.splitext(path.lower())[1]
    if suffix not in (*_CSV, *_PARQUET):
        raise GraphError(f"the feature table '{path}' is no CSV or Parquet file; a function is named as _table='name'")
    import fsspec

    try:
        with fsspec.open(path, "rb") as file:
            if suffix in _PARQUET:
                load_extra("pyarrow", "parquet", f"the feature table '{path}'")
                return load_extra("pandas", "parquet", f"the feature table '{path}'").read_parquet(file)
            text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
            return [{name: _value(value) for name, value in row.items()} for row in csv.DictReader(text)]
    except OSError as error:
        raise GraphError(f"the feature table '{path}' cannot be read: {error}") from error


def _value(text: str | None) -> Any:
    """Read a field of a CSV file: a number where it is one, None where it is empty."""
    if not text:
        return None
    try:
        return int(text)
    except ValueError:
        return _number_or_text(text)


def _number_or_text(text: str) -> Any:
    try:
        return float(text)
    except ValueError:
        return text
