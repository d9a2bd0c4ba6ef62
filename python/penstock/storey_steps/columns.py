"""Which columns a target writes, and where they come from.

A column is given as "name", "name=field", "$attribute" or "name=$attribute" of the event, or as a pair (name, type).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

from penstock.errors import GraphError
from penstock.storey_steps.base import attribute_of

Given = str | tuple[str, Any]


@dataclasses.dataclass(frozen=True)
class Column:
    """One column.

    Examples
    --------
    >>> Column.parse("when=$time")
    Column(name='when', field=None, attribute='time', kind=None)
    """

    name: str
    field: str | None = None
    attribute: str | None = None
    kind: str | None = None

    @classmethod
    def parse(cls, given: Any, argument: str = "columns") -> Column:
        """Read one column."""
        kind: str | None = None
        if isinstance(given, (tuple, list)) and len(given) == 2:
            given, kind = given[0], str(given[1])
        if not (isinstance(given, str) and given):
            raise GraphError(f"{argument} are names, not {given!r:.60}")
        name, _, source = given.partition("=")
        if name.startswith("$"):
            return cls(name[1:], attribute=name[1:], kind=kind)
        if source.startswith("$"):
            return cls(name, attribute=source[1:], kind=kind)
        return cls(name, field=source or name, kind=kind)

    def of(self, event: Any, missing: Any = None) -> Any:
        """Return the column's value for an event with a dict."""
        if self.attribute is not None:
            return attribute_of(event, self.attribute)
        return event.body.get(self.field, missing)


def parse_columns(given: Given | Iterable[Given] | None, argument: str = "columns") -> list[Column]:
    """Read columns; a text is one."""
    if given is None:
        return []
    items = [given] if isinstance(given, str) else list(given)
    return [Column.parse(item, argument) for item in items]


class Table:
    """Makes rows of events: index columns first, then the others.

    Parameters
    ----------
    columns, index : list of Column
        What is asked for.
    infer : bool
        Whether the fields of the first dict that comes are columns, too, in the order of their names.
    missing : object
        What stands for a field that is not there.
    """

    def __init__(self, columns: list[Column], index: list[Column], *, infer: bool, missing: Any = None) -> None:
        self.columns = columns
        self.index = index
        self._infer = infer
        self._missing = missing

    @property
    def names(self) -> list[str]:
        """The columns' names."""
        return [column.name for column in (*self.index, *self.columns)]

    def row(self, event: Any, leave_out: Iterable[str] = ()) -> dict[str, Any]:
        """Make a dict of an event with a dict; without columns, it is all of the body."""
        if self._infer:
            self._infer = False
            known = set(self.names)
            self.columns = sorted(
                [*self.columns, *(Column(str(name), field=name) for name in event.body if name not in known)],
                key=lambda column: column.name,
            )
        left_out = set(leave_out)
        row = {column.name: column.of(event, self._missing) for column in (*self.index, *self.columns)}
        if not self.columns:
            row |= event.body
        return {name: value for name, value in row.items() if name not in left_out}

    def row_of_list(self, event: Any) -> list[Any]:
        """Make a list of an event with a list, among which attributes of the event take their places."""
        columns = [*self.index, *self.columns]
        if not any(column.attribute for column in columns):
            return list(event.body)
        values = iter(event.body)
        return [
            attribute_of(event, column.attribute) if column.attribute else next(values, self._missing)
            for column in columns
        ]
