"""Steps that change the fields of a body, or its shape."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from penstock.errors import GraphError
from penstock.extras import load_extra
from penstock.resolve import nearest
from penstock.storey_steps.base import Runs, Step, attribute_of, dict_body, function_of, wait_for

Partitioned = namedtuple("Partitioned", ["left", "right"], defaults=[None, None])  # noqa: PYI024  # storey's own type


class DropColumns(Step):
    """Removes fields from the body.

    Examples
    --------
    >>> DropColumns(["a", "z"]).columns
    ['a', 'z']
    """

    def __init__(self, columns: str | Iterable[str], **options: Any) -> None:
        super().__init__(**options)
        self.columns = [columns] if isinstance(columns, str) else list(columns)

    def do_event(self, event: Any) -> Any:
        """Handle one event."""
        body = dict_body(event, "DropColumns")
        for column in self.columns:
            body.pop(column, None)
        event.body = body
        return event


class Rename(Step):
    """Renames fields of the body: a dict from the old name to the new one."""

    def __init__(self, mapping: Mapping[str, str], **options: Any) -> None:
        super().__init__(**options)
        if not isinstance(mapping, Mapping):
            raise GraphError(f"mapping is a dict from the old name to the new one, not {type(mapping).__name__}")
        self.mapping = dict(mapping)

    def do_event(self, event: Any) -> Any:
        """Handle one event."""
        body = dict_body(event, "Rename")
        for old, new in self.mapping.items():
            if old in body:
                body[new] = body.pop(old)
        event.body = body
        return event


_METADATA = ("content_type", "error", "headers", "id", "key", "method", "offset", "path", "processing_time", "time")


class ReifyMetadata(Step):
    """Puts attributes of the event into its body: names of attributes, or a dict from attribute to field."""

    def __init__(self, mapping: Mapping[str, str] | Iterable[str], **options: Any) -> None:
        super().__init__(**options)
        if isinstance(mapping, str):
            raise GraphError(f"mapping is a list of names or a dict from attribute to field, not the text '{mapping}'")
        self.mapping = dict(mapping) if isinstance(mapping, Mapping) else {name: name for name in mapping}

    def do_event(self, event: Any) -> Any:
        """Handle one event."""
        body = dict_body(event, "ReifyMetadata")
        for attribute, field in self.mapping.items():
            body[field] = _reified(event, attribute)
        event.body = body
        return event


def _reified(event: Any, attribute: str) -> Any:
    try:
        return attribute_of(event, attribute)
    except AttributeError:
        raise AttributeError(f"an event has no '{attribute}'{nearest(attribute, _METADATA)}") from None


class Partition(Step):
    """Makes the body `left` of a pair if `predicate`, which gets the event, is true, and `right` of it if not."""

    def __init__(self, predicate: Callable[[Any], Any], **options: Any) -> None:
        super().__init__(**options)
        self.predicate = function_of(predicate, "predicate", "Partition")

    def do_event(self, event: Any) -> Any:
        """Handle one event."""
        chosen = wait_for(self.predicate(event))
        event.body = Partitioned(left=event.body) if chosen else Partitioned(right=event.body)
        return event


class Choice(Step):
    """The base of steps that send each event to some of the steps that follow.

    Examples
    --------
    >>> class BySize(Choice):
    ...     def select_outlets(self, event):
    ...         return ["large"] if event["size"] > 10 else ["small"]
    """

    kind = "select"
    selects_only = True

    empty_drops = True

    def select_outlets(self, event: Any) -> Collection[str] | None:  # noqa: ARG002  # for subclasses
        """Return the names of the steps that the body goes to; an empty list filters it out."""
        raise TypeError(f"{type(self).__name__} has no select_outlets(); a subclass of Choice defines it")

    def _runs(self) -> Runs:
        if type(self).select_outlets is Choice.select_outlets:
            raise GraphError(f"{type(self).__name__} has no select_outlets(); a subclass of Choice defines it")
        return self.select_outlets, self.full_event


class Complete(Step):
    """Lets events pass: where the caller is answered is said by ``.respond()``."""

    kind = "pass"

    def _runs(self) -> Runs:
        return _pass, False


def _pass(body: Any) -> Any:
    return body


class ToDataFrame(Step):
    """Makes a pandas DataFrame of the body, a list of rows."""

    def __init__(self, index: str | None = None, columns: list[str] | None = None, **options: Any) -> None:
        super().__init__(**options)
        self._pandas = load_extra("pandas", "parquet", "ToDataFrame")
        self._index = index
        self._columns = columns

    def do(self, body: Any) -> Any:
        """Handle one body."""
        frame = self._pandas.DataFrame(body, columns=self._columns)
        return frame.set_index(self._index) if self._index else frame
