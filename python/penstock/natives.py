"""Steps of storey that the core runs itself: a graph names them, nothing of storey is imported."""

from __future__ import annotations

from penstock.errors import GraphError
from penstock.resolve import nearest

_KINDS = {"storey.Extend": "extend", "storey.Filter": "filter", "storey.FlatMap": "flat_map", "storey.Map": "map"}
_PREFIX = "storey."


def native_kind(class_name: str) -> str | None:
    """Return the core's kind for a class of storey; None if the name is not storey's.

    Raises
    ------
    GraphError
        The class is storey's, but not one that the core knows.

    Examples
    --------
    >>> native_kind("storey.FlatMap"), native_kind("my.FlatMap")
    ('flat_map', None)
    """
    if not class_name.startswith(_PREFIX):
        return None
    if class_name not in _KINDS:
        raise GraphError(
            f"'{class_name}' is not among the steps of storey that run natively ({', '.join(sorted(_KINDS))})"
            f"{nearest(class_name, _KINDS)}"
        )
    return _KINDS[class_name]
