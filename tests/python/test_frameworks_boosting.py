"""The servers of gradient boosting models: XGBoost and LightGBM."""

import lightgbm
import numpy as np
import pytest
import xgboost
from framework_models import CLASSES, ROWS, SOME, infer, refused, serve, tensor, write


@pytest.mark.parametrize("name", ["model.json", "model.ubj"])
def test_xgboost_serves_its_own_files(tmp_path, name):
    model = xgboost.XGBClassifier(n_estimators=3, max_depth=2, n_jobs=1).fit(ROWS, CLASSES)
    model.save_model(tmp_path / name)
    with serve("mlrun.frameworks.xgboost.XGBoostModelServer", tmp_path) as server:
        assert infer(server, SOME.tolist()) == model.predict(SOME).tolist()
        assert infer(server, [tensor(SOME)])[0]["data"] == model.predict(SOME).tolist()
        assert "rows of 4 values" in refused(server, [[1, 2]])


def test_xgboost_serves_boosters_and_pickles(tmp_path):
    data = xgboost.DMatrix(ROWS, CLASSES, feature_names=["a", "b", "c", "d"])
    booster = xgboost.train({"max_depth": 2, "nthread": 1}, data, num_boost_round=3)
    booster.save_model(tmp_path / "model.ubj")
    expected = booster.inplace_predict(SOME)
    with serve("XGBModelServer", tmp_path) as server:
        assert np.allclose(infer(server, SOME.tolist()), expected)
        assert np.allclose(
            infer(server, [dict(zip("dcba", row[::-1], strict=True)) for row in SOME.tolist()], "infer_dict"), expected
        )
        metadata = server.test("/v2/models/m1", method="GET")
        assert metadata["inputs"] == [{"name": "input0", "datatype": "FP32", "shape": [-1, 4]}]
        assert "rows of 4 values" in refused(server, [[1, 2]])
    regressor = xgboost.XGBRegressor(n_estimators=3, n_jobs=1).fit(ROWS, CLASSES)
    with serve("XGBModelServer", write(tmp_path, regressor) / "model.pkl") as server:
        assert np.allclose(infer(server, SOME.tolist()), regressor.predict(SOME))


def test_lightgbm_serves_its_own_files_and_pickles(tmp_path):
    model = lightgbm.LGBMClassifier(n_estimators=3, n_jobs=1, verbose=-1).fit(ROWS, CLASSES)
    model.booster_.save_model(tmp_path / "model.txt")
    with serve("mlrun.frameworks.lgbm.LGBMModelServer", tmp_path) as server:
        assert np.allclose(infer(server, SOME.tolist()), model.predict_proba(SOME))
        metadata = server.test("/v2/models/m1", method="GET")
        assert metadata["outputs"] == [{"name": "output0", "datatype": "FP64", "shape": [-1, 3]}]
        assert "rows of 4 values" in refused(server, [[1, 2]])
    with serve("LightGBMModelServer", write(tmp_path, model) / "model.pkl") as server:
        assert infer(server, SOME.tolist()) == model.predict(SOME).tolist()
