"""Steps whose result is there when the graph has ended, and checks of what passed."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from penstock.event import clone
from penstock.extras import load_extra
from penstock.storey_steps.base import Port, Step, attribute_of, function_of, wait_for


class Reduce(Step):
    """Folds all events into one value, which ``server.wait_for_completion()`` returns.

    Parameters
    ----------
    initial_value : object
        What the first call gets.
    fn : callable
        Gets the value so far and the body (or event), returns the new value; may be an async function.
    """

    def __init__(self, initial_value: Any, fn: Callable[[Any, Any], Any], **options: Any) -> None:
        super().__init__(**options)
        self.fn = function_of(fn, "fn", "Reduce")
        self._value = clone(initial_value) if isinstance(initial_value, (dict, list)) else initial_value

    def take(self, port: Port, token: int, event: Any) -> None:
        """Fold one event in."""
        self._value = wait_for(self.fn(self._value, self.element(event)))
        port.drop([token])

    def finish(self, port: Port) -> Any:  # noqa: ARG002  # nothing is left to be sent
        """Return the value."""
        return self._value


class ReduceToDataFrame(Step):
    """Gathers all bodies, dicts or lists, in a pandas DataFrame, which ``server.wait_for_completion()`` returns.

    Parameters
    ----------
    index : str, optional
        The column that becomes the index.
    columns : list of str, optional
        The columns.
    insert_key_column_as, insert_processing_time_column_as, insert_id_column_as : str, optional
        The names of columns for the events' keys, times and ids.
    """

    def __init__(
        self,
        index: str | None = None,
        columns: list[str] | None = None,
        insert_key_column_as: str | None = None,
        insert_processing_time_column_as: str | None = None,
        insert_id_column_as: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self._pandas = load_extra("pandas", "parquet", "ReduceToDataFrame")
        self._index = index
        self._columns = columns
        wanted = {"key": insert_key_column_as, "time": insert_processing_time_column_as, "id": insert_id_column_as}
        self._inserted = {attribute: column for attribute, column in wanted.items() if column}
        self._rows: list[Any] = []
        self._facts: dict[str, list[Any]] = {attribute: [] for attribute in self._inserted}

    def take(self, port: Port, token: int, event: Any) -> None:
        """Add one row."""
        body = event.body
        if not isinstance(body, (dict, list)):
            raise ValueError(f"ReduceToDataFrame takes bodies that are dicts or lists, not {type(body).__name__}")
        self._rows.append(body)
        for attribute, column in self._facts.items():
            column.append(attribute_of(event, attribute))
        port.drop([token])

    def finish(self, port: Port) -> Any:  # noqa: ARG002  # nothing is left to be sent
        """Return the DataFrame."""
        frame = self._pandas.DataFrame(self._rows, columns=self._columns)
        if frame.empty:
            return frame
        for attribute, column in self._inserted.items():
            frame[column] = self._facts[attribute]
        return frame.set_index(self._index) if self._index else frame


class Assert(Step):
    """Checks what passes: each event as it comes, and all of them when the graph ends.

    Examples
    --------
    >>> step = Assert().each_event(lambda body: body > 0).exactly(3)
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._of_each: list[Callable[[Any], Any]] = []
        self._of_count: list[tuple[str, int, Callable[[int, int], bool]]] = []
        self._of_all: list[tuple[str, Collection[Any], Callable[[Collection[Any], list[Any]], bool]]] = []
        self._seen: list[Any] = []
        self._count = 0

    def each_event(self, predicate: Callable[[Any], Any]) -> Assert:
        """Expect something of each body (or event)."""
        self._of_each.append(function_of(predicate, "predicate", "Assert.each_event"))
        return self

    def greater_or_equal_to(self, expected: int) -> Assert:
        """Expect at least so many events."""
        return self._counted(">=", expected, lambda count, bound: count >= bound)

    def greater_than(self, expected: int) -> Assert:
        """Expect more events than that."""
        return self._counted(">", expected, lambda count, bound: count > bound)

    def less_than(self, expected: int) -> Assert:
        """Expect fewer events than that."""
        return self._counted("<", expected, lambda count, bound: count < bound)

    def less_or_equal_to(self, expected: int) -> Assert:
        """Expect at most so many events."""
        return self._counted("<=", expected, lambda count, bound: count <= bound)

    def exactly(self, expected: int) -> Assert:
        """Expect so many events."""
        return self._counted("==", expected, lambda count, bound: count == bound)

    def match_exactly(self, expected: Collection[Any]) -> Assert:
        """Expect these, in any order, and no others."""
        return self._gathered("exactly", expected, _same_elements)

    def contains_all_of(self, expected: Collection[Any]) -> Assert:
        """Expect all of these."""
        return self._gathered("all of", expected, lambda wanted, seen: all(item in seen for item in wanted))

    def contains_any_of(self, expected: Collection[Any]) -> Assert:
        """Expect one of these at least."""
        return self._gathered("any of", expected, lambda wanted, seen: any(item in seen for item in wanted))

    def contains_none_of(self, expected: Collection[Any]) -> Assert:
        """Expect none of these."""
        return self._gathered("none of", expected, lambda wanted, seen: not any(item in seen for item in wanted))

    def take(self, port: Port, token: int, event: Any) -> None:
        """Check one event."""
        element = self.element(event)
        for predicate in self._of_each:
            if not predicate(element):
                raise AssertionError(f"the predicate is not true for {element!r:.200}")
        self._count += 1
        if self._of_all:
            self._seen.append(element)
        port.emit([token], event)

    def finish(self, port: Port) -> None:  # noqa: ARG002  # nothing is left to be sent
        """Check all."""
        for sign, expected, holds in self._of_count:
            if not holds(self._count, expected):
                raise AssertionError(f"step '{self.name}': expected event count {sign} {expected}, got {self._count}")
        for words, wanted, fits in self._of_all:
            if not fits(wanted, self._seen):
                raise AssertionError(f"step '{self.name}': expected {words} {wanted!r:.200}, got {self._seen!r:.200}")

    def _counted(self, sign: str, expected: int, holds: Callable[[int, int], bool]) -> Assert:
        self._of_count.append((sign, expected, holds))
        return self

    def _gathered(
        self, words: str, expected: Collection[Any], fits: Callable[[Collection[Any], list[Any]], bool]
    ) -> Assert:
        self._of_all.append((words, expected, fits))
        return self


def _same_elements(wanted: Collection[Any], seen: list[Any]) -> bool:
    left = list(seen)
    for item in wanted:
        if item not in left:
            return False
        left.remove(item)
    return not left
