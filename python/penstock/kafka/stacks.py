"""The stacks of failures as text: many records of a stream fail at the same place, and to format one takes its time."""

from __future__ import annotations

import traceback
from types import CodeType

_MOST = 64
_known: dict[tuple[tuple[CodeType, int, int], ...], str] = {}


def stack_of(error: BaseException) -> str:
    r"""Return the text of `traceback.format_exception`; frames that have been seen before are not formatted anew.

    Examples
    --------
    >>> stack_of(ValueError("no number"))
    'ValueError: no number\n'
    """
    if error.__cause__ is not None or error.__context__ is not None or hasattr(error, "exceptions"):
        return "".join(traceback.format_exception(error))
    places = []
    trace = error.__traceback__
    while trace is not None:
        places.append((trace.tb_frame.f_code, trace.tb_lasti, trace.tb_lineno))
        trace = trace.tb_next
    key = tuple(places)
    if (frames := _known.get(key)) is None:
        if len(_known) == _MOST:
            _known.clear()
        frames = _known[key] = "".join(traceback.format_tb(error.__traceback__))
    head = "Traceback (most recent call last):\n" if key else ""
    return head + frames + "".join(traceback.format_exception_only(error))
