"""The kinds of steps, by the names that they are written down with."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from penstock.errors import GraphError
from penstock.resolve import nearest

if TYPE_CHECKING:
    from penstock.base import BaseStep

KINDS: dict[str, type[BaseStep]] = {}  # each class of steps that has a kind of its own adds itself
_LAZY = {"model_runner": "penstock.runner.step"}  # whose import adds it: not every graph has one


def step_from_dict(name: str, fields: dict[str, Any]) -> BaseStep:
    """Read one step that `to_dict` wrote.

    Raises
    ------
    GraphError
        There is no such kind of step; the text has the nearest.
    """
    kind = fields.get("kind") or "task"
    if kind in _LAZY and kind not in KINDS:
        importlib.import_module(_LAZY[kind])
    if kind not in KINDS:
        raise GraphError(f"step '{name}': there is no kind of step '{kind}'{nearest(str(kind), KINDS)}")
    step = KINDS[kind]()
    step.name = name
    step._read(fields)
    return step
