"""The rows that a job reads: which files, in which format, how many."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from penstock.errors import GraphError
from penstock.sources import CSVSource, ParquetSource, Source

FORMATS = {
    ".csv": "csv", ".parquet": "parquet", ".pq": "parquet", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl",
}  # fmt: skip
_BLOCK = 1 << 20


def format_of(path: str) -> str:
    """Return the format that a name ends with.

    Raises
    ------
    GraphError
        It is none of those known.

    Examples
    --------
    >>> format_of("rows.csv"), format_of("out.ndjson")
    ('csv', 'jsonl')
    """
    suffix = os.path.splitext(path)[1].lower()
    if suffix not in FORMATS:
        raise GraphError(f"{path}: a name ends with {', '.join(FORMATS)}, which says the format")
    return FORMATS[suffix]


class Inputs:
    """The files of a job, in order.

    Parameters
    ----------
    given : str or list of str
        Files, folders of Parquet files, or patterns such as "in/*.csv"; also of other places that fsspec reads.

    Raises
    ------
    GraphError
        There is no such file, or they are of several formats.
    """

    def __init__(self, given: str | Sequence[str]) -> None:
        self.paths = [path for one in ([given] if isinstance(given, str) else given) for path in _found(str(one))]
        formats = {"parquet" if os.path.isdir(path) else format_of(path) for path in self.paths}
        if len(formats) != 1:
            raise GraphError(f"the input is of one format, not of {' and '.join(sorted(formats))}")
        self.format = formats.pop()

    def source(self) -> Source:
        """Make the source of the rows' events."""
        if self.format == "csv":
            return CSVSource(self.paths, header=True, build_dict=True)
        if self.format == "parquet":
            return ParquetSource(self.paths)
        from penstock.json_lines import JSONSource

        return JSONSource(self.paths)

    def has(self, path: str) -> bool:
        """Tell whether a file is one of these."""
        return os.path.exists(path) and any(os.path.exists(one) and os.path.samefile(one, path) for one in self.paths)

    def rows(self, start: int) -> Iterator[Any]:
        """Read the rows from one on."""
        return islice(self.source().rows(), start, None)

    def stamp(self) -> list[list[Any]]:
        """Return what tells these files from others, and from themselves after a change."""
        return [_stamp(path) for path in self.paths]

    def count(self) -> int | None:
        """Count the rows, for the time that is left; None if that would cost more than it is worth."""
        if any("://" in path for path in self.paths):
            return None
        if self.format == "parquet":
            from penstock.extras import load_extra

            dataset = load_extra("pyarrow.dataset", "parquet", "the job")
            return sum(int(dataset.dataset(path, format="parquet").count_rows()) for path in self.paths)
        return sum(_lines(path) for path in self.paths) - (len(self.paths) if self.format == "csv" else 0)


def _found(pattern: str) -> list[str]:
    if "://" in pattern:
        if not glob.has_magic(pattern):
            return [pattern]
        import fsspec

        try:
            files, place = fsspec.core.url_to_fs(pattern)
        except ImportError as error:  # what reads that place is not installed
            raise GraphError(f"{pattern}: {error}") from None
        paths = sorted(files.unstrip_protocol(path) for path in files.glob(place))
    else:
        pattern = os.path.expanduser(pattern)
        paths = sorted(glob.glob(pattern, recursive=True)) if not os.path.exists(pattern) else [pattern]
    if not paths:
        raise GraphError(f"there is no file {pattern}")
    if os.path.isdir(pattern) and not glob.glob(f"{glob.escape(pattern)}/**/*.parquet", recursive=True):
        raise GraphError(f"there is no Parquet file in {pattern}; of other formats write a pattern: '{pattern}/*.csv'")
    return paths


def _stamp(path: str) -> list[Any]:
    if "://" in path or os.path.isdir(path):
        return [path]
    status = os.stat(path)
    return [os.path.abspath(path), status.st_size, status.st_mtime_ns]


def _lines(path: str) -> int:
    lines, last = 0, b"\n"
    with open(path, "rb") as file:
        while block := file.read(_BLOCK):
            lines += block.count(b"\n")
            last = block[-1:]
    return lines + (last != b"\n")
