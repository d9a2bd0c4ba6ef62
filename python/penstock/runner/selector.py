"""Selectors: which models of a model runner an event goes to, and which steps come next."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from penstock.runner.model import Model


class ModelRunnerSelector:
    """Chooses for each event; by default all models, and all steps that follow.

    Examples
    --------
    >>> class ByRegion(ModelRunnerSelector):
    ...     def select_models(self, event, available_models):
    ...         return [event.body["region"]]
    """

    def __init__(self, **parameters: Any) -> None:
        self.parameters = parameters

    def select_models(self, event: Any, available_models: Sequence[Model]) -> Sequence[str | Model] | None:  # noqa: ARG002
        """Return the models to run, or their names; None for all. An event that gets none is filtered out."""
        return None

    def select_outlets(self, event: Any) -> Sequence[str] | None:  # noqa: ARG002
        """Return the names of the steps that the result goes on to; None for all. It is called with the result."""
        return None


class ModelSelector:
    """The older form of a selector, which chooses models only: write `select`."""

    def select(self, event: Any, available_models: Sequence[Model]) -> Sequence[str | Model] | None:  # noqa: ARG002
        """Return the models to run, or their names; None for all."""
        return None
