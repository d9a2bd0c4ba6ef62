"""Cells of tables: what a text stands for, when a time is, what is nothing."""

from __future__ import annotations

import re
from datetime import date, datetime, time, timezone
from typing import Any

_INTEGER = re.compile(r"-?(0|[1-9]\d{0,17})")
_NUMBER = re.compile(r"-?((0|[1-9]\d*)(\.\d*)?|\.\d+)([eE][+-]?\d+)?")
_LITERALS = {"": None, "true": True, "false": False}


def as_value(cell: str) -> Any:
    """Read a number, true or false; nothing is None, all else is text, as is a number with leading zeros.

    Examples
    --------
    >>> [as_value(cell) for cell in ("1", "-2.5e3", "True", "", "007", "1_000", "nan")]
    [1, -2500.0, True, None, '007', '1_000', 'nan']
    """
    literal = cell.lower()
    if literal in _LITERALS:
        return _LITERALS[literal]
    if _INTEGER.fullmatch(cell):
        return int(cell)
    return float(cell) if _NUMBER.fullmatch(cell) else cell


def as_time(value: Any, time_format: str | None = None) -> datetime:
    """Read a time: a datetime, a date, seconds since 1970, or text, by default in ISO format.

    Raises
    ------
    TypeError, ValueError
        It is no time.

    Examples
    --------
    >>> as_time("2024-05-01T10:00:00Z"), as_time("01/05/24", "%d/%m/%y")
    (datetime.datetime(2024, 5, 1, 10, 0, tzinfo=datetime.timezone.utc), datetime.datetime(2024, 5, 1, 0, 0))
    """
    if isinstance(value, datetime):
        return value
    if isinstance(value, date):
        return datetime.combine(value, time())
    if isinstance(value, (int, float)):
        return datetime.fromtimestamp(value, timezone.utc)
    if time_format:
        return datetime.strptime(value, time_format)
    return datetime.fromisoformat(re.sub("[zZ]$", "+00:00", value))  # Python 3.10 does not know the Z


def is_null(value: Any) -> bool:
    """Tell whether a value is none: None, or what is not equal to itself, as NaN and NaT.

    Examples
    --------
    >>> is_null(None), is_null(float("nan")), is_null(0), is_null("")
    (True, True, False, False)
    """
    return value is None or bool(value != value)  # noqa: PLR0124  # see above
