"""What a job writes, such that it can be taken back to where a checkpoint says."""

from __future__ import annotations

import abc
import csv
import os
import shutil
from typing import IO, Any

from penstock.errors import GraphError
from penstock.extras import load_extra
from penstock.offline.inputs import format_of
from penstock.render import render

_ALONE = "result"  # the column of answers that are no rows
_CELLS = (str, int, float, type(None))  # what a cell of CSV holds as it is


class Output(abc.ABC):
    """An output that grows: in a file beside the one it becomes at the end.

    Parameters
    ----------
    path : str
        Where it is when it is whole.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.partial = f"{path}.partial"

    @abc.abstractmethod
    def begin(self, mark: Any) -> None:
        """Go on at a mark that `write` has returned; None starts anew. What is behind it goes away."""

    @abc.abstractmethod
    def form(self, answer: Any) -> Any:
        """Make of an answer what `write` takes.

        Raises
        ------
        TypeError, ValueError
            It has no form in this format.
        """

    @abc.abstractmethod
    def write(self, answers: list[Any]) -> Any:
        """Write what `form` has made of answers; return the mark behind them, once they are on the disk."""

    @abc.abstractmethod
    def finish(self) -> None:
        """Make it whole."""

    @abc.abstractmethod
    def close(self) -> None:
        """Leave it as it is."""


def output_of(path: str) -> Output:
    """Make the output that a name asks for.

    Raises
    ------
    GraphError
        It is no local file, or of no format that is known.
    """
    if "://" in path:
        raise GraphError(f"the output is a file of this machine, not {path}: a job goes on where it was stopped")
    if os.path.isdir(path):
        raise GraphError(f"the output is a file, and {path} is a folder")
    folder = os.path.dirname(path)
    if folder and not os.path.isdir(folder):
        raise GraphError(f"there is no folder {folder} for the output")
    kinds: dict[str, type[Output]] = {"csv": CSVOutput, "parquet": ParquetOutput, "jsonl": LinesOutput}
    return kinds[format_of(path)](path)


class _TextOutput(Output):
    """An output in one file."""

    _file: IO[bytes] | None = None

    def begin(self, mark: Any) -> None:
        """Go on at a place in the file."""
        if mark is not None and not os.path.exists(self.partial):
            raise GraphError(f"{self.partial} is gone, so the job cannot go on; begin it anew with --restart")
        self._file = open(self.partial, "r+b" if mark is not None else "wb")  # noqa: SIM115  # stays open
        self._file.truncate(self._place(mark))
        self._file.seek(0, os.SEEK_END)

    @staticmethod
    def _place(mark: Any) -> int:
        return int(mark or 0)

    def _append(self, data: bytes) -> int:
        assert self._file is not None  # noqa: S101  # begin has run
        self._file.write(data)
        self._file.flush()
        os.fsync(self._file.fileno())
        return self._file.tell()

    def finish(self) -> None:
        """Give the file its name."""
        self.close()
        os.replace(self.partial, self.path)

    def close(self) -> None:
        """Leave the file as it is."""
        if self._file is not None:
            self._file.close()
            self._file = None


class LinesOutput(_TextOutput):
    """JSON lines: an answer a line, in the bytes that a caller over HTTP gets."""

    def form(self, answer: Any) -> bytes:
        """Make a line."""
        return _line(answer)

    def write(self, answers: list[Any]) -> int:
        """Write a line for each answer."""
        return self._append(b"".join(answers))


class CSVOutput(_TextOutput):
    """CSV: the columns are those of the first answer."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self._columns: list[str] = []

    def begin(self, mark: Any) -> None:
        """Go on at a mark: a place in the file, and the columns."""
        super().begin(mark)
        self._columns = list(mark[1]) if mark else []

    @staticmethod
    def _place(mark: Any) -> int:
        return int(mark[0]) if mark else 0

    def form(self, answer: Any) -> dict[str, Any]:
        """Make a row; lists and dicts in it become JSON."""
        return {name: value if isinstance(value, _CELLS) else _text(value) for name, value in as_row(answer).items()}

    def write(self, answers: list[Any]) -> list[Any]:
        """Write a row for each answer."""
        text = _Lines()
        writer = csv.writer(text, lineterminator="\n")
        for row in answers:
            if not self._columns:
                self._columns = list(row)
                writer.writerow(self._columns)
            if extra := [column for column in row if column not in self._columns]:
                raise GraphError(
                    f"an answer has the column '{extra[0]}', which the first has not; write JSON lines: "
                    f"{os.path.splitext(self.path)[0]}.jsonl"
                )
            writer.writerow([row.get(column) for column in self._columns])
        return [self._append("".join(text.parts).encode()), self._columns]


class ParquetOutput(Output):
    """Parquet: in parts, which become one file at the end."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self._arrow = load_extra("pyarrow", "parquet", "Parquet output")
        self._parquet = load_extra("pyarrow.parquet", "parquet", "Parquet output")
        self._parts = 0

    def begin(self, mark: Any) -> None:
        """Go on behind so many parts."""
        self._parts = int(mark or 0)
        if mark is not None and self._parts and not os.path.isdir(self.partial):
            raise GraphError(f"{self.partial} is gone, so the job cannot go on; begin it anew with --restart")
        os.makedirs(self.partial, exist_ok=True)
        for name in os.listdir(self.partial):
            if name >= self._name(self._parts):
                os.unlink(os.path.join(self.partial, name))

    def form(self, answer: Any) -> dict[str, Any]:
        """Make a row."""
        return as_row(answer)

    def write(self, answers: list[Any]) -> int:
        """Write a part."""
        if answers:
            names = dict.fromkeys(name for row in answers for name in row)
            table = self._arrow.table({name: self._column(name, answers) for name in names})
            self._parquet.write_table(table, os.path.join(self.partial, self._name(self._parts)))
            self._parts += 1
        return self._parts

    def _column(self, name: str, rows: list[dict[str, Any]]) -> Any:
        try:
            return self._arrow.array([row.get(name) for row in rows])
        except (self._arrow.ArrowInvalid, self._arrow.ArrowTypeError, self._arrow.ArrowNotImplementedError) as error:
            raise GraphError(
                f"the answers' column '{name}' has values that Parquet cannot hold together: {error}; write JSON "
                f"lines: {os.path.splitext(self.path)[0]}.jsonl"
            ) from None

    def finish(self) -> None:
        """Make one file of the parts."""
        parts = [os.path.join(self.partial, self._name(number)) for number in range(self._parts)]
        schemas = [self._parquet.read_schema(part) for part in parts]
        try:
            schema = self._arrow.unify_schemas(schemas or [self._arrow.schema([])], promote_options="permissive")
        except (self._arrow.ArrowInvalid, self._arrow.ArrowTypeError) as error:
            raise GraphError(f"the answers have no columns in common that Parquet can hold: {error}") from None
        whole = f"{self.partial}.whole"
        with self._parquet.ParquetWriter(whole, schema) as writer:
            for part in parts:
                table = self._parquet.read_table(part)
                for field in schema:
                    if field.name not in table.column_names:
                        table = table.append_column(field, self._arrow.nulls(len(table), field.type))
                writer.write_table(table.select(schema.names).cast(schema))
        os.replace(whole, self.path)
        shutil.rmtree(self.partial)

    def close(self) -> None:
        """Nothing is open between writes."""

    @staticmethod
    def _name(number: int) -> str:
        return f"part-{number:06}.parquet"


class _Lines:
    """What a CSV writer writes to."""

    def __init__(self) -> None:
        self.parts: list[str] = []

    def write(self, text: str) -> int:
        self.parts.append(text)
        return len(text)


def as_row(answer: Any) -> dict[str, Any]:
    """Make a row of an answer: what is no dict has one column, "result"; arrays become lists.

    Examples
    --------
    >>> as_row({"a": 1}), as_row([1, 2])
    ({'a': 1}, {'result': [1, 2]})
    """
    if hasattr(answer, "status_code") and hasattr(answer, "body"):  # a Response
        answer = answer.body
    if not isinstance(answer, dict):
        answer = {_ALONE: answer}
    return {str(key): value.tolist() if hasattr(value, "tolist") else value for key, value in answer.items()}


def _line(answer: Any) -> bytes:
    import orjson

    _, content_type, _, data = render(answer)
    if content_type != "application/json":
        try:
            data = orjson.dumps(data.decode())
        except UnicodeDecodeError:
            raise ValueError("bytes that are no text have no form in JSON lines; write Parquet") from None
    return data + b"\n"


def _text(value: Any) -> str:
    """Make the cell of what is no number or text."""
    return render(value)[3].decode()
