"""Routing by what a field of the body says."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from penstock.errors import (
    GraphError,
    MLRunInvalidArgumentError,
    MLRunInvalidArgumentTypeError,
    MLRunRuntimeError,
)
from penstock.storey_steps.fields import Choice


class ChoiceByField(Choice):
    """Sends each event to the steps that a field of its body names.

    Parameters
    ----------
    field_name : str
        The field; it holds the name of a following step, or a list of names.

    Examples
    --------
    >>> ChoiceByField("to").select_outlets({"to": "archive"})
    ['archive']
    """

    def __init__(self, field_name: Any, **options: Any) -> None:
        super().__init__(**options)
        if not isinstance(field_name, str) or not field_name:
            raise GraphError(f"field_name is the name of a field, not {field_name!r:.60}")
        self.field_name = field_name

    def select_outlets(self, event: Any) -> Collection[str]:
        """Return the names that the field holds."""
        body = event.body if self.full_event else event
        if not isinstance(body, dict):
            raise MLRunInvalidArgumentTypeError(
                f"the field '{self.field_name}' is that of a dict, the body is {type(body).__name__}"
            )
        if self.field_name not in body:
            raise MLRunRuntimeError(
                f"Field '{self.field_name}' is not contained in the event keys {list(map(str, body))}."
            )
        names = body[self.field_name]
        if names is None:
            raise MLRunInvalidArgumentError(f"Field '{self.field_name}' is None, it is to name a following step.")
        if isinstance(names, str):
            names = [names] if names else []
        if not isinstance(names, (list, tuple)):
            raise MLRunInvalidArgumentTypeError(
                f"Field '{self.field_name}' is to be a text, a list or a tuple, it is of type {type(names).__name__}."
            )
        if not names:
            raise MLRunRuntimeError(f"Field '{self.field_name}' is empty, it is to name a following step.")
        return list(names)
