"""Feature vectors: what models are given instead of keys, in a fixed order."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from penstock.errors import BadRequest, GraphError, MLRunNotFoundError
from penstock.feature_table import Table
from penstock.resolve import nearest

_STATISTICS = ("$mean", "$min", "$max", "$std", "$count")
_NAMED = 5  # keys that an error names


class FeatureVector:
    """Rows of features by key, from a table or a function.

    Parameters
    ----------
    table : DataFrame, dict, list of dict, callable, str or PathLike
        A pandas DataFrame; a dict of key to row (a dict, or a list in the order of `features`); rows as dicts; a
        function that takes a list of keys and returns as many rows (None for a key it does not know) or a dict of
        them by key; or the path or URL of a CSV or Parquet file.
    index : str or list of str, optional
        The columns that make the key; by default the names of the DataFrame's index.
    features : list of str, optional
        Which features, and in which order; by default all, as they come.
    name : str
        For errors.

    Examples
    --------
    >>> vector = FeatureVector({"ann": {"age": 31, "visits": 2}, "bob": {"age": None, "visits": 4}}, index="user")
    >>> vector.features, vector.get(["bob", {"user": "ann"}])
    (['age', 'visits'], [[None, 4], [31, 2]])
    >>> vector.get(["bob"], vector.fills({"age": "$mean"}))
    [[31.0, 4]]
    """

    def __init__(
        self,
        table: Any,
        *,
        index: str | Sequence[str] = (),
        features: Sequence[str] = (),
        name: str = "",
    ) -> None:
        self.name = name
        self._table = Table(table, [index] if isinstance(index, str) else index, features)
        self._stats: dict[str, dict[str, float]] | None = None

    @property
    def index(self) -> list[str]:
        """The columns that make the key."""
        return self._table.index

    @property
    def features(self) -> list[str]:
        """The features, in the order of a row."""
        return self._table.features

    def get(self, keys: Sequence[Any], fills: Sequence[Any] | None = None) -> list[list[Any]]:
        """Return the row of each key.

        Parameters
        ----------
        keys : list
            Each a key, or a dict with the columns of the index; a list where several columns make the key.
        fills : list, optional
            What a missing value becomes, as `fills` returns it; None leaves it as it is.

        Raises
        ------
        MLRunNotFoundError
            A key has no row, and there is nothing to put for some of the features.
        BadRequest
            What is given is no key.
        """
        wanted = [self._key(position, key) for position, key in enumerate(keys)]
        found = self._table.look_up(wanted)
        complete = fills is not None and None not in fills
        unknown = [key for key, row in zip(wanted, found, strict=True) if row is None and not complete]
        if unknown:
            named = ", ".join(repr(key) for key in unknown[:_NAMED]) + (", ..." if len(unknown) > _NAMED else "")
            of = f" '{self.name}'" if self.name else ""
            raise MLRunNotFoundError(f"feature vector{of} has no row for {'/'.join(self.index) or 'key'} {named}")
        if fills is None:
            return [list(row or ()) for row in found]
        return [_filled(fills if row is None else row, fills) for row in found]

    @property
    def stats(self) -> dict[str, dict[str, float]]:
        """The mean, min, max, std and count of each feature that has numbers.

        Raises
        ------
        GraphError
            The rows come from a function.
        """
        if self._stats is None:
            rows = self._table.rows
            if rows is None:
                raise GraphError("a feature table that is a function has no statistics: give values, not $mean")
            self._stats = {}
            for column, feature in enumerate(self.features):
                numbers = [row[column] for row in rows.values() if _is_number(row[column])]
                if numbers:
                    self._stats[feature] = _described(numbers)
        return self._stats

    def fills(self, policy: Mapping[str, Any]) -> list[Any] | None:
        """Return what a missing value of each feature becomes by a policy such as ``{"*": "$mean", "age": 33}``.

        Parameters
        ----------
        policy : dict
            By feature, "*" for all others: a value, or ``$mean``, ``$min``, ``$max``, ``$std`` or ``$count``.

        Raises
        ------
        GraphError
            The policy names what there is not.
        """
        if not policy:
            return None
        if not self.features:
            raise GraphError("impute_policy needs the names of the features: say features=")
        for feature in policy:
            if feature != "*" and feature not in self.features:
                raise GraphError(f"impute_policy: there is no feature '{feature}'{nearest(feature, self.features)}")
        return [self._fill(feature, policy.get(feature, policy.get("*"))) for feature in self.features]

    def _fill(self, feature: str, wanted: Any) -> Any:
        if not isinstance(wanted, str) or not wanted.startswith("$"):
            return wanted
        if wanted not in _STATISTICS:
            raise GraphError(f"impute_policy: '{wanted}' is none of {', '.join(_STATISTICS)}")
        if feature not in self.stats:
            raise GraphError(f"impute_policy: feature '{feature}' has no numbers to take the {wanted} of")
        return self.stats[feature][wanted[1:]]

    def _key(self, position: int, key: Any) -> Any:
        if isinstance(key, Mapping):
            names = self.index or list(key)
            for name in names:
                if name not in key:
                    raise BadRequest(f"inputs[{position}] has no '{name}', which is the key of the feature vector")
            parts = [key[name] for name in names]
        elif isinstance(key, (list, tuple)):
            parts = list(key)
        else:
            parts = [key]
        if not parts or (self.index and len(parts) != len(self.index)):
            raise BadRequest(f"inputs[{position}] is no key: it takes {', '.join(self.index) or 'a value'}")
        try:
            made = parts[0] if len(parts) == 1 else tuple(parts)
            hash(made)
        except TypeError:
            raise BadRequest(f"inputs[{position}] is no key: {type(key).__name__}") from None
        return made


def vector_of(source: Any, context: Any = None, **options: Any) -> FeatureVector:
    """Make a feature vector of a URI, a table in any form, or leave it if it is one."""
    name = options.pop("name", "") or (source if isinstance(source, str) else "")
    if isinstance(source, str) and source.startswith("store://"):
        from penstock.store import get_resource

        source = get_resource(source, context)
    if hasattr(source, "as_df"):  # a data set of the registry
        source = str(source) if isinstance(source, str) else source.as_df()
    return source if isinstance(source, FeatureVector) else FeatureVector(source, name=name, **options)


def _filled(row: Sequence[Any], fills: Sequence[Any]) -> list[Any]:
    return [fill if _is_missing(value) else value for value, fill in zip(row, fills, strict=True)]


def _is_missing(value: Any) -> bool:
    return value is None or value != value  # noqa: PLR0124  # NaN, of any kind, is not itself


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and not math.isnan(value)


def _described(numbers: list[float]) -> dict[str, float]:
    return {
        "mean": math.fsum(numbers) / len(numbers),
        "min": min(numbers),
        "max": max(numbers),
        "std": statistics.stdev(numbers) if len(numbers) > 1 else 0.0,
        "count": len(numbers),
    }
