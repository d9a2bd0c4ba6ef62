"""Servers of gradient boosting models: XGBoost and LightGBM."""

from __future__ import annotations

import json
from typing import Any

from penstock.frameworks.base import PICKLES
from penstock.frameworks.sklearn import PickleModelServer


class XGBModelServer(PickleModelServer):
    """Serves an XGBoost model from the file that `save_model` wrote, or from a pickle.

    A classifier that was saved by `XGBClassifier` predicts classes again; a bare `Booster` what its objective gives.
    """

    package = "xgboost"
    extra = "xgboost"
    suffixes = (".ubj", ".json", ".bst", ".model", *PICKLES)

    def read(self, path: str) -> Any:
        """Read XGBoost's own format; a pickle otherwise."""
        if path.endswith(PICKLES):
            return self.unpickle(path)
        xgboost = self.framework()
        booster = xgboost.Booster(model_file=path)
        kind = json.loads(booster.attr("scikit_learn") or "{}").get("_estimator_type")
        if kind != "classifier":
            return booster
        model = xgboost.XGBClassifier()
        model.load_model(path)
        return model

    def inspect(self) -> None:
        """Take the number and names of the features."""
        super().inspect()
        if isinstance(self.model, self.framework().Booster):
            self.width = self.model.num_features()
            self.feature_names = list(self.model.feature_names or [])
            self.inputs = self.inputs or [{"name": "input0", "datatype": "FP32", "shape": [-1, self.width]}]

    def predict(self, body: dict[str, Any]) -> Any:
        """Return one result a row."""
        if isinstance(self.model, self.framework().Booster):
            return self.model.inplace_predict(self.rows(body))
        return super().predict(body)


class LGBMModelServer(PickleModelServer):
    """Serves a LightGBM model from the file that `save_model` wrote, or from a pickle."""

    package = "lightgbm"
    extra = "lightgbm"
    suffixes = (".txt", ".lgb", ".lgbm", ".model", *PICKLES)

    def read(self, path: str) -> Any:
        """Read LightGBM's own format; a pickle otherwise."""
        return self.unpickle(path) if path.endswith(PICKLES) else self.framework().Booster(model_file=path)

    def inspect(self) -> None:
        """Take the number and names of the features, and how many values a result has."""
        super().inspect()
        if isinstance(self.model, self.framework().Booster):
            self.width = self.model.num_feature()
            self.feature_names = list(self.model.feature_name())
            self.inputs = self.inputs or [{"name": "input0", "datatype": "FP64", "shape": [-1, self.width]}]
            results = self.model.num_model_per_iteration()
            shape = [-1, results] if results > 1 else [-1]
            self.outputs = self.outputs or [{"name": "output0", "datatype": "FP64", "shape": shape}]

    def predict(self, body: dict[str, Any]) -> Any:
        """Return one result a row."""
        if isinstance(self.model, self.framework().Booster):
            return self.model.predict(self.rows(body))
        return super().predict(body)


XGBoostModelServer = XGBModelServer
LightGBMModelServer = LGBMModelServer
