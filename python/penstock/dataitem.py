"""A data item: something at a path or URL, read when it is asked for."""

from __future__ import annotations

import os
from typing import Any

from penstock.errors import GraphError
from penstock.extras import load_extra


class DataItem(str):
    """A path or URL that knows how to read itself; it is text, so it also goes where a path goes.

    Examples
    --------
    >>> import fsspec
    >>> fsspec.filesystem("memory").pipe("/docs/words.txt", b"some words")
    >>> item = DataItem("memory://docs/words.txt")
    >>> item.get(), item.suffix
    (b'some words', '.txt')
    """

    __slots__ = ()

    @property
    def url(self) -> str:
        """The path or URL."""
        return str(self)

    @property
    def key(self) -> str:
        """The name at its end."""
        return os.path.basename(self.rstrip("/"))

    @property
    def suffix(self) -> str:
        """The end of its name, with the dot."""
        return os.path.splitext(self.key)[1]

    def get(self, size: int | None = None, offset: int = 0, encoding: str | None = None) -> Any:
        """Return the content as bytes, or as text if an encoding is given.

        Parameters
        ----------
        size : int, optional
            How many bytes to read; by default all.
        offset : int
            How many bytes to leave out at the start.
        encoding : str, optional
            The text's encoding.
        """
        with self.open() as file:
            if offset:
                file.seek(offset)
            content: bytes = file.read(-1 if size is None else size)
        return content.decode(encoding) if encoding else content

    def open(self, mode: str = "rb") -> Any:
        """Open it as a file."""
        import fsspec

        return fsspec.open(self.url, mode).open()

    def local(self) -> str:
        """Return a path on this machine; what lies elsewhere is copied first, until the process ends."""
        from penstock.files import local_copy

        return local_copy(self.url, "data item")

    def exists(self) -> bool:
        """Tell whether it is there."""
        import fsspec

        files, path = fsspec.core.url_to_fs(self.url)
        return bool(files.exists(path))

    def listdir(self) -> list[str]:
        """Return the names of what a directory holds."""
        import fsspec

        files, path = fsspec.core.url_to_fs(self.url)
        return sorted(os.path.basename(entry.rstrip("/")) for entry in files.ls(path, detail=False))

    def as_df(self, columns: list[str] | None = None, format: str = "") -> Any:  # noqa: A002  # MLRun's name
        """Read a table (CSV, Parquet or JSON) as a pandas DataFrame.

        Parameters
        ----------
        columns : list of str, optional
            Which columns; by default all.
        format : str, optional
            "csv", "parquet" or "json"; by default the name's end.

        Raises
        ------
        GraphError
            It is none of these.
        """
        kind = format or self.suffix.lstrip(".")
        pandas = load_extra("pandas", "parquet", "as_df")
        local = self.local()
        if kind == "csv":
            return pandas.read_csv(local, usecols=columns)
        if kind in ("parquet", "pq"):
            return pandas.read_parquet(local, columns=columns)
        if kind == "json":
            frame = pandas.read_json(local)
            return frame if columns is None else frame[columns]
        raise GraphError(f"{self} is no csv, parquet or json file; name its format, as_df(format='csv')")


def get_dataitem(url: str) -> DataItem:
    """Return the data item at a path or URL, or the one that a ``store://`` URI names.

    Examples
    --------
    >>> get_dataitem("data/rows.csv").suffix
    '.csv'
    """
    if not str(url).startswith("store://"):
        return DataItem(url)
    from penstock.store import get_resource

    found = get_resource(str(url))
    if isinstance(found, DataItem):
        return found
    to_item = getattr(found, "to_dataitem", None)
    if to_item is None:
        raise GraphError(f"{url} is a {type(found).__name__}, no data item")
    item: DataItem = to_item()
    return item
