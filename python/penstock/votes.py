"""How an ensemble decides: weighted means, and majorities by weight.

A request of few rows is decided in plain Python, which is done before NumPy would have made its arrays.
"""

from __future__ import annotations

import itertools
import operator
from typing import Any

_FEW = 512  # predictions: from here on NumPy is faster
_NUMBERS = {int, float, bool}
_EQUAL = 1e-9  # shares of the vote that differ by less are equal: they are sums of fractions

Rows = list[list[Any]]


def kind_of(predictions: Rows) -> str:
    """Tell what predictions are about: whole numbers, and what is no number, are classes.

    Examples
    --------
    >>> kind_of([[1, 2.0]]), kind_of([["cat", "dog"]]), kind_of([[0.5, 1]])
    ('classification', 'classification', 'regression')
    """
    import numpy as np

    votes: np.ndarray[Any, Any] = np.asarray(predictions)
    whole = votes.dtype.kind not in "fc" or bool(np.all(votes == np.floor(votes.real)))
    return "classification" if whole else "regression"


def means(predictions: Rows, weights: list[float]) -> list[Any]:
    """Return the weighted mean of each row; `weights` add up to 1.

    Examples
    --------
    >>> means([[1, 3], [5, 7]], [0.5, 0.5]), means([[[1.0, 2.0], [3.0, 4.0]]], [0.25, 0.75])
    ([2.0, 6.0], [[2.5, 3.5]])
    """
    if len(predictions) * len(weights) <= _FEW:
        try:
            if len(set(weights)) == 1:  # exact where it can be: the mean of equals is their value
                count = len(weights)
                return [float(sum(row)) / count for row in predictions]
            total = sum(weights)
            return [float(sum(map(operator.mul, row, weights))) / total for row in predictions]
        except TypeError:
            pass  # predictions that are lists
    import numpy as np

    averages: list[Any] = np.average(np.asarray(predictions, dtype=float), axis=1, weights=weights).tolist()
    return averages


def majorities(predictions: Rows, weights: list[float]) -> list[Any]:
    """Return the class of each row that has most of the vote; of equals the smallest.

    Examples
    --------
    >>> majorities([[1, 1, 3]], [0.2, 0.2, 0.6]), majorities([["b", "a"]], [0.5, 0.5])
    ([3], ['a'])
    """
    if _is_small(predictions):
        return [row[0] if row.count(row[0]) == len(row) else _winner(row, weights) for row in predictions]
    import numpy as np

    votes: np.ndarray[Any, Any] = np.asarray(predictions)
    classes, places = np.unique(votes, return_inverse=True)
    places = places.reshape(votes.shape)
    shares = np.zeros((len(votes), *votes.shape[2:], len(classes)))
    for column, weight in enumerate(weights):
        shares += (places[:, column, ..., None] == np.arange(len(classes))) * weight
    best = shares.max(axis=-1, keepdims=True)
    winners: list[Any] = classes[(shares >= best - _EQUAL).argmax(axis=-1)].tolist()
    return winners


def _is_small(predictions: Rows) -> bool:
    if len(predictions) * len(predictions[0]) > _FEW:
        return False
    found = set(map(type, itertools.chain.from_iterable(predictions)))
    return found <= _NUMBERS or found == {str}


def _winner(row: list[Any], weights: list[float]) -> Any:
    shares: dict[Any, float] = {}
    for vote, weight in zip(row, weights, strict=True):
        shares[vote] = shares.get(vote, 0.0) + weight
    least = max(shares.values()) - _EQUAL
    return min(vote for vote, share in shares.items() if share >= least)
