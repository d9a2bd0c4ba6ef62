"""A step that lets only right events pass."""

from __future__ import annotations

import itertools
import json
import logging
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from penstock.errors import BadRequest, GraphError, PenstockError, text_of
from penstock.extras import load_extra
from penstock.paths import get_in
from penstock.resolve import Resolver, is_async, qualified_name

if TYPE_CHECKING:
    from penstock._core import Event

_MOST_FAULTS = 5  # that one error tells
_LONGEST = 120  # characters of a wrong value
_POLICIES = ("fail", "drop")
_logger = logging.getLogger("penstock.validators")


class InvalidEvent(BadRequest):
    """An event that is not as the graph's validator wants it."""


class Validator:
    """Checks each event against a JSON Schema, with a function, or with both; a right one goes on as it came.

    Parameters
    ----------
    schema : dict or str, optional
        A JSON Schema, or the path or URL of a file that holds one.
    check : callable or str, optional
        A function of the body, its name, or an expression such as ``"(event['n'] > 0)"``. False, or an exception,
        means that the body is wrong; every other result that it is right.
    on_invalid : str
        "fail": the event fails with 400 and says what is wrong where; "drop": it is logged and left out.
    full_event : bool
        Whether `check` gets the event instead of its body.
    input_path : str, optional
        Check only this part of the body, for example "request.row".

    Examples
    --------
    >>> import penstock
    >>> fn = penstock.new_function("rows")
    >>> graph = fn.set_topology("flow")
    >>> _ = graph.to("Validator", check="(event['n'] > 0)").to("(event['n'] + 1)", name="add").respond()
    >>> with fn.to_mock_server() as server:
    ...     server.test(body={"n": 1})
    2
    """

    def __init__(
        self,
        schema: dict[str, Any] | bool | str | None = None,
        check: Callable[[Any], Any] | str | None = None,
        *,
        on_invalid: str = "fail",
        full_event: bool = False,
        input_path: str | None = None,
        name: str | None = None,
        resolver: Resolver | None = None,
    ) -> None:
        self.name = name or type(self).__name__
        if schema is None and check is None:
            raise GraphError(f"step '{self.name}': give schema= or check=")
        if on_invalid not in _POLICIES:
            raise GraphError(f"step '{self.name}': on_invalid is 'fail' or 'drop', not {on_invalid!r}")
        self.on_invalid = on_invalid
        self._full_event = full_event
        self._input_path = input_path
        self._schema = None if schema is None else _compiled(self.name, schema)
        self._check = None if check is None else _function(self.name, check, resolver)
        self._check_name = f"the check {check if isinstance(check, str) else qualified_name(check)}"

    def do_event(self, event: Event) -> Any:
        """Let the event pass, fail it, or drop it."""
        fault = self._fault(event)
        if fault is None:
            return event
        if self.on_invalid == "drop":
            from penstock.event import DROPPED

            _logger.warning("step '%s' dropped event %s: %s", self.name, event.id, fault.where)
            return DROPPED
        raise InvalidEvent(fault.text)

    def _fault(self, event: Event) -> _Fault | None:
        body = get_in(event.body, self._input_path)
        if self._schema is not None and (fault := self._schema(body)) is not None:
            return fault
        if self._check is None:
            return None
        try:
            right = self._check(event if self._full_event else body)
        except PenstockError:
            raise  # it says itself what the caller gets
        except Exception as error:
            kind = type(error).__name__
            return _Fault(f"{kind}: {text_of(error)}", f"{self._check_name} raised {kind}")
        refused = f"{self._check_name} refused it"
        return _Fault(refused, refused) if right is False else None


class _Fault(NamedTuple):
    text: str
    where: str  # what may be logged: nothing of the body


def _function(step: str, check: Any, resolver: Resolver | None) -> Callable[[Any], Any]:
    if isinstance(check, str):
        try:
            check = (resolver or Resolver(sys.modules.get("__main__"))).function(check, what="check")
        except GraphError as error:
            raise type(error)(f"step '{step}': {error}") from None
    if not callable(check):
        raise GraphError(f"step '{step}': check is a function or its name, not of type {type(check).__name__}")
    if is_async(check):
        raise GraphError(f"step '{step}': the check is an async function; a check is a plain one")
    function: Callable[[Any], Any] = check
    return function


def _compiled(step: str, schema: Any) -> Callable[[Any], _Fault | None]:
    what = f"step '{step}' with a schema"
    jsonschema = load_extra("jsonschema", "validate", what)
    registry = load_extra("referencing", "validate", what).Registry()  # it fetches nothing from anywhere
    if isinstance(schema, str):
        schema = _read(step, schema)
    kind = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
    try:
        kind.check_schema(schema)
    except jsonschema.SchemaError as error:
        raise GraphError(f"step '{step}': the schema is wrong at {error.json_path}: {error.message}") from None
    validator = kind(schema, format_checker=kind.FORMAT_CHECKER, registry=registry)

    def check(body: Any) -> _Fault | None:
        wrong = list(itertools.islice(validator.iter_errors(body), _MOST_FAULTS))
        if not wrong:
            return None
        text = "; ".join(f"{error.json_path}: {_said(error)}" for error in wrong)
        return _Fault(text, ", ".join(f"{error.json_path} ({error.validator})" for error in wrong))

    return check


def _read(step: str, path: str) -> Any:
    import fsspec

    try:
        with fsspec.open(path, "rt", encoding="utf-8") as file:
            return json.load(file)
    except FileNotFoundError:
        raise GraphError(f"step '{step}': there is no schema file {path}") from None
    except ValueError as error:
        raise GraphError(f"step '{step}': the schema file {path} is no JSON: {error}") from None


def _said(error: Any) -> str:
    """Say what was expected; a long value, which the package repeats in full, is cut."""
    value = repr(error.instance)
    message: str = error.message
    return message if len(value) <= _LONGEST else message.replace(value, value[:_LONGEST] + "...")
