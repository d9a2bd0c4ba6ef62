"""Where events come from that nobody sends: files, data frames and tables, under storey's names.

A source is iterated: it reads in chunks and gives an event for each row. ``source.run(server)`` feeds a graph with
them and lets it finish; `penstock.feeding.feed` feeds one that stays.
"""

from __future__ import annotations

import abc
import csv
import logging
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from penstock.cells import as_time, as_value, is_null
from penstock.errors import BadBody, GraphError
from penstock.extras import load_extra
from penstock.feeding import Fed, feed
from penstock.resolve import nearest

if TYPE_CHECKING:
    from penstock._core import Event
    from penstock.server import GraphServer

__all__ = ["CSVSource", "DataframeSource", "ParquetSource", "SQLSource", "Source", "feed"]

_CHUNK = 1000  # rows in memory at once
_logger = logging.getLogger("penstock.sources")

Field = str | int


class Source(abc.ABC):
    """A source of events; subclasses say where the rows come from.

    Parameters
    ----------
    key_field : str, int or list of these, optional
        The column, or columns, of `event.key`. Rows without a key are logged, counted in `skipped`, and left out.
    time_field : str or int, optional
        The column of `event.time`: a datetime, a text in ISO format, or seconds since 1970.
    id_field : str or int, optional
        The column of `event.id`.
    """

    def __init__(
        self,
        *,
        key_field: Field | list[Field] | None = None,
        time_field: Field | None = None,
        id_field: Field | None = None,
    ) -> None:
        self.key_field = key_field
        self.time_field = time_field
        self.id_field = id_field
        self.skipped = 0

    @abc.abstractmethod
    def rows(self) -> Iterator[Any]:
        """Read the rows: dicts by column, or lists."""

    def __iter__(self) -> Iterator[Event]:
        from penstock._core import Event

        self.skipped = 0
        for row in self.rows():
            event = Event(row)
            if self.key_field is not None:
                key = self._key(row)
                if key is None:
                    self.skipped += 1
                    _logger.warning("a row of %s has no key, it is left out", type(self).__name__)
                    continue
                event.key = key
            if self.time_field is not None and not is_null(time := self._field(row, self.time_field)):
                event.time = self._time(time, self.time_field)
            if self.id_field is not None and not is_null(identity := self._field(row, self.id_field)):
                event.id = str(identity)
            yield event

    def run(self, server: GraphServer, **options: Any) -> Fed:
        """Feed a graph with all rows, and wait until it is done; it takes no events after that.

        Parameters
        ----------
        server : GraphServer
            The graph.
        **options
            Those of `feed`.
        """
        fed = feed(server, self, **options)
        fed.result = server.wait_for_completion()
        return fed

    def _key(self, row: Any) -> Any:
        if not isinstance(self.key_field, list):
            key = self._field(row, self.key_field)
            return None if is_null(key) else key
        keys = tuple(self._field(row, field) for field in self.key_field)
        return None if any(is_null(key) for key in keys) else keys

    def _field(self, row: Any, field: Any) -> Any:
        try:
            return row[self._place(field)]
        except (KeyError, IndexError, TypeError):
            pass
        known = [str(column) for column in self._columns(row)]
        raise GraphError(
            f"{type(self).__name__}: there is no column {field!r}{nearest(str(field), known)}; "
            f"there are {', '.join(known)}"
        )

    def _place(self, field: Any) -> Any:
        return field

    def _columns(self, row: Any) -> Iterable[Any]:
        return row if isinstance(row, dict) else range(len(row))

    def _time(self, value: Any, field: Any, time_format: str | None = None) -> datetime:
        try:
            return as_time(value, time_format)
        except (TypeError, ValueError) as error:
            raise BadBody(f"{type(self).__name__}: column {field!r} is no time: {error}") from None


class CSVSource(Source):
    r"""The rows of CSV files, read line by line with nothing but Python.

    Parameters
    ----------
    paths : str or list of str
        Files, also of other places that fsspec reads.
    header : bool
        Whether the first line has the columns' names.
    build_dict : bool
        Whether a body is a dict by column; else it is a list. Needs `header`.
    timestamp_format : str, optional
        How times are written, for `time_field` and `parse_dates`; by default ISO format.
    type_inference : bool
        Whether numbers and true/false become such, and nothing None; else all is text. Each cell is looked at
        alone, and a number with leading zeros stays text.
    parse_dates : str, int or list of these, optional
        Columns to read as times, beside `time_field`.
    **fields
        `key_field`, `time_field` and `id_field`: names, or numbers from 0 without a header.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder) / "rows.csv"
    ...     _ = path.write_text("name,n\nann,1\nbob,2.5\n")
    ...     source = CSVSource(str(path), header=True, build_dict=True, key_field="name")
    ...     print([(event.key, event.body) for event in source])
    [('ann', {'name': 'ann', 'n': 1}), ('bob', {'name': 'bob', 'n': 2.5})]
    """

    def __init__(
        self,
        paths: str | Sequence[str],
        header: bool = False,
        build_dict: bool = False,
        *,
        timestamp_format: str | None = None,
        type_inference: bool = True,
        parse_dates: Field | list[Field] | None = None,
        **fields: Any,
    ) -> None:
        super().__init__(**fields)
        if build_dict and not header:
            raise GraphError("CSVSource: build_dict=True needs header=True, for the columns' names")
        self._paths = _listed(paths)
        self._header, self._build_dict = header, build_dict
        self._read = as_value if type_inference else str
        self._timestamp_format = timestamp_format
        self._names: list[str] = []
        times = [] if parse_dates is None else parse_dates if isinstance(parse_dates, list) else [parse_dates]
        self._times = times if self.time_field is None or self.time_field in times else [*times, self.time_field]

    def rows(self) -> Iterator[Any]:
        """Read the rows."""
        for path in self._paths:
            with _opened(path) as file:
                try:
                    yield from self._rows_of(path, csv.reader(file))
                except UnicodeDecodeError as error:
                    raise BadBody(f"CSVSource: {path} is no text in UTF-8: {error}") from None

    def _rows_of(self, path: str, lines: Any) -> Iterator[Any]:
        self._names = next(lines, []) if self._header else []
        width = len(self._names)
        for cells in lines:
            if not cells:  # an empty line
                continue
            width = width or len(cells)
            if len(cells) != width:
                raise BadBody(f"CSVSource: {path}, line {lines.line_num}: {len(cells)} cells instead of {width}")
            row: Any = [self._read(cell) for cell in cells]
            if self._times:
                self._with_times(row, cells)
            yield dict(zip(self._names, row, strict=True)) if self._build_dict else row

    def _with_times(self, row: list[Any], cells: list[str]) -> None:
        for field in self._times:
            self._field(cells if not self._build_dict else dict(zip(self._names, cells, strict=True)), field)
            place = self._names.index(field) if isinstance(field, str) else field
            row[place] = self._time(cells[place], field, self._timestamp_format) if cells[place] else None

    def _place(self, field: Any) -> Any:
        return field if self._build_dict or field not in self._names else self._names.index(field)

    def _columns(self, row: Any) -> Iterable[Any]:
        return self._names or super()._columns(row)


class ParquetSource(Source):
    """The rows of Parquet files or directories, as dicts; filters are applied where the file allows.

    Parameters
    ----------
    paths : str or list of str
        Files or directories, also of other places that fsspec reads.
    columns : list of str, optional
        Only these columns.
    start_filter, end_filter : datetime, optional
        Only rows whose `filter_column` is after the start, and not after the end.
    filter_column : str, optional
        By default `time_field`.
    additional_filters : list, optional
        Conditions such as ``[("n", ">", 1), ("kind", "in", ["a", "b"])]``, which all hold; a list of such lists is
        for alternatives.
    **fields
        `key_field`, `time_field` and `id_field`.
    """

    def __init__(
        self,
        paths: str | Sequence[str],
        columns: list[str] | None = None,
        *,
        start_filter: datetime | None = None,
        end_filter: datetime | None = None,
        filter_column: str | None = None,
        additional_filters: list[Any] | None = None,
        **fields: Any,
    ) -> None:
        super().__init__(**fields)
        self._paths = _listed(paths)
        self._columns_read = columns
        column = filter_column or self.time_field
        if (start_filter or end_filter) and column is None:
            raise GraphError("ParquetSource: start_filter and end_filter need filter_column or time_field")
        bounds = [
            (column, sign, bound) for sign, bound in ((">", start_filter), ("<=", end_filter)) if bound is not None
        ]
        given = additional_filters or []
        ways = given if given and isinstance(given[0], list) else [given]
        self._filters = [[tuple(condition) for condition in way] + bounds for way in ways]

    def rows(self) -> Iterator[dict[str, Any]]:
        """Read the rows."""
        dataset = load_extra("pyarrow.dataset", "parquet", "ParquetSource")
        wanted: Any = None
        if any(self._filters):
            wanted = load_extra("pyarrow.parquet", "parquet", "ParquetSource").filters_to_expression(self._filters)
        for path in self._paths:
            try:
                files, place = _file_system(path)
                found = dataset.dataset(place, format="parquet", partitioning="hive", filesystem=files)
            except FileNotFoundError:
                raise GraphError(f"ParquetSource: there is no file or directory {path}") from None
            batches = found.to_batches(
                columns=self._columns_read, filter=wanted, batch_size=_CHUNK, batch_readahead=2, fragment_readahead=1
            )
            for batch in batches:
                yield from batch.to_pylist()


class DataframeSource(Source):
    """The rows of pandas data frames, as dicts.

    Parameters
    ----------
    dfs : DataFrame or iterable of DataFrame
        The frames; an iterable is read one by one.
    **fields
        `key_field`, `time_field` and `id_field`: columns, or names of the index.
    """

    def __init__(self, dfs: Any, **fields: Any) -> None:
        super().__init__(**fields)
        self._frames = [dfs] if hasattr(dfs, "iloc") else dfs

    def rows(self) -> Iterator[dict[str, Any]]:
        """Read the rows."""
        asked = {self.time_field, self.id_field}
        asked |= set(self.key_field) if isinstance(self.key_field, list) else {self.key_field}
        for frame in self._frames:
            from_index = any(name is not None and name in asked for name in frame.index.names)
            for start in range(0, len(frame), _CHUNK):
                chunk = frame.iloc[start : start + _CHUNK]
                yield from (chunk.reset_index() if from_index else chunk).to_dict("records")


class SQLSource(Source):
    """The rows of a table, as dicts, through SQLAlchemy.

    Parameters
    ----------
    db_path : str
        The database's URL, such as "sqlite:///rows.db".
    table_name : str
        The table, or "schema.table".
    time_fields : list of str, optional
        Columns to read as times where the database has them as text.
    **fields
        `key_field`, `time_field` and `id_field`.
    """

    def __init__(self, db_path: str, table_name: str, *, time_fields: list[str] | None = None, **fields: Any) -> None:
        super().__init__(**fields)
        self._db_path, self._table_name = db_path, table_name
        self._times = list(time_fields or [])

    def rows(self) -> Iterator[dict[str, Any]]:
        """Read the rows."""
        sqlalchemy = load_extra("sqlalchemy", "sql", "SQLSource")
        try:
            engine = sqlalchemy.create_engine(self._db_path)
        except sqlalchemy.exc.ArgumentError:
            raise GraphError("SQLSource: db_path is no URL of a database, such as sqlite:///rows.db") from None
        try:
            table = self._table(sqlalchemy, engine)
            with engine.connect().execution_options(stream_results=True, yield_per=_CHUNK) as connection:
                for row in connection.execute(sqlalchemy.select(table)).mappings():
                    values = dict(row)
                    for field in self._times:
                        if not is_null(time := self._field(values, field)):
                            values[field] = self._time(time, field)
                    yield values
        finally:
            engine.dispose()

    def _table(self, sqlalchemy: Any, engine: Any) -> Any:
        schema, _, name = self._table_name.rpartition(".")
        try:
            return sqlalchemy.Table(name, sqlalchemy.MetaData(), schema=schema or None, autoload_with=engine)
        except sqlalchemy.exc.NoSuchTableError:
            known = sqlalchemy.inspect(engine).get_table_names(schema=schema or None)
            raise GraphError(f"SQLSource: there is no table '{self._table_name}'{nearest(name, known)}") from None


def _listed(paths: str | Sequence[str]) -> list[str]:
    return [str(paths)] if isinstance(paths, str) or not isinstance(paths, Sequence) else [str(path) for path in paths]


def _opened(path: str) -> Any:
    import fsspec

    try:
        return fsspec.open(path, "rt", newline="", encoding="utf-8-sig").open()
    except FileNotFoundError:
        raise GraphError(f"CSVSource: there is no file {path}") from None
    except ImportError as error:  # what reads that place is not installed
        raise GraphError(f"CSVSource: {path}: {error}") from None


def _file_system(path: str) -> tuple[Any, str]:
    if "://" not in path:
        return None, path
    import fsspec

    return fsspec.core.url_to_fs(path)  # type: ignore[no-any-return,unused-ignore]  # it has no types
