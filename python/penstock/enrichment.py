"""Routers that put features in the place of keys before they ask their models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from penstock import tensors
from penstock.ensemble import VotingEnsemble
from penstock.errors import BadRequest, GraphError
from penstock.features import FeatureVector, vector_of
from penstock.routers import BaseModelRouter, ModelRouter


class _Enriches(BaseModelRouter):
    """What the two have in common."""

    def __init__(
        self,
        *arguments: Any,
        feature_vector_uri: Any = "",
        impute_policy: Mapping[str, Any] | None = None,
        table: Any = None,
        index: str | Sequence[str] = (),
        features: Sequence[str] = (),
        **router_args: Any,
    ) -> None:
        super().__init__(*arguments, **router_args)
        source = table if table is not None else feature_vector_uri
        if source is None or (isinstance(source, str) and not source):
            raise GraphError("an enriching router needs a table: say feature_vector_uri= or table=")
        self.feature_vector_uri = feature_vector_uri
        self.impute_policy = dict(impute_policy or {})
        self._source = (source, index, features)
        self._vector: FeatureVector | None = None
        self._fills: list[Any] | None = None

    def post_init(self) -> None:
        """Find the features; called once, when the graph is made.

        Raises
        ------
        GraphError
            There are none, or the impute policy does not fit them.
        """
        source, index, features = self._source
        self._vector = vector_of(source, self.context, index=index, features=features)
        self._fills = self._vector.fills(self.impute_policy)

    def enrich(self, keys: list[Any]) -> list[list[Any]]:
        """Return the rows of features that models get instead of `keys`; write your own to add to them."""
        if self._vector is None:
            self.post_init()
        assert self._vector is not None  # noqa: S101  # post_init sets it
        return self._vector.get(keys, self._fills)

    def _enter(self, event: Any) -> None:
        super()._enter(event)
        body = event.body
        if event.method == "GET" or not isinstance(body, Mapping) or "inputs" not in body:
            return
        keys = body["inputs"]
        if not isinstance(keys, list):
            raise BadRequest('Expected "inputs" to be a list of keys')
        if tensors.are_tensors(keys):
            raise BadRequest('Expected "inputs" to be plain keys, as features are looked up by them')
        event.body = {**body, "inputs": self.enrich(keys)}


class EnrichmentModelRouter(_Enriches, ModelRouter):
    """Puts features in the place of keys, then asks the model that the request names.

    Parameters
    ----------
    feature_vector_uri : str or FeatureVector
        A ``store://feature-vectors/...`` URI (`penstock.store.register` says what it means), or a file.
    impute_policy : dict, optional
        What missing values become, by feature, "*" for all others: a value or ``$mean``, ``$min``, ``$max``, ``$std``,
        ``$count`` over the table. A key without a row is 404, unless the policy has something for every feature.
    table : DataFrame, dict, callable, str or PathLike, optional
        The features themselves, as `FeatureVector` takes them; goes before `feature_vector_uri`.
    index, features : optional
        As for `FeatureVector`.
    **router_args
        What `ModelRouter` takes.

    Examples
    --------
    >>> import penstock
    >>> fn = penstock.new_function("enriched")
    >>> customers = {"ann": {"age": 31, "visits": 2}, "bob": {"age": None, "visits": 4}}
    >>> router = fn.set_topology(
    ...     "router", "EnrichmentModelRouter", table=customers, index="customer", impute_policy={"age": "$mean"}
    ... )
    >>> _ = router.add_route("sums", handler="([sum(row) for row in event['inputs']])")
    >>> with fn.to_mock_server() as server:
    ...     server.test("/v2/models/sums/infer", {"inputs": ["ann", {"customer": "bob"}]})
    [33, 35.0]
    """


class EnrichmentVotingEnsemble(_Enriches, VotingEnsemble):
    """Puts features in the place of keys, then has all models vote.

    Takes what `EnrichmentModelRouter` takes besides the arguments of `VotingEnsemble`.
    """
