"""Streams into files of JSON lines."""

from __future__ import annotations

import os
import threading
from typing import IO, Any

from penstock.errors import GraphClosed, GraphError
from penstock.streams.records import as_list, to_json


class FileStream:
    """A file that each record is added to, as a line of JSON.

    A push returns when its lines are with the operating system. Several processes may write to one file: the
    lines of a push are written by one call.

    Parameters
    ----------
    path : str
        The file, with or without ``file://``; its directory is made if need be.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder) / "out.jsonl"
    ...     stream = FileStream(str(path))
    ...     stream.push([{"n": 1}, "two"])
    ...     stream.close()
    ...     print(path.read_text(), end="")
    {"n":1}
    "two"
    """

    def __init__(self, path: str, **_: Any) -> None:
        self.path = os.path.abspath(path[len("file://") :] if path.lower().startswith("file://") else path)
        self._lock = threading.Lock()  # guards _file
        try:
            os.makedirs(os.path.dirname(self.path), exist_ok=True)
            self._file: IO[bytes] | None = open(self.path, "ab", buffering=0)  # noqa: SIM115  # closed by close()
        except OSError as error:
            raise GraphError(f"cannot write the stream {path}: {error.strerror}") from error

    def push(self, records: Any, key: Any = None) -> None:  # noqa: ARG002  # a file has no partitions
        """Write records, a line each."""
        lines = b"".join(to_json(record) + b"\n" for record in as_list(records))
        with self._lock:
            if self._file is None:
                raise GraphClosed(f"the stream {self.path} is closed")
            left = memoryview(lines)
            while left:  # a full disk or a signal may cut a write short
                left = left[self._file.write(left) or 0 :]

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            if self._file is not None:
                self._file.close()
                self._file = None
