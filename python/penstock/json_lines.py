"""Rows as lines of JSON: a source of events."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from penstock.errors import BadBody, GraphError
from penstock.sources import Source


class JSONSource(Source):
    r"""The lines of files, each a JSON value.

    Parameters
    ----------
    paths : str or list of str
        Files, also of other places that fsspec reads.
    **fields
        `key_field`, `time_field` and `id_field`.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder) / "rows.jsonl"
    ...     _ = path.write_text('{"n": 1}\n\n[2]\n')
    ...     print([event.body for event in JSONSource(str(path))])
    [{'n': 1}, [2]]
    """

    def __init__(self, paths: str | list[str], **fields: Any) -> None:
        super().__init__(**fields)
        self._paths = [paths] if isinstance(paths, str) else list(paths)

    def rows(self) -> Iterator[Any]:
        """Read the rows; empty lines are none."""
        import fsspec
        import orjson

        for path in self._paths:
            try:
                opened = fsspec.open(path, "rb").open()
            except FileNotFoundError:
                raise GraphError(f"JSONSource: there is no file {path}") from None
            except ImportError as error:  # what reads that place is not installed
                raise GraphError(f"JSONSource: {path}: {error}") from None
            with opened as file:
                for number, line in enumerate(file, 1):
                    if not line.strip():
                        continue
                    try:
                        yield orjson.loads(line)
                    except orjson.JSONDecodeError as error:
                        raise BadBody(f"JSONSource: {path}, line {number}: {error}") from None
